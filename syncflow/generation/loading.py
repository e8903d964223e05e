"""A pipeline from a training checkpoint or from a saved pipeline; public loads are safetensors only."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import download, load_vae, load_video_vae
from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.trained_on import TrainedOn, checked_folder, read_json
from syncflow.hashing import tensors_sha256
from syncflow.model.compiled import compile_blocks
from syncflow.model.dual_dit import DualDiT
from syncflow.sampling.graphed import Graphs
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig

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
    if config.speed.compile:
        compile_blocks(pipeline.dual_dit, setting="speed.compile")


def _saved_pipeline(folder: Path, *, dtype: torch.dtype) -> SyncFlowPipeline:
    index = read_json(folder / "model_index.json")
    for name, (module, cls) in PARTS.items():
        if index.get(name) != [module, cls]:
            raise UserError(
                f"{folder}: model_index.json names {index.get(name)} as {name}; expected {module}.{cls}"
            )
    text_dtype = read_json(folder / "text_encoder" / "config.json").get("dtype") or "float32"
    return SyncFlowPipeline.from_pretrained(
        folder,
        dtype={"dual_dit": dtype, "text_encoder": getattr(torch, text_dtype), "default": torch.float32},
        use_safetensors=True,
        local_files_only=True,
        low_cpu_mem_usage=False,
    )


def _from_checkpoint(folder: Path, config: GenerateConfig) -> SyncFlowPipeline:
    trained = TrainedOn.read(folder)
    if trained.stage == "video" and config.modalities != "video":
        raise UserError(
            f"checkpoint {folder}: of stage video, its audio tower is not trained; "
            "use the audio or the joint stage's, or --modalities video"
        )
    encode = trained.dataset_config["encode"]
    dual_dit = DualDiT.from_pretrained(
        folder,
        dtype=torch.float32,
        use_safetensors=True,
        local_files_only=True,
        low_cpu_mem_usage=False,
    )
    trained.check("model", folder, tensors_sha256(dual_dit.state_dict()))
    dtype = getattr(torch, encode["dtype"])
    video_vae = load_video_vae(
        config.video_vae or trained.video_vae["location"], dtype=dtype, setting="video_vae"
    )
    trained.check("video_vae", folder, tensors_sha256(video_vae.state_dict()))
    trained.check_spans(folder, video_vae.frame_spans(trained.spec.num_frames))
    audio_vae = load_vae(AudioVAE, Path(config.audio_vae or trained.audio_vae["location"]), dtype=dtype)
    trained.check("audio_vae", folder, tensors_sha256(audio_vae.state_dict()))
    text_config = validate(TextConfig, encode["text"], source=f"checkpoint {folder}")
    text = TextEncoder(
        text_config.model_copy(update={"location": config.text_encoder})
        if config.text_encoder
        else text_config
    )
    trained.check("text_encoder", folder, text.sha256)
    return SyncFlowPipeline(
        dual_dit=_cast(dual_dit, config.dtype),
        video_vae=video_vae,
        audio_vae=audio_vae,
        text_encoder=text.model,
        tokenizer=text.tokenizer,
        height=trained.spec.height,
        width=trained.spec.width,
        num_frames=trained.spec.num_frames,
        fps=trained.spec.fps,
        max_text_tokens=text_config.max_tokens,
        trained_clean_video=trained.clean_video,
        trained_prompt_dropout=trained.prompt_dropout,
        trained_text_tokens=trained.text_tokens,
    )


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
