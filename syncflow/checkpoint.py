"""The checkpoint, the durable border between training and sampling: its one manifest, and its one reader.

<output>/<stage>/checkpoint/config.json                          `DualDiTConfig`
                            diffusion_pytorch_model.safetensors  weights of the dual DiT
                            manifest.json                        `CheckpointManifest`
                            resolved.yaml                        settings of the stage
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from syncflow.config import Config, validate
from syncflow.errors import UserError
from syncflow.hashing import first_not_finite, settings_sha256, tensors_sha256
from syncflow.model.config import PARTS, DualDiTConfig
from syncflow.preset import read_preset
from syncflow.records import ClipSpec, Weights
from syncflow.version import __version__

if TYPE_CHECKING:
    from torch import Tensor

    from syncflow.model.dual_dit import DualDiT

MANIFEST = "manifest.json"
SETTINGS = "resolved.yaml"
FORMAT = 1
StageName = Literal["video", "audio", "joint"]


class CheckpointManifest(Config):
    """What a checkpoint is, what made it, and all that sampling needs to find."""

    format: int = FORMAT
    """Version of this manifest."""
    version: str = __version__
    """Version of this package that wrote it."""
    stage: StageName
    """The stage that made it."""
    step: int
    """Updates done in that stage."""
    weights: Literal["ema", "raw"]
    """Which weights of the trained parts."""
    averaged: int
    """How many states were averaged."""
    parts: dict[str, str]
    """Content hash of each part: video_tower, adaptors, audio_tower."""
    model_sha256: str
    """Content hash of all tensors."""
    model_config_sha256: str
    """Hash of the model's settings."""
    spec: ClipSpec
    """The window that it was trained on."""
    frame_spans: tuple[tuple[int, int], ...] = ()
    """First and last pixel frame of each video latent frame of that window; empty in older checkpoints."""
    dataset: Path
    """Folder of the dataset."""
    dataset_fingerprint: str
    """Hash of what the dataset holds and of what made it."""
    video_vae: Weights
    """What encoded the video, and decodes it."""
    audio_vae: Weights
    """What encoded the audio, and decodes it."""
    text_encoder: Weights
    """What encoded the prompts."""
    dataset_config: dict[str, Any]
    """Settings of the dataset's job; they rebuild a text encoder that comes from a seed."""
    initialised_from: str
    """Where the first weights came from; empty for random ones."""
    initialised_from_sha256: str = ""
    """Content hash of the tensors there; empty for random ones."""
    clean_video: float | None = None
    """Share of the samples whose video was finished (`flow.time.clean_video`); None: unknown."""
    prompt_dropout: float | None = None
    """Share of the prompts that the null prompt replaced; None: unknown."""
    text_tokens: int | None = None
    """Mean length of the training prompts, tokens, in whose place the null prompt stood; None in older
    checkpoints."""

    @classmethod
    def read(cls, folder: Path) -> "CheckpointManifest":
        """The manifest of the checkpoint at `folder`. Older ones leave to resolved.yaml what they do not say.

        Raises:
            UserError: no checkpoint is there, or one of another format.
        """
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError:
            raise UserError(
                f"checkpoint {folder}: no {MANIFEST} in it; give the folder `checkpoint` of a trained stage"
            ) from None
        except ValueError as error:
            raise UserError(f"checkpoint {path}: damaged ({error}); copy the folder again") from None
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise UserError(f"checkpoint {path}: not a manifest of format {FORMAT}")
        return validate(cls, {**_settings_of_training(folder), **values}, source=str(path))

    def write(self, folder: Path) -> None:
        """Write manifest.json into a folder that nobody reads yet."""
        (folder / MANIFEST).write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")

    def check_encoder(
        self, name: Literal["video_vae", "audio_vae", "text_encoder"], folder: Path, sha256: str
    ) -> None:
        """Raises UserError if `sha256` is not that of the encoder `name` that encoded the dataset."""
        wanted = getattr(self, name).sha256
        if sha256 != wanted:
            raise UserError(
                f"checkpoint {folder}: made with {name} {wanted[:12]}, not with {sha256[:12]}; "
                f"give --{name.replace('_', '-')}"
            )

    def check_spans(self, folder: Path, spans: Sequence[tuple[int, int]]) -> None:
        """Raises UserError if the video VAE cuts the window otherwise than when the model was trained."""
        if self.frame_spans and list(self.frame_spans) != list(spans):
            raise UserError(
                f"checkpoint {folder}: trained on latent frames {[list(span) for span in self.frame_spans]}, "
                f"this video VAE makes {[list(span) for span in spans]}; put its config.json back, or give "
                "--video-vae"
            )


def _settings_of_training(folder: Path) -> dict[str, Any]:
    """What older manifests do not say of the training; resolved.yaml beside them does."""
    path = folder / SETTINGS
    values = read_preset(path) if path.is_file() else {}
    time = values.get("flow", {}).get("time", {})
    return {"clean_video": time.get("clean_video"), "prompt_dropout": values.get("prompt_dropout")}


def load_checkpoint(folder: Path) -> tuple["DualDiT", CheckpointManifest]:
    """The model, in float32, and the manifest; every tensor is checked against its hash.

    Raises:
        UserError: not a checkpoint, or its weights are not those that the manifest names.
    """
    from syncflow.model.dual_dit import DualDiT

    manifest = CheckpointManifest.read(folder)
    try:
        model = DualDiT.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"checkpoint {folder}: cannot be read: {' '.join(str(error).split())[:300]}"
        ) from None
    if tensors_sha256(model.state_dict()) != manifest.model_sha256:
        raise UserError(f"checkpoint {folder}: its weights are not those of its manifest; copy it again")
    if bad := first_not_finite(model.state_dict().items()):
        raise UserError(f"checkpoint {folder}: {bad} is not finite; train its stage again from a good state")
    return model, manifest


def part_hashes(tensors: Mapping[str, "Tensor"]) -> dict[str, str]:
    """Content hash of each part of a model's tensors."""
    return {
        part: tensors_sha256({n: t for n, t in tensors.items() if n.startswith(f"{part}.")}) for part in PARTS
    }


def model_config_sha256(config: DualDiTConfig) -> str:
    """Hash of a model's settings."""
    return settings_sha256(config.model_dump(mode="json"))
