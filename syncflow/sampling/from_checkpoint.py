"""The parts of a pipeline from the folder that a training stage hands over: each checked by its hash."""

from pathlib import Path
from typing import Any

import torch

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae, load_video_vae
from syncflow.checkpoint import MANIFEST, load_checkpoint
from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.text import TextEncoder
from syncflow.text_config import TextConfig


def is_checkpoint(folder: Path) -> bool:
    """Whether a training stage handed the folder over; else it may be a saved pipeline.

    Raises:
        UserError: a folder that is neither; it names a checkpoint in it.
    """
    if not folder.is_dir() or (folder / "model_index.json").is_file():
        return False
    if (folder / "manifest.json").is_file():
        return True
    inside = [*folder.glob("checkpoint/manifest.json"), *folder.glob("*/checkpoint/manifest.json")]
    remedy = f"did you mean {inside[-1].parent}?" if inside else "give the folder `checkpoint` of a stage"
    raise UserError(f"{folder}: neither a saved pipeline (model_index.json) nor a checkpoint; {remedy}")


def checkpoint_parts(
    folder: Path, *, video_vae: str = "", audio_vae: str = "", text_encoder: str = ""
) -> dict[str, Any]:
    """Arguments of `SyncFlowPipeline`; the dual DiT in float32, the encoders as they encoded the dataset.

    Args:
        folder: a stage's hand-over, .../joint/checkpoint.
        video_vae: where the video VAE lies now; empty: where it was when the dataset was made.
        audio_vae: where the audio VAE lies now; empty: where it was then.
        text_encoder: where the text encoder lies now; empty: where it was then.

    Raises:
        UserError: a part is not there, or is another one than the model was trained with.
    """
    dual_dit, trained = load_checkpoint(folder)
    encode = trained.dataset_config.get("encode")
    if encode is None:
        raise UserError(
            f"{folder / MANIFEST}: does not say what encoded its dataset; precompute and train again"
        )
    dtype = getattr(torch, encode["dtype"])
    video = load_video_vae(video_vae or trained.video_vae.location, dtype=dtype, setting="video_vae")
    trained.check_encoder("video_vae", folder, tensors_sha256(video.state_dict()))
    trained.check_spans(folder, video.frame_spans(trained.spec.num_frames))
    audio = load_vae(AudioVAE, Path(audio_vae or trained.audio_vae.location), dtype=dtype)
    trained.check_encoder("audio_vae", folder, tensors_sha256(audio.state_dict()))
    text_config = validate(TextConfig, encode["text"], source=f"checkpoint {folder}")
    text = TextEncoder(
        text_config.model_copy(update={"location": text_encoder}) if text_encoder else text_config
    )
    trained.check_encoder("text_encoder", folder, text.sha256)
    return {
        "dual_dit": dual_dit.eval(),
        "video_vae": video,
        "audio_vae": audio,
        "text_encoder": text.model,
        "tokenizer": text.tokenizer,
        "height": trained.spec.height,
        "width": trained.spec.width,
        "num_frames": trained.spec.num_frames,
        "fps": trained.spec.fps,
        "max_text_tokens": text_config.max_tokens,
        "trained_clean_video": trained.clean_video,
        "trained_prompt_dropout": trained.prompt_dropout,
        "trained_text_tokens": trained.text_tokens,
    }
