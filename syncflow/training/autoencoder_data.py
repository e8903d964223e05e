"""Sound and pictures for training an autoencoder: windows decoded once, then segments keyed by step.

Which segment is seen at (seed, step, index in the global batch) does not depend on the number of workers.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import track

from syncflow.errors import UserError
from syncflow.hashing import settings_sha256
from syncflow.media import MediaError, decode_window, probe
from syncflow.noise import keyed_generator
from syncflow.records import ClipSpec
from syncflow.training.augmentation import vary
from syncflow.training.autoencoder_config import AutoencoderTrainConfig, VideoObjectiveConfig
from syncflow.training.autoencoder_objective import Part, Segments

SILENT_PEAK = 0.01
CANDIDATES = 3
SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi", ".ts")


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Decoded windows of a folder of clips, memory-mapped."""

    frames: np.ndarray  # uint8 i f h w c
    audio: np.ndarray  # float16 i m


def cached_windows(folder: Path, *, spec: ClipSpec, per_clip: int, cache: Path) -> Windows:
    """The first windows of each clip of `folder`, decoded into `cache` unless they are there.

    Raises:
        UserError: no such folder, or no clip of it can be decoded.
    """
    key = settings_sha256([str(folder.resolve()), spec.model_dump(), per_clip])[:16]
    target = cache / key
    if not (target / "audio.npy").is_file():
        _decode(folder, spec=spec, per_clip=per_clip, target=target)
    return Windows(
        frames=np.load(target / "frames.npy", mmap_mode="r", allow_pickle=False),
        audio=np.load(target / "audio.npy", mmap_mode="r", allow_pickle=False),
    )


def _decode(folder: Path, *, spec: ClipSpec, per_clip: int, target: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"clips {folder}: no such folder; make_demo_clips.py makes one")
    paths = sorted(p.resolve() for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)

    def windows(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
        try:
            count = min(per_clip, int(probe(path).duration_s / spec.seconds + 1e-6))
            return [decode_window(path, start_s=k * spec.seconds, spec=spec) for k in range(count)]
        except MediaError as error:
            print(f"left out {path.name}: {error.reason}", flush=True)
            return []

    with ThreadPoolExecutor(max_workers=2) as pool:
        found = [
            window
            for result in track(
                pool.map(windows, paths), total=len(paths), description=f"decode {folder.name}"
            )
            for window in result
        ]
    if not found:
        raise UserError(
            f"clips {folder}: none of {len(paths)} files gives {spec.seconds:g} s of picture and sound"
        )
    target.mkdir(parents=True, exist_ok=True)
    for name, values in (
        ("frames", np.stack([frames for frames, _ in found])),
        ("audio", np.stack([audio for _, audio in found]).astype(np.float16)),
    ):
        np.save(target / f"{name}.partial.npy", values)
        (target / f"{name}.partial.npy").rename(target / f"{name}.npy")


def to_video(frames: np.ndarray) -> torch.Tensor:
    """Video `b c f h w` in [-1, 1] from frames `b f h w c` uint8."""
    return torch.from_numpy(np.array(frames)).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


def part_of_step(step: int, config: AutoencoderTrainConfig) -> Part:
    """Which part of the video VAE trains at a step (from 0)."""
    done = step / config.steps
    shares = config.video_objective
    if done < shares.frames_share:
        return "frames"
    return "temporal" if done < shares.frames_share + shares.temporal_share else "all"


def segments(
    windows: Windows, config: AutoencoderTrainConfig, *, start_step: int, rank: int, world_size: int
) -> Iterator[Segments]:
    """This worker's batch of each step from `start_step` on, without end."""
    for step in range(start_step, config.steps):
        first = rank * config.batch_size
        draws = [
            keyed_generator(config.seed, "segment", step, index)
            for index in range(first, first + config.batch_size)
        ]
        posterior = keyed_generator(config.seed, "posterior", step, rank, world_size)
        if config.kind == "audio":
            length = config.audio_objective.segment_samples
            yield Segments(
                data=torch.stack([_audio_segment(windows.audio, length, d) for d in draws]),
                generator=posterior,
            )
        else:
            part = part_of_step(step, config)
            cut = _single_frames if part == "frames" else _video_segment
            clips = np.stack([cut(windows.frames, config.video_objective, draw) for draw in draws])
            yield Segments(data=to_video(clips), generator=posterior, part=part)


def _integer(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(high, (1,), generator=generator))


def _audio_segment(audio: np.ndarray, length: int, generator: torch.Generator) -> torch.Tensor:
    """The loudest of a few segments of a window whose peak is brought to -15 to 0 dB of full scale.

    Recordings differ in level for no reason that matters (one that is all but silent stays so), and
    pauses would otherwise fill most of a batch.
    """
    row, total = _integer(len(audio), generator), audio.shape[1]
    sound = audio[row].astype(np.float32)
    starts = torch.randint(max(1, total - length + 1), (CANDIDATES,), generator=generator).tolist()
    first = max(starts, key=lambda start: float(np.square(sound[start : start + length]).sum()))
    peak = max(float(np.abs(sound).max()), SILENT_PEAK)
    level = float(10.0 ** (-15.0 * torch.rand((), generator=generator) / 20.0))
    return torch.from_numpy(sound[first : first + length] * (level / peak))


def _single_frames(
    frames: np.ndarray, config: VideoObjectiveConfig, generator: torch.Generator
) -> np.ndarray:
    """Frames of as many clips: neighbours in a batch would teach the same thing twice."""
    rows = torch.randint(len(frames), (config.frames_per_step,), generator=generator)
    times = torch.randint(frames.shape[1], (config.frames_per_step,), generator=generator)
    chosen = frames[rows.numpy(), times.numpy()]
    if config.vary:
        chosen = np.concatenate([vary(frame[None], generator) for frame in chosen])
    return chosen


def _video_segment(
    frames: np.ndarray, config: VideoObjectiveConfig, generator: torch.Generator
) -> np.ndarray:
    row, total = _integer(len(frames), generator), frames.shape[1]
    length = min(total, config.segment_frames)
    first = _integer(total - length + 1, generator)
    chosen = frames[row, first : first + length]
    return vary(chosen, generator) if config.vary else chosen
