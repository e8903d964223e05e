"""Graded damage to clips. Of two levels of one damage the higher holds what the lower one did, and more.

Sounds are taken apart at the events' instants: what is heard from one event to the next is a piece, and the
quietest tenth of a second, repeated, is the background that is left without pieces.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import signal

from syncflow.evaluation.extractors.base import DecodedMedia
from validity.clips import EventClip

LEAD_S = 0.005  # a piece begins this long before its event
FADE_S = 0.004
QUIET_S = 0.1
ADDED_S = 0.3  # longest piece that is added

Clips = Sequence[EventClip]
Apply = Callable[[Clips, float, Clips], list[DecodedMedia]]


@dataclass(frozen=True, kw_only=True)
class Damage:
    """One kind of damage at rising levels.

    `apply` takes the clips, a level, and clips of another collection, which only `other material` uses.
    """

    name: str
    unit: str
    levels: tuple[float, ...]
    apply: Apply

    def label(self, level: float) -> str:
        """A level with its unit."""
        return f"{level:g} {self.unit}"


def of_sound(change: Callable[[EventClip, float, int], np.ndarray]) -> Apply:
    """A damage that changes each clip's waveform by itself; the integer is the clip's seed."""

    def apply(clips: Clips, level: float, others: Clips) -> list[DecodedMedia]:
        del others
        return [replace(clip.media, audio=change(clip, level, seed)) for seed, clip in enumerate(clips)]

    return apply


def of_frames(change: Callable[[np.ndarray, float, int], np.ndarray]) -> Apply:
    """A damage that changes each clip's frames by themselves; the integer is the clip's seed."""

    def apply(clips: Clips, level: float, others: Clips) -> list[DecodedMedia]:
        del others
        return [
            replace(clip.media, frames=change(clip.media.video, level, seed))
            for seed, clip in enumerate(clips)
        ]

    return apply


def noise(clip: EventClip, decibels: float, seed: int) -> np.ndarray:
    """White noise so far below the sound."""
    wave = clip.media.waveform
    power = float(np.square(wave).mean()) + 1e-9
    added = np.random.default_rng(seed).normal(0, np.sqrt(power / 10 ** (decibels / 10)), len(wave))
    return (wave + added).astype(np.float32)


def low_pass(clip: EventClip, kilohertz: float, seed: int) -> np.ndarray:
    """Nothing above this frequency."""
    del seed
    sections = signal.butter(8, 1000 * kilohertz, fs=clip.media.sample_rate, output="sos")
    return np.asarray(signal.sosfilt(sections, clip.media.waveform)).astype(np.float32)


def shift(clip: EventClip, seconds: float, seed: int) -> np.ndarray:
    """The sound later by this much, its end first."""
    del seed
    return np.roll(clip.media.waveform, round(seconds * clip.media.sample_rate))


def dropped(clip: EventClip, percent: float, seed: int) -> np.ndarray:
    """Events without sound."""
    draws = np.random.default_rng(seed).permutation(len(clip.events_s))
    kept = np.flatnonzero(draws >= round(percent / 100 * len(draws)))
    return assembled(clip, [(int(k), float(clip.events_s[k]), np.inf) for k in kept])


def added(clip: EventClip, count: float, seed: int) -> np.ndarray:
    """Events' sounds again, at instants at which nothing happens."""
    generator = np.random.default_rng(seed)
    pieces = [(k, float(at), np.inf) for k, at in enumerate(clip.events_s)]
    seconds = len(clip.media.waveform) / clip.media.sample_rate
    if pieces:
        for _ in range(round(count)):
            which, at = int(generator.integers(len(clip.events_s))), float(generator.uniform(0, seconds))
            pieces.append((which, at, ADDED_S))
    return assembled(clip, pieces)


def jittered(clip: EventClip, milliseconds: float, seed: int) -> np.ndarray:
    """Each event's sound earlier or later by a normal draw of this deviation."""
    draws = np.random.default_rng(seed).standard_normal(len(clip.events_s))
    moved = clip.events_s + milliseconds / 1000 * draws
    return assembled(clip, [(k, float(at), np.inf) for k, at in enumerate(moved)])


