"""Train an autoencoder with Ray Train workers, then measure what it keeps of held-out clips."""

import json
from dataclasses import asdict

import numpy as np

from infra.ray_train import run_workers
from syncflow.config import with_absolute_paths
from syncflow.errors import UserError
from syncflow.training.autoencoder_config import AutoencoderTrainConfig


def train_worker(config: AutoencoderTrainConfig) -> None:
    """What each worker runs."""
    from syncflow.training.autoencoder_run import train_autoencoder

    train_autoencoder(config)


def train_with_ray(config: AutoencoderTrainConfig) -> None:
    """Train to `config.output`; a run that was cut goes on from its last state.

    Raises:
        UserError: the clips are missing, those to be held out too, or none can be decoded.
    """
    for name, folder in (("clips", config.clips), ("held_out", config.held_out)):
        if not folder.is_dir():  # before Ray starts, and not after the training
            raise UserError(f"{name} {folder}: no such folder; make_demo_clips.py makes one")
    run_workers(
        train_worker,
        with_absolute_paths(config),
        workers=config.workers,
        storage=config.output / "ray",
        max_failures=config.max_failures,
    )


def measure(config: AutoencoderTrainConfig) -> dict[str, float]:
    """Reconstruction of the held-out clips by the saved weights; also written to `reconstruction.json`."""
    import torch

    from syncflow.autoencoders.audio_vae import AudioVAE
    from syncflow.autoencoders.loading import load_vae
    from syncflow.autoencoders.video_vae import VideoVAE
    from syncflow.evaluation.reconstruction import audio_reconstruction, video_reconstruction
    from syncflow.training.autoencoder_data import cached_windows, to_video

    windows = cached_windows(
        config.held_out, spec=config.clip, per_clip=config.windows_per_clip, cache=config.output / "cache"
    )
    with torch.no_grad():
        if config.kind == "audio":
            audio_vae = load_vae(AudioVAE, config.output)
            sounds = [np.array(sound, dtype=np.float32) for sound in windows.audio]
            made = [audio_vae(torch.from_numpy(sound)[None])[0][0].numpy() for sound in sounds]
            result = audio_reconstruction(zip(sounds, made, strict=True), sample_rate=config.clip.sample_rate)
        else:
            video_vae = load_vae(VideoVAE, config.output)
            pictures = [
                ((video_vae(to_video(f[None]))[0][0].clamp(-1, 1) + 1.0) * 127.5).round().byte()
                for f in windows.frames
            ]
            result = video_reconstruction(
                (original, made.permute(1, 2, 3, 0).numpy())
                for original, made in zip(windows.frames, pictures, strict=True)
            )
    figures = asdict(result)
    (config.output / "reconstruction.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    return figures
