"""A pipeline from a training checkpoint or from a saved pipeline; public loads are safetensors only."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.dual_dit import DualDiT
from syncflow.records import ClipSpec
from syncflow.systems.config import GenerateConfig
from syncflow.systems.syncflow import SyncFlowPipeline
from syncflow.text import TextEncoder

PARTS = {
    "dual_dit": ("syncflow.model.dual_dit", "DualDiT"),
    "video_vae": ("syncflow.autoencoders.video_vae", "VideoVAE"),
    "audio_vae": ("syncflow.autoencoders.audio_vae", "AudioVAE"),
    "text_encoder": ("transformers", "T5EncoderModel"),
}


@dataclass(frozen=True, kw_only=True)
class LoadedPipeline:
    pipeline: SyncFlowPipeline
    weights: dict[str, str]  # part -> sha256 of its tensors


def load_pipeline(config: GenerateConfig) -> LoadedPipeline:
    """The parts that `config` names, on its device, with the hashes of their weights.

    Raises:
        UserError: no checkpoint there, one of another class, weights that the checkpoint was not trained
            with, or a part that the wanted modalities need and that was not trained.
    """
    folder = config.checkpoint
    if folder == Path():
        raise UserError(
            "checkpoint: not set; give the folder that train_stage.py wrote, as out/runs/joint/checkpoint"
        )
    if not folder.is_dir():
        raise UserError(
            f"checkpoint {folder}: no such folder; train a stage first (pipelines/train_stage.py)"
        )
    if (folder / "model_index.json").is_file():
        pipeline = _saved_pipeline(folder, dtype=getattr(torch, config.dtype))
    else:
        pipeline = _from_checkpoint(folder, config)
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline.to(device)
    pipeline.set_progress_bar_config(disable=True)
    weights = {name: tensors_sha256(getattr(pipeline, name).state_dict()) for name in PARTS}
    return LoadedPipeline(pipeline=pipeline, weights=weights)


def _saved_pipeline(folder: Path, *, dtype: torch.dtype) -> SyncFlowPipeline:
    index = _read_json(folder / "model_index.json")
    for name, (module, cls) in PARTS.items():
        if index.get(name) != [module, cls]:
            raise UserError(
                f"{folder}: model_index.json names {index.get(name)} as {name}; expected {module}.{cls}"
            )
    text_dtype = _read_json(folder / "text_encoder" / "config.json").get("dtype") or "float32"
    return SyncFlowPipeline.from_pretrained(
        folder,
        torch_dtype={"dual_dit": dtype, "text_encoder": getattr(torch, text_dtype), "default": torch.float32},
        use_safetensors=True,
        local_files_only=True,
        low_cpu_mem_usage=False,
    )


def _from_checkpoint(folder: Path, config: GenerateConfig) -> SyncFlowPipeline:
    manifest = _read_json(folder / "manifest.json")
    stage = manifest.get("stage")
    if stage == "video" and config.modalities != "video":
        raise UserError(
            f"checkpoint {folder}: of stage video, its audio tower is not trained; "
            "use the audio or the joint stage's, or --modalities video"
        )
    found = _read_json(folder / "config.json").get("_class_name")
    if found != "DualDiT":
        raise UserError(f"checkpoint {folder}: holds a {found}; give the folder of a DualDiT")
    dual_dit = DualDiT.from_pretrained(
        folder,
        torch_dtype=getattr(torch, config.dtype),
        use_safetensors=True,
        local_files_only=True,
        low_cpu_mem_usage=False,
    )
    video_vae = load_vae(VideoVAE, _autoencoder(config.video_vae, manifest, "video_vae"))
    audio_vae = load_vae(AudioVAE, _autoencoder(config.audio_vae, manifest, "audio_vae"))
    text = TextEncoder(config.text)
    _check_weights(folder, manifest, "video_vae", tensors_sha256(video_vae.state_dict()))
    _check_weights(folder, manifest, "audio_vae", tensors_sha256(audio_vae.state_dict()))
    _check_weights(folder, manifest, "text_encoder", text.sha256)
    _check_widths(dual_dit, video_vae, audio_vae, text)
    spec: ClipSpec = config.clip
    return SyncFlowPipeline(
        dual_dit=dual_dit.eval(),
        video_vae=video_vae,
        audio_vae=audio_vae,
        text_encoder=text.model,
        tokenizer=text.tokenizer,
        height=spec.height,
        width=spec.width,
        num_frames=spec.num_frames,
        fps=spec.fps,
        max_text_tokens=config.text.max_tokens,
    )


def _autoencoder(given: Path, manifest: dict[str, Any], name: str) -> Path:
    if given != Path():
        return given
    location = _trained_with(manifest, name).get("location")
    if not location:
        raise UserError(
            f"{name}: not set, and the checkpoint's manifest names none; give --{name.replace('_', '-')}"
        )
    return Path(location)


def _trained_with(manifest: dict[str, Any], name: str) -> dict[str, Any]:
    """What the manifest says of a part that encoded the training data: its sha256 and location."""
    return (manifest.get("encoders") or {}).get(name) or {}


def _check_weights(folder: Path, manifest: dict[str, Any], name: str, sha256: str) -> None:
    wanted = _trained_with(manifest, name).get("sha256")
    if wanted and wanted != sha256:
        raise UserError(
            f"checkpoint {folder}: trained on latents of {name} {wanted[:12]}, this one is {sha256[:12]}; "
            f"give the {name} that encoded its dataset"
        )


def _check_widths(dual_dit: DualDiT, video_vae: VideoVAE, audio_vae: AudioVAE, text: TextEncoder) -> None:
    video, audio = dual_dit.video_tower.config, dual_dit.audio_tower.config
    for name, ours, theirs in (
        ("video latent channels", video.in_channels, video_vae.latent_channels),
        ("audio latent width", audio.latent_dim, audio_vae.latent_dim),
        ("text width", video.text_dim, text.width),
    ):
        if ours != theirs:
            raise UserError(
                f"{name}: the checkpoint takes {ours}, the given part makes {theirs}; use one preset's parts"
            )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(
            f"{path}: not there; give a checkpoint folder of train_stage.py or a saved pipeline"
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); copy the folder again") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}: expected a mapping; copy the folder again")
    return values
