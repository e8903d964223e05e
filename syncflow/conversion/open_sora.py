"""Import and export of Open-Sora v1.2's own files: its diffusion transformer (STDiT3) and its video VAE."""

import json
import shutil
from pathlib import Path
from typing import Any

from syncflow.autoencoders.loading import load_vae, load_video_vae
from syncflow.autoencoders.open_sora_vae import save_open_sora_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.conversion.config import ConvertConfig
from syncflow.errors import UserError
from syncflow.model.dual_dit import DualDiT
from syncflow.model.open_sora import export_video_tower


def export_to_open_sora(config: ConvertConfig) -> Path:
    """Write a trained checkpoint's video tower, or a video VAE, as Open-Sora v1.2 reads it.

    Raises:
        UserError: the source is neither, or the output exists.
    """
    source = Path(config.source)
    kind = _class_name(source)
    partial = _fresh(config.output)
    try:
        if kind == DualDiT.__name__:
            export_video_tower(_video_tower(source), partial)
        elif kind == VideoVAE.__name__:
            save_open_sora_vae(load_vae(VideoVAE, source), partial)
        else:
            raise UserError(
                f"source {source}: its config.json is of {kind or 'no class of ours'}; give the folder "
                "`checkpoint` of a trained stage, or a video VAE of train_autoencoder.py"
            )
        partial.rename(config.output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{config.output}: {kind} {source} as Open-Sora reads it", flush=True)
    return config.output


def import_from_open_sora(config: ConvertConfig) -> Path:
    """Write an Open-Sora v1.2 VAE (a folder or hub id) as a video VAE of ours, every tensor checked.

    Raises:
        UserError: it is no such VAE, or the output exists.
    """
    source = Path(config.source)
    if source.is_dir() and _config(source).get("model_type") == "STDiT3":
        raise UserError(
            f"source {source}: STDiT3 needs no import; give it to train_stage.py as --initialise-from"
        )
    vae = load_video_vae(config.source, setting="source")
    partial = _fresh(config.output)
    try:
        vae.save_pretrained(partial)
        partial.rename(config.output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{config.output}: a video VAE with the weights of {config.source}", flush=True)
    return config.output


def _video_tower(folder: Path) -> Any:
    try:
        model = DualDiT.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())[:300]
        raise UserError(f"source {folder}: cannot be read ({told}); copy the folder again") from None
    return model.video_tower


def _class_name(folder: Path) -> str:
    return str(_config(folder).get("_class_name", ""))


def _config(folder: Path) -> dict[str, Any]:
    try:
        values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"source {folder}: no readable config.json ({error}); give a folder with one"
        ) from None
    return values if isinstance(values, dict) else {}


def _fresh(output: Path) -> Path:
    if output.exists():
        raise UserError(f"output {output}: exists; give another folder or remove it")
    partial = output.with_name(f".{output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    return partial
