"""What makes a row besides its source: one hash, and a refusal to mix two of them in one dataset."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocessing.config import PrecomputeConfig
from preprocessing.encode import Encoders
from syncflow.config import settings_of
from syncflow.data.parquet import LedgerRow
from syncflow.data.parquet.schema import SCHEMA_VERSION
from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.hashing import settings_sha256, tensors_sha256
from syncflow.media.process import decoder_version
from syncflow.places import absolute_place
from syncflow.records import Weights

RECIPE = "recipe.json"


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that makes the rows but the clips, by name, and the models that went into it."""

    parts: dict[str, Any]
    frame_spans: tuple[tuple[int, int], ...]  # of the video VAE, for the window
    video_vae: Weights
    audio_vae: Weights
    text_encoder: Weights

    @property
    def sha256(self) -> str:
        return settings_sha256(self.parts)

    def write(self, folder: Path) -> None:
        """Write `recipe.json`, so that a refusal can name what differs; a file that says so stays as it is.

        Raises:
            UserError: the folder cannot be written.
        """
        if read_parts(folder) != self.parts:
            with whole_file(folder / RECIPE) as stream:
                stream.write((json.dumps(self.parts, indent=2, sort_keys=True) + "\n").encode())


def make_recipe(config: PrecomputeConfig, encoders: Encoders, *, captioner: str) -> Recipe:
    """The settings that decide a row, the models' weights, and the versions of decoder and columns.

    Args:
        captioner: hash of the captioning model; empty where none writes the captions.
    """
    settings, text = config.encode, encoders.text
    video = Weights(sha256=_sha256(encoders.video_vae), location=absolute_place(settings.video_vae))
    audio = Weights(sha256=_sha256(encoders.audio_vae), location=absolute_place(settings.audio_vae))
    words = Weights(sha256=text.sha256, location=absolute_place(settings.text.location))
    spans = tuple(encoders.video_vae.frame_spans(config.spec.num_frames))
    parts = settings_of(config) | {
        "decoder's version": decoder_version(config.decode.backend),
        "version of the columns": SCHEMA_VERSION,
        "weights of encode.video_vae": video.sha256,
        "frame spans of encode.video_vae": spans,  # no weight says them
        "weights of encode.audio_vae": audio.sha256,
        "weights of encode.text": words.sha256,
    }
    if captioner:
        parts["weights of caption.model"] = captioner
    parts = json.loads(json.dumps(parts))  # as it will be read
    return Recipe(parts=parts, frame_spans=spans, video_vae=video, audio_vae=audio, text_encoder=words)


def check_recipe(config: PrecomputeConfig, recipe: Recipe, ledger: list[LedgerRow]) -> None:
    """Refuse to go on with a dataset that other settings, weights or decoders began.

    Raises:
        UserError: with what differs.
    """
    if all(row.recipe == recipe.sha256 for row in ledger):
        return
    before, now = read_parts(config.output), recipe.parts
    changed = [
        f"{name} {_short(before.get(name))} -> {_short(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    told = "; ".join(changed)[:400] if before else "an earlier version of this package, which kept no recipe"
    raise UserError(
        f"{config.output}: made with other settings ({told}); give another --output, or restore what differs"
    )


def read_parts(folder: Path) -> dict[str, Any]:
    """What `recipe.json` of a dataset holds; empty where it cannot be read."""
    try:
        parts = json.loads((folder / RECIPE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return parts if isinstance(parts, dict) else {}


def _sha256(module: Any) -> str:
    return tensors_sha256(module.state_dict())


def _short(value: Any) -> str:
    text = repr(value)
    return f"{value[:12]}" if isinstance(value, str) and len(value) == 64 else text[:60]
