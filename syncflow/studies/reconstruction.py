"""Score what autoencoders keep of windows, and show some of them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.markdown import Markdown
from rich.progress import track
from scipy.io import wavfile

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae, load_video_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.config import dump_config
from syncflow.data.windows.decode import Windows, decoded_windows
from syncflow.data.windows.store import Kind, WindowStore
from syncflow.evaluation.reconstruction import AudioScore, VideoScore, score_audio, score_video
from syncflow.evaluation.reconstruction_picture import write_frames_picture, write_sound_picture
from syncflow.evaluation.reconstruction_report import WindowScore, summary_markdown, write_rows
from syncflow.files import require_writable
from syncflow.media.clip_folder import distinct_names
from syncflow.noise import keyed_generator
from syncflow.pixels import video_to_frames
from syncflow.studies.reconstruction_config import ReconstructionConfig
from syncflow.training.autoencoder.segments import to_video


def report(config: ReconstructionConfig) -> None:
    """Write `<kind>.csv`, `summary.md` and sample images of each given autoencoder, and print the tables.

    Raises:
        UserError: weights or folders that are missing, or no file that gives a window.
    """
    vaes: dict[Kind, AudioVAE | VideoVAE] = {}
    if config.video_vae:
        vaes["video"] = load_video_vae(config.video_vae)
    if config.audio_vae:
        vaes["audio"] = load_vae(AudioVAE, Path(config.audio_vae))
        vaes["audio"].latent_shape(config.clip)  # refuses another sample rate before anything is decoded
    require_writable(config.output)
    dump_config(config, config.output / "resolved.yaml")
    tables, names = [], distinct_names(list(config.clips))
    for kind, vae in vaes.items():
        rows: list[WindowScore] = []
        left_out = {}
        for name, folder in zip(names, config.clips, strict=True):
            store = decoded_windows(_windows(config, folder, kind))
            left_out[name] = store.left_out
            rows += _score_folder(config, name, vae, store)
        write_rows(config.output / f"{kind}.csv", rows)
        location = config.video_vae if kind == "video" else config.audio_vae
        tables.append(summary_markdown(rows, left_out=left_out, title=f"{kind} VAE {Path(location).name}"))
    (config.output / "summary.md").write_text("\n".join(tables), encoding="utf-8")
    Console().print(Markdown("\n".join(tables)))
    print(f"rows, images and audio in {config.output}")


def write_sample(
    folder: Path,
    name: str,
    *,
    vae: AudioVAE | VideoVAE,
    original: np.ndarray,
    made: np.ndarray,
    score: AudioScore | VideoScore,
) -> None:
    """`<name>.png`, original above reconstruction; of audio also `<name>_{original,made}.wav`."""
    if isinstance(score, VideoScore):
        kept = f"{score.kept} of {score.peaks} motion peaks kept"
        title = f"{name}: PSNR {score.psnr_db:.1f} dB, SSIM {score.ssim:.2f}, {kept}"
        write_frames_picture(folder / f"{name}.png", original, made, title=title)
        return
    assert isinstance(vae, AudioVAE)
    title = f"{name}: {score.kept} of {score.onsets} onsets kept, mel distance {score.mel_distance_db:.1f} dB"
    write_sound_picture(folder / f"{name}.png", original, made, sample_rate=vae.sample_rate, title=title)
    for part, waveform in (("original", original), ("made", made)):
        levels = (np.clip(waveform, -1.0, 1.0) * 32_767).round().astype(np.int16)
        wavfile.write(folder / f"{name}_{part}.wav", vae.sample_rate, levels)


def _windows(config: ReconstructionConfig, folder: Path, kind: Kind) -> Windows:
    return Windows(
        folder=folder,
        kind=kind,
        spec=config.clip,
        per_clip=config.windows_per_clip,
        cache=config.output / "cache",
    )


def _score_folder(
    config: ReconstructionConfig, name: str, vae: AudioVAE | VideoVAE, store: WindowStore
) -> Iterator[WindowScore]:
    origins = store.origins()
    shown = set(np.linspace(0, len(store) - 1, min(config.pictures, len(store))).round().astype(int).tolist())
    kind = "audio" if isinstance(vae, AudioVAE) else "video"
    for row in track(range(len(store)), description=f"{kind} of {name}"):
        generator = keyed_generator(config.seed, "reconstruction", row) if config.draw else None
        original, made = reconstruct(vae, store[row], generator=generator)
        file, window = origins[row]
        score = score_window(vae, original, made, fps=config.clip.fps)
        if row in shown:
            sample = f"{Path(file).stem}_{window}"
            write_sample(
                config.output / name / kind, sample, vae=vae, original=original, made=made, score=score
            )
        yield WindowScore(folder=name, file=file, window=window, score=score)


def score_window(
    vae: AudioVAE | VideoVAE, original: np.ndarray, made: np.ndarray, *, fps: float
) -> AudioScore | VideoScore:
    """What an autoencoder kept of one window."""
    if isinstance(vae, AudioVAE):
        return score_audio(original, made, sample_rate=vae.sample_rate)
    return score_video(original, made, fps=fps)


@torch.no_grad()
def reconstruct(
    vae: AudioVAE | VideoVAE, window: np.ndarray, *, generator: torch.Generator | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`(original, reconstruction)`: frames uint8 `f h w c`, or audio float32 `m`.

    Args:
        window: frames uint8 `f h w c`, or audio float32 `m`.
        generator: draws the latents; without one they are the posterior's mode.
    """
    where = next(vae.parameters()).device
    if isinstance(vae, AudioVAE):
        audio = window.astype(np.float32)
        made, _ = vae(torch.from_numpy(audio)[None].to(where), generator)
        return audio, made[0].cpu().numpy()
    made, _ = vae(to_video(window[None]).to(where), generator)
    return np.array(window), video_to_frames(made)[0]
