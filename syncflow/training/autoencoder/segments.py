"""Segments of decoded windows for training an autoencoder, keyed by step.

Which segment is seen at (seed, step, index in the global batch) does not depend on the number of workers.
"""

from collections.abc import Iterator

import numpy as np
import torch

from syncflow.data.windows.store import WindowStore
from syncflow.noise import keyed_generator
from syncflow.pixels import scaled
from syncflow.training.autoencoder.augmentation import vary
from syncflow.training.autoencoder.config import (
    AudioObjectiveConfig,
    AutoencoderTrainConfig,
    VideoObjectiveConfig,
)
from syncflow.training.autoencoder.objective import Part, Segments

SILENT_PEAK = 0.01
CANDIDATES = 3


def to_video(frames: np.ndarray) -> torch.Tensor:
    """Video `b c f h w` in [-1, 1] from frames `b f h w c` uint8."""
    return scaled(torch.from_numpy(np.array(frames)))


def part_of_step(step: int, config: AutoencoderTrainConfig) -> Part:
    """Which part of the video VAE trains at a step (from 0)."""
    done = step / config.steps
    shares = config.video_objective
    if shares.decoder_only:
        return "all"
    if done < shares.frames_share:
        return "frames"
    return "temporal" if done < shares.frames_share + shares.temporal_share else "all"


def part_starts(config: AutoencoderTrainConfig) -> tuple[int, ...]:
    """Steps, after the first, from which another part of the video VAE trains."""
    if config.kind == "audio":
        return ()
    parts = [part_of_step(step, config) for step in range(config.steps)]
    return tuple(step for step in range(1, config.steps) if parts[step] != parts[step - 1])


def segments(
    windows: WindowStore, config: AutoencoderTrainConfig, *, start_step: int, rank: int, world_size: int
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
            yield Segments(
                data=torch.stack([_audio_segment(windows, config.audio_objective, d) for d in draws]),
                generator=posterior,
            )
        else:
            part = part_of_step(step, config)
            cut = _single_frames if part == "frames" else _video_segment
            clips = np.stack([cut(windows, config.video_objective, draw) for draw in draws])
            yield Segments(data=to_video(clips), generator=posterior, part=part)


def _integer(high: int, generator: torch.Generator) -> int:
    return int(torch.randint(high, (1,), generator=generator))


def _audio_segment(
    windows: WindowStore, config: AudioObjectiveConfig, generator: torch.Generator
) -> torch.Tensor:
    """The loudest of a few segments of a window whose peak is brought to a level drawn from `level_db`.

    Pauses would otherwise fill most of a batch. A window that is all but silent stays quieter still.
    """
    row, total, length = _integer(len(windows), generator), windows.shape[0], config.segment_samples
    waveform = windows[row].astype(np.float32)
    starts = torch.randint(max(1, total - length + 1), (CANDIDATES,), generator=generator).tolist()
    first = max(starts, key=lambda start: float(np.square(waveform[start : start + length]).sum()))
    peak = max(float(np.abs(waveform).max()), SILENT_PEAK)
    quietest, loudest = config.level_db
    level = float(10.0 ** ((loudest - (loudest - quietest) * torch.rand((), generator=generator)) / 20.0))
    return torch.from_numpy(waveform[first : first + length] * (level / peak))


def _single_frames(
    windows: WindowStore, config: VideoObjectiveConfig, generator: torch.Generator
) -> np.ndarray:
    """Frames of as many clips: neighbours in a batch would teach the same thing twice."""
    rows = torch.randint(len(windows), (config.frames_per_step,), generator=generator)
    times = torch.randint(windows.shape[0], (config.frames_per_step,), generator=generator)
    chosen = np.stack([windows[row][time] for row, time in zip(rows.tolist(), times.tolist(), strict=True)])
    if config.vary:
        chosen = np.concatenate([vary(frame[None], generator) for frame in chosen])
    return chosen


def _video_segment(
    windows: WindowStore, config: VideoObjectiveConfig, generator: torch.Generator
) -> np.ndarray:
    row, total = _integer(len(windows), generator), windows.shape[0]
    length = min(total, config.segment_frames)
    first = _integer(total - length + 1, generator)
    chosen = windows[row][first : first + length]
    return vary(chosen, generator) if config.vary else chosen
