"""A pipeline from a training checkpoint or from a saved pipeline; public loads are safetensors only."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from syncflow.autoencoders.loading import download
from syncflow.checkpoint import CheckpointManifest
from syncflow.errors import UserError
from syncflow.files import read_json
from syncflow.generation.config import GenerateConfig
from syncflow.hashing import tensors_sha256
from syncflow.model.compiled import compile_blocks
from syncflow.model.config import Part
from syncflow.model.dual_dit import DualDiT
from syncflow.model.float8 import compute_in_float8
from syncflow.sampling.from_checkpoint import checkpoint_parts
from syncflow.sampling.graphed import Graphs
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.shipped import checked_folder

LOG = logging.getLogger(__name__)
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
    diffusers_logging.disable_progress_bar()  # one bar is enough, and that is the caller's
    transformers_logging.disable_progress_bar()
    folder = _local(checked_folder(config.checkpoint))
    if (folder / "model_index.json").is_file():
        pipeline = _saved_pipeline(folder, dtype=getattr(torch, config.dtype))
    else:
        pipeline = _from_checkpoint(folder, config)
    _check_rates(pipeline, config)
    if config.lora is not None:  # merged, so that its weights are among those that a sidecar names
        pipeline.load_lora_weights(config.lora)
        pipeline.fuse_lora(lora_scale=config.lora_scale)
        pipeline.unload_lora_weights()
    weights = {name: tensors_sha256(getattr(pipeline, name).state_dict()) for name in PARTS}
    _place(pipeline, config)
    pipeline.set_progress_bar_config(disable=True)
    return LoadedPipeline(pipeline=pipeline, weights=weights)


def _local(folder: Path) -> Path:
    """`folder`, or what the Hugging Face hub has of that name."""
    if folder.is_dir():
        return folder
    patterns = ["*.json", "*.safetensors", "*.model", "*.txt"]  # the last two are tokenizers'
    return checked_folder(download(str(folder), setting="checkpoint", patterns=patterns))


def _place(pipeline: SyncFlowPipeline, config: GenerateConfig) -> None:
    """To its device, whole or a part at a time, and compiled if asked for."""
    device = config.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if not config.offload:
        pipeline.to(device)
    elif device == "cpu":
        raise UserError("offload: is for a GPU, and the device is the CPU; leave it out")
    else:
        try:
            pipeline.enable_model_cpu_offload(device=device)
        except ImportError:
            raise UserError("offload: needs accelerate; pip install syncflow[t5]") from None
    if config.speed.cuda_graphs and config.offload:
        raise UserError("speed.cuda_graphs with offload: graphs need weights that stay; leave one out")
    pipeline.graphs = Graphs() if config.speed.cuda_graphs else None
    if config.speed.fp8:
        towers: tuple[Part, ...] = ("video_tower", "audio_tower")
        where = torch.device(device)
        LOG.warning("%s", compute_in_float8(pipeline.dual_dit, towers, setting="speed.fp8", device=where))
    if config.speed.compile:
        compile_blocks(pipeline.dual_dit, setting="speed.compile")


def _saved_pipeline(folder: Path, *, dtype: torch.dtype) -> SyncFlowPipeline:
    index = _json(folder / "model_index.json")
    for name, (module, cls) in PARTS.items():
        if index.get(name) != [module, cls]:
            raise UserError(
                f"{folder}: model_index.json names {index.get(name)} as {name}; expected {module}.{cls}"
            )
    text_dtype = _json(folder / "text_encoder" / "config.json").get("dtype") or "float32"
    return SyncFlowPipeline.from_pretrained(
        folder,
        dtype={"dual_dit": dtype, "text_encoder": getattr(torch, text_dtype), "default": torch.float32},
        use_safetensors=True,
        local_files_only=True,
        low_cpu_mem_usage=False,
    )


def _json(path: Path) -> dict[str, Any]:
    pipelines = "give the folder `checkpoint` of a stage, or a saved pipeline"
    return read_json(path, absent=pipelines, damaged="copy the folder again")


def _from_checkpoint(folder: Path, config: GenerateConfig) -> SyncFlowPipeline:
    trained = CheckpointManifest.read(folder)
    if trained.stage == "video" and config.modalities != "video":
        raise UserError(
            f"checkpoint {folder}: of stage video, its audio tower is not trained; "
            "use the audio or the joint stage's, or --modalities video"
        )
    parts = checkpoint_parts(
        folder,
        video_vae=config.video_vae,
        audio_vae=config.audio_vae,
        text_encoder=config.text_encoder,
    )
    parts["dual_dit"] = _cast(parts["dual_dit"], config.dtype)
    return SyncFlowPipeline(**parts)


def _check_rates(pipeline: SyncFlowPipeline, config: GenerateConfig) -> None:
    rates = (
        ("clip.fps", config.clip.fps, pipeline.config["fps"]),
        ("clip.sample_rate", config.clip.sample_rate, pipeline.audio_vae.config.sample_rate),
    )
    for name, wanted, ours in rates:
        if wanted != ours:
            raise UserError(f"{name}: {wanted}, and the checkpoint was trained at {ours}; set it to {ours}")
    audio, placed = pipeline.audio_vae, pipeline.dual_dit.settings.audio.latent_rate
    rate = audio.config.sample_rate / audio.hop
    if rate != placed:
        raise UserError(
            f"checkpoint {config.checkpoint}: its model places audio latents by {placed:g} a second "
            f"(model.audio.latent_rate), its audio VAE makes {rate:g}; train with that rate"
        )


def _cast(dual_dit: DualDiT, dtype: str) -> DualDiT:
    torch.nn.Module.to(
        dual_dit, dtype=getattr(torch, dtype)
    )  # diffusers' own `to` warns of a cast for nothing
    return dual_dit.eval()
