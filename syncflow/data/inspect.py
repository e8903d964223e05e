"""Windows of a dataset decoded back to mp4, for the eye and the ear."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.data.index import WindowEntry, WindowIndex
from syncflow.data.store import MomentReader
from syncflow.files import require_writable
from syncflow.media import write_clip
from syncflow.noise import keyed_generator
from syncflow.pixels import video_to_frames
from syncflow.records import ClipSpec, GeneratedClip


def choose_windows(windows: WindowIndex, *, count: int, seed: int) -> list[WindowEntry]:
    """`count` windows at random, without repeats."""
    order = torch.randperm(len(windows), generator=keyed_generator("inspect", seed)).tolist()
    return [windows[i] for i in order[:count]]


@torch.inference_mode()
def decode_entry(
    entry: WindowEntry, *, spec: ClipSpec, video_vae: VideoVAE, audio_vae: AudioVAE
) -> GeneratedClip:
    """What the autoencoders make of a row's means: the best that a model trained on it can do."""
    stored, _ = MomentReader()(entry.place.group)
    at = entry.place.offset

    def mean(name: str) -> torch.Tensor:
        return stored[name][at : at + 1].float()

    video = video_vae.decode(mean("video_mean"), num_frames=spec.num_frames)  # b c f h w
    audio = audio_vae.decode(mean("audio_mean"), num_samples=spec.num_samples)[0]  # m
    return GeneratedClip(
        prompt=entry.caption,
        seed=0,
        spec=spec,
        frames=np.ascontiguousarray(video_to_frames(video)[0]),
        audio=audio.clamp(-1, 1).numpy(),
    )


def write_windows(
    entries: Sequence[WindowEntry], folder: Path, *, spec: ClipSpec, video_vae: VideoVAE, audio_vae: AudioVAE
) -> list[tuple[Path, str]]:
    """Decode windows to mp4 files in `folder`; each file and its caption.

    Raises:
        UserError: the folder cannot be written.
    """
    require_writable(folder)
    written = []
    for entry in track(entries, "decoding"):
        clip = decode_entry(entry, spec=spec, video_vae=video_vae, audio_vae=audio_vae)
        path = folder / file_name(entry)
        write_clip(path, frames=clip.frames, audio=clip.audio, fps=spec.fps, sample_rate=spec.sample_rate)
        written.append((path, entry.caption))
    return written


def file_name(entry: WindowEntry) -> str:
    """A name for the mp4 of a window without separators or odd signs; windows that differ get others."""
    safe = "".join(sign if sign.isalnum() or sign in "-_." else "_" for sign in entry.clip_id)[:100]
    safe = safe.lstrip(".-") or "clip"
    if safe != entry.clip_id:
        safe += "-" + hashlib.sha256(entry.clip_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{safe}-{entry.window}.mp4"
