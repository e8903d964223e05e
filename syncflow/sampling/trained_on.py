"""What sampling reads of a checkpoint's manifest.json (`training/stage/checkpoint.py` writes it)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.preset import read_preset
from syncflow.records import ClipSpec
from syncflow.shipped import SHIPPED, shipped_folder


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """The stage, the hashes of the weights, and the encoders of the dataset that it was trained on."""

    stage: str
    model_sha256: str
    spec: ClipSpec
    video_vae: dict[str, str]  # sha256 and location, as the next two
    audio_vae: dict[str, str]
    text_encoder: dict[str, str]
    dataset_config: dict[str, Any]
    frame_spans: list[list[int]] = field(default_factory=list)  # empty: an older checkpoint does not say
    clean_video: float | None = None  # share of samples with finished video; None: it does not say
    prompt_dropout: float | None = None  # share of prompts that the null prompt replaced, likewise
    text_tokens: int | None = None  # mean length of the training prompts, likewise

    @classmethod
    def read(cls, folder: Path) -> "TrainedOn":
        """Raises UserError where there is no manifest, or one that lacks what sampling needs."""
        path = folder / "manifest.json"
        values = read_json(path)
        values = {"frame_spans": [], "text_tokens": None, **_training_settings(folder), **values}
        names = [name for name in cls.__dataclass_fields__ if name not in values]
        if names:
            raise UserError(f"{path}: has no {names[0]!r}; give the folder `checkpoint` of a trained stage")
        if "encode" not in values["dataset_config"]:
            raise UserError(f"{path}: does not say what encoded its dataset; precompute and train again")
        spec = validate(ClipSpec, values["spec"], source=str(path))
        return cls(**{**{name: values[name] for name in cls.__dataclass_fields__}, "spec": spec})

    def check(self, name: str, folder: Path, sha256: str) -> None:
        """Raises UserError if `sha256` is not that of the weights that the manifest names."""
        wanted = self.model_sha256 if name == "model" else getattr(self, name)["sha256"]
        if sha256 != wanted:
            remedy = "copy it again" if name == "model" else f"give --{name.replace('_', '-')}"
            raise UserError(
                f"checkpoint {folder}: made with {name} {wanted[:12]}, not with {sha256[:12]}; {remedy}"
            )

    def check_spans(self, folder: Path, spans: Sequence[tuple[int, int]]) -> None:
        """Raises UserError if the video VAE cuts the window otherwise than when the model was trained."""
        if self.frame_spans and self.frame_spans != [list(span) for span in spans]:
            raise UserError(
                f"checkpoint {folder}: trained on latent frames {self.frame_spans}, this video VAE makes "
                f"{[list(span) for span in spans]}; put its config.json back, or give --video-vae"
            )


def _training_settings(folder: Path) -> dict[str, float | None]:
    """What older manifests do not say of the training; resolved.yaml beside them does."""
    path = folder / "resolved.yaml"
    values = read_preset(path) if path.is_file() else {}
    time = values.get("flow", {}).get("time", {})
    return {"clean_video": time.get("clean_video"), "prompt_dropout": values.get("prompt_dropout")}


def checked_folder(folder: Path) -> Path:
    """`folder`, that of a pipeline shipped under this name, or a name as the Hugging Face hub has them
    (which is looked for later).

    Raises:
        UserError: there is no checkpoint and no saved pipeline in it.
    """
    if folder == Path():
        raise UserError(
            "checkpoint: not set; give the folder that train_stage.py wrote, .../joint/checkpoint, "
            f"or a shipped pipeline: {', '.join(SHIPPED)}"
        )
    if shipped := shipped_folder(folder):
        return shipped
    if not folder.is_dir() and is_hub_name(folder):
        return folder
    if not folder.is_dir():
        raise UserError(
            f"checkpoint {folder}: no such folder; train a stage first (pipelines/train_stage.py)"
        )
    if not any((folder / name).is_file() for name in ("manifest.json", "model_index.json")):
        raise UserError(
            f"checkpoint {folder}: no manifest.json in it; give the folder `checkpoint` of a trained stage"
        )
    return folder


def is_hub_name(path: Path) -> bool:
    """Whether a path may be `owner/name` on the Hugging Face hub: its first folder does not exist here."""
    parts = path.parts
    return len(parts) == 2 and not path.is_absolute() and not Path(parts[0]).exists() and ".." not in parts


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file. Raises UserError for anything else there."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not there; give the folder `checkpoint` of a stage, or a saved pipeline"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); copy the folder again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping; copy the folder again")
    return values
