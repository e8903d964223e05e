"""FoleyGen as a system: frames -> features -> codes -> audio."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syncflow.errors import UserError
from syncflow.foleygen.checkpoint import FoleyGenManifest, read_foleygen
from syncflow.foleygen.codec import load_codec, resampled
from syncflow.foleygen.config import CodeSamplingConfig
from syncflow.foleygen.sampling import sample_codes
from syncflow.foleygen.visual import load_visual
from syncflow.media import MediaError
from syncflow.records import ClipSpec
from syncflow.systems.card import SystemCard, UsedWeights
from syncflow.systems.contract import AudioRequest, NoAudio, fitted

LICENCES = {  # of models that a hub id names
    "facebook/encodec_32khz": "CC BY-NC 4.0",  # of MusicGen, whose part it is: its own page names none
    "openai/clip-vit-base-patch32": "MIT",
}
OURS = "as this project's"


class FoleyGenSystem:
    """A checkpoint of train_foleygen.py with the codec and visual encoder that it was trained with.

    Raises:
        UserError: one of them is missing or has other weights, or `spec` has another length or frame rate.
    """

    def __init__(
        self, folder: Path, *, sampling: CodeSamplingConfig, spec: ClipSpec, device: str = "cpu"
    ) -> None:
        model, self.manifest = read_foleygen(folder)
        self.model: Any = model.to(device)  # type: ignore[arg-type]
        self.sampling, self.spec = sampling, spec
        made = self.manifest
        self.codec = load_codec(made.codec.location, num_codebooks=model.settings.num_codebooks)
        self.visual = load_visual(
            made.visual_config.model_copy(update={"location": made.visual.location}), device=device
        )
        for name, found, trained in (
            ("codec", self.codec.sha256, made.codec),
            ("visual encoder", self.visual.sha256, made.visual),
        ):
            if found != trained.sha256:
                raise UserError(
                    f"{folder}: trained with {name} {trained.sha256[:12]}, {trained.location or 'its place'} "
                    f"holds {found[:12]}; put the former back"
                )
        _check_window(folder, made, spec)
        module: Any = getattr(self.codec, "model", self.codec)
        module.to(device)
        self.card = SystemCard(
            name="FoleyGen",
            kind="video_to_audio",
            weights=(
                UsedWeights(name=str(folder), sha256=made.model_sha256, licence=OURS),
                _used(made.codec.location, made.codec.sha256),
                _used(made.visual.location or made.visual_config.kind, made.visual.sha256),
            ),
            settings={"model": model.settings.model_dump(mode="json"), "sampling": sampling.model_dump()},
        )

    def __call__(self, requests: Sequence[AudioRequest], *, seed: int) -> list[np.ndarray | NoAudio]:
        features: list[np.ndarray | NoAudio] = []
        for request in requests:
            try:
                features.append(self.visual(request.frames()))
            except MediaError as error:
                features.append(NoAudio(reason=f"{error.reason}: {error.detail}"))
        seen = {place: each for place, each in enumerate(features) if isinstance(each, np.ndarray)}
        answers: list[np.ndarray | NoAudio] = [
            each if isinstance(each, NoAudio) else np.empty(0) for each in features
        ]
        if seen:
            codes = sample_codes(
                self.model,
                torch.from_numpy(np.stack(list(seen.values()))).half().float(),  # as stored
                num_codes=self.manifest.num_codes,
                config=self.sampling,
                seed=seed,
                index=[requests[place].number for place in seen],
            )
            samples = round(self.spec.seconds * self.codec.sample_rate)
            audio = self.codec.decode(codes, num_samples=samples).numpy()
            for place, each in zip(seen, audio, strict=True):
                found = resampled(each, self.codec.sample_rate, self.spec.sample_rate)
                answers[place] = fitted(found, self.spec)
        return answers


def _check_window(folder: Path, manifest: FoleyGenManifest, spec: ClipSpec) -> None:
    for name in ("seconds", "fps"):
        ours, asked = getattr(manifest.spec, name), getattr(spec, name)
        if ours != asked:
            raise UserError(f"clip.{name} {asked:g}: {folder} was trained with {ours:g}; set it so")


def _used(place: str, sha256: str) -> UsedWeights:
    local = not place or Path(place).exists()
    licence = OURS if local else LICENCES.get(place, "unknown")
    return UsedWeights(name=place, sha256=sha256, licence=licence)
