"""What makes a row besides its source: one hash, and a refusal to mix two of them in one dataset."""

from dataclasses import dataclass
from typing import Any

from preprocessing.config import PrecomputeConfig
from preprocessing.encode import Encoders
from syncflow.config import read_preset
from syncflow.data.parquet import LedgerRow, Weights
from syncflow.data.parquet.schema import SCHEMA_VERSION
from syncflow.errors import UserError
from syncflow.hashing import settings_sha256, tensors_sha256

RESOLVED = "resolved.yaml"
# what decides the content of a row; the rest says how the work is done
MAKES_ROWS = (
    "spec",
    "windows",
    "decode.backend",
    "decode.max_length_difference_s",
    "filters",
    "caption",
    "encode.dtype",
    "encode.max_latent",
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The hash, and the weights that went into it."""

    sha256: str
    video_vae: Weights
    audio_vae: Weights
    text_encoder: Weights


def make_recipe(config: PrecomputeConfig, encoders: Encoders) -> Recipe:
    """Hash the settings that make rows, the three models' weights and the version of the columns."""
    settings, text = config.encode, encoders.text
    video = Weights(sha256=_sha256(encoders.video_vae), location=settings.video_vae)
    audio = Weights(sha256=_sha256(encoders.audio_vae), location=settings.audio_vae)
    words = Weights(sha256=text.sha256, location=settings.text.location)
    values = config.model_dump(mode="json")
    parts = {name: _pick(values, name) for name in MAKES_ROWS}
    del parts["caption"]["batch"]
    hashes = [SCHEMA_VERSION, video.sha256, audio.sha256, words.sha256]
    sha256 = settings_sha256([parts, hashes])
    return Recipe(sha256=sha256, video_vae=video, audio_vae=audio, text_encoder=words)


def check_recipe(config: PrecomputeConfig, recipe: Recipe, ledger: list[LedgerRow]) -> None:
    """Refuse to go on with a dataset that other settings or weights began.

    Raises:
        UserError: with the settings that differ.
    """
    if all(row.recipe == recipe.sha256 for row in ledger):
        return
    path = config.output / RESOLVED
    before = read_preset(path) if path.is_file() else {}
    now = config.model_dump(mode="json")
    changed = [
        f"{name} {_pick(before, name)!r} -> {_pick(now, name)!r}"
        for name in (*MAKES_ROWS, "encode.video_vae", "encode.audio_vae", "encode.text")
        if _pick(before, name) != _pick(now, name)
    ]
    told = "; ".join(changed)[:400] or "the weights under the same location"
    raise UserError(
        f"{config.output}: made with other settings ({told}); give another --output, or the old settings "
        f"with --config {path}"
    )


def _sha256(module: Any) -> str:
    return tensors_sha256(module.state_dict())


def _pick(values: dict[str, Any], name: str) -> Any:
    for part in name.split("."):
        values = values.get(part, {}) if isinstance(values, dict) else {}
    return dict(values) if isinstance(values, dict) else values
