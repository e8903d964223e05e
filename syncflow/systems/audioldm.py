"""AudioLDM and AudioLDM 2 through diffusers: the prompt -> audio."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from syncflow.errors import UserError
from syncflow.foleygen.codec import resampled
from syncflow.hashing import tensors_sha256
from syncflow.noise import keyed_generator
from syncflow.pretrained import load_whole
from syncflow.records import ClipSpec
from syncflow.systems.card import SystemCard, UsedWeights
from syncflow.systems.config import DiffusionConfig
from syncflow.systems.contract import AudioRequest, NoAudio, fitted

DEFAULTS = {"audioldm": "cvssp/audioldm-s-full-v2", "audioldm2": "cvssp/audioldm2"}
NAMES = {"audioldm": "AudioLDM", "audioldm2": "AudioLDM 2"}
GUIDANCE = {"audioldm": 2.5, "audioldm2": 3.5}
LICENCE = "CC BY-NC-SA 4.0"


class AudioLdmSystem:
    """Either of the two.

    Args:
        pipeline: of diffusers, on its device.
        kind: which of the two it is.
        place: folder or hub id that it came from.
    """

    def __init__(
        self,
        pipeline: Any,
        *,
        kind: Literal["audioldm", "audioldm2"],
        place: str,
        config: DiffusionConfig,
        spec: ClipSpec,
    ) -> None:
        if config.seconds < spec.seconds:
            raise UserError(
                f"diffusion.seconds {config.seconds:g}: clips have {spec.seconds:g}; make at least so much"
            )
        self.pipeline, self.config, self.spec = pipeline, config, spec
        self.guidance = config.guidance or GUIDANCE[kind]
        self.sample_rate = int(pipeline.vocoder.config.sampling_rate)
        modules = {n: m for n, m in pipeline.components.items() if isinstance(m, torch.nn.Module)}
        tensors = {f"{n}.{k}": t for n, m in modules.items() for k, t in m.state_dict().items()}
        settings = {**config.model_dump(), "guidance": self.guidance, "sample_rate": self.sample_rate}
        self.card = SystemCard(
            name=NAMES[kind],
            kind="text_to_audio",
            weights=(UsedWeights(name=place, sha256=tensors_sha256(tensors), licence=LICENCE),),
            settings=settings,
        )

    def __call__(self, requests: Sequence[AudioRequest], *, seed: int) -> list[np.ndarray | NoAudio]:
        answers: list[np.ndarray | NoAudio] = [NoAudio(reason="no_prompt: the row has none")] * len(requests)
        told = [place for place, request in enumerate(requests) if request.prompt]
        if told:
            made = self.pipeline(
                [requests[place].prompt for place in told],
                num_inference_steps=self.config.steps,
                guidance_scale=self.guidance,
                audio_length_in_s=self.config.seconds,
                generator=[keyed_generator("audioldm", seed, requests[place].number) for place in told],
            ).audios
            for place, audio in zip(told, made, strict=True):
                found = resampled(np.asarray(audio, np.float32), self.sample_rate, self.spec.sample_rate)
                finite = bool(np.isfinite(found).all())
                answers[place] = (
                    fitted(found, self.spec) if finite else NoAudio(reason="nonfinite: NaN or Inf")
                )
        return answers


def _parts_of_transformers(index: Mapping[str, Any], place: str) -> dict[str, Any]:
    """The pipeline's models that are transformers', whole: diffusers would let them lack tensors."""
    import transformers

    named = {name: value for name, value in index.items() if isinstance(value, (list, tuple))}
    kinds = {
        name: getattr(transformers, str(value[1]), None)
        for name, value in named.items()
        if value[0] == "transformers"
    }
    return {
        name: load_whole(kind, place, subfolder=name)
        for name, kind in kinds.items()
        if isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    }


def load_audioldm(
    kind: Literal["audioldm", "audioldm2"],
    place: str,
    *,
    config: DiffusionConfig,
    spec: ClipSpec,
    device: str = "cpu",
) -> AudioLdmSystem:
    """From a folder or the hub, safetensors only.

    Args:
        place: folder or hub name.

    Raises:
        UserError: there is none, or its length is below the clip's.
    """
    from diffusers import AudioLDM2Pipeline, AudioLDMPipeline

    cls: Any = AudioLDMPipeline if kind == "audioldm" else AudioLDM2Pipeline
    place = place or DEFAULTS[kind]
    try:
        parts = _parts_of_transformers(cls.load_config(place), place)
        pipeline = cls.from_pretrained(place, use_safetensors=True, **parts)
    except (OSError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(
            f"checkpoint {place}: no {NAMES[kind]} ({told}); give its folder or its hub id"
        ) from None
    pipeline.set_progress_bar_config(disable=True)
    name = str(Path(place).resolve()) if Path(place).is_dir() else place
    return AudioLdmSystem(pipeline.to(device), kind=kind, place=name, config=config, spec=spec)