def assembled(clip: EventClip, pieces: Sequence[tuple[int, float, float]]) -> np.ndarray:
    """The background with pieces of sound laid into it.

    Args:
        pieces: which event's, the instant at which it is to be heard, and its greatest length, seconds.
    """
    wave, rate = clip.media.waveform, clip.media.sample_rate
    total = background(wave, rate).astype(np.float64)
    borders = [round((at - LEAD_S) * rate) for at in clip.events_s] + [len(wave)]
    for which, at, longest_s in pieces:
        first = max(borders[which], 0)
        piece = wave[first : min(borders[which + 1], first + round(min(longest_s, 1e6) * rate))]
        start = round((at - LEAD_S) * rate)
        piece, start = piece[max(-start, 0) :], max(start, 0)
        piece = piece[: max(len(total) - start, 0)].astype(np.float64)
        fade = min(round(FADE_S * rate), len(piece) // 2)
        ramp = np.ones(len(piece))
        if fade:
            ramp[:fade], ramp[-fade:] = np.linspace(0, 1, fade), np.linspace(1, 0, fade)
        total[start : start + len(piece)] += piece * ramp
    return np.clip(total, -1, 1).astype(np.float32)


def background(wave: np.ndarray, rate: int) -> np.ndarray:
    """The quietest stretch, there and back again until the clip is full."""
    length = min(round(QUIET_S * rate), len(wave))
    starts = range(0, max(len(wave) - length, 0) + 1, max(length // 4, 1))
    quietest = min(starts, key=lambda start: float(np.square(wave[start : start + length]).sum()))
    stretch = wave[quietest : quietest + length]
    return np.resize(np.concatenate([stretch, stretch[::-1]]), len(wave))


def swapped(clips: Clips, percent: float, others: Clips) -> list[DecodedMedia]:
    """So many of the clips have the sound of the next one."""
    del others
    chosen = _share(len(clips), percent)
    return [
        replace(clip.media, audio=clips[(k + 1) % len(clips)].media.waveform) if k in chosen else clip.media
        for k, clip in enumerate(clips)
    ]


def other_material(clips: Clips, percent: float, others: Clips) -> list[DecodedMedia]:
    """So many of the clips are those of another collection."""
    chosen = _share(len(clips), percent)
    return [others[k % len(others)].media if k in chosen else clip.media for k, clip in enumerate(clips)]


def _share(count: int, percent: float) -> set[int]:
    order = np.random.default_rng(0).permutation(count)
    return {int(k) for k in order[: round(count * percent / 100)]}


def frozen(frames: np.ndarray, percent: float, seed: int) -> np.ndarray:
    """The last frames, this share of the clip, all equal."""
    del seed
    last = round((len(frames) - 1) * (1 - percent / 100))
    return frames[np.minimum(np.arange(len(frames)), last)]


def frame_noise(frames: np.ndarray, levels: float, seed: int) -> np.ndarray:
    """Noise on every pixel."""
    changed = frames + np.random.default_rng(seed).normal(0, levels, frames.shape)
    return np.clip(changed, 0, 255).astype(np.uint8)


DAMAGES = (
    Damage(name="noise", unit="dB", levels=(30, 20, 10, 0), apply=of_sound(noise)),
    Damage(name="low-pass", unit="kHz", levels=(12, 6, 3, 1), apply=of_sound(low_pass)),
    Damage(name="late sound", unit="s", levels=(0.05, 0.1, 0.2, 0.5), apply=of_sound(shift)),
    Damage(name="dropped events", unit="%", levels=(0, 25, 50, 75, 100), apply=of_sound(dropped)),
    Damage(name="added events", unit="a clip", levels=(0, 1, 2, 4), apply=of_sound(added)),
    Damage(name="jittered events", unit="ms", levels=(0, 50, 100, 200), apply=of_sound(jittered)),
    Damage(name="swapped sounds", unit="%", levels=(25, 50, 100), apply=swapped),
    Damage(name="frozen frames", unit="%", levels=(25, 50, 75, 100), apply=of_frames(frozen)),
    Damage(name="noisy frames", unit="levels", levels=(4, 16, 64), apply=of_frames(frame_noise)),
    Damage(name="other material", unit="%", levels=(25, 50, 100), apply=other_material),
)
