"""How often each measure of synchrony prefers a clip's own audio to the same audio moved in time.

    OMP_NUM_THREADS=1 PYTHONPATH=. python benchmarks/bench_sync.py --real FOLDER --output out/sync

The audio is moved round the clip's ends, so that its sounds stay and only their time changes. A measure that
prefers the audio where it was counts 1, one that cannot tell 0.5: chance is 0.5. Intervals are of a bootstrap
over recordings, or over windows where there are fewer than three recordings. Three measures are compared:
sync F1 (of equal F1 the smaller offset is better), AV-Align, and the correlation of the motion's envelope
with that of the rise of the audio, which needs no threshold.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field
from scipy import ndimage
from validity.clips import read_clips

from preprocessing.synthetic.clips import write_clips
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, load_config
from syncflow.evaluation.av_align import RATE, align, flow_magnitude, flow_peaks, onset_times
from syncflow.evaluation.extractors.base import DecodedMedia
from syncflow.evaluation.extractors.waveforms import resample
from syncflow.evaluation.metrics.interval import mean_interval
from syncflow.evaluation.sync import ClipEvents
from syncflow.files import require_writable
from syncflow.onsets import TOLERANCE_S, audio_onsets, frame_change, motion_peaks
from syncflow.records import ClipSpec
from syncflow.shipped import find_preset

SHIFTS_S = (0.04, 0.08, 0.16, 0.32, -0.04, -0.08, -0.16, -0.32)  # positive: the sound is late
EVERY_S = tuple(np.arange(0.2, 1.85, 0.2).round(2))  # round the clip of 2 s
STEP_S, SMOOTH_S = 0.01, 0.04
DRAWS = 1000


class SyncBenchConfig(Config):
    """Clips on which measures of synchrony are compared."""

    real: Path
    """Folder of real recordings with sound."""
    strokes: tuple[str, ...] = ("gh_",)
    """Beginnings of the names of files in `real` that hold separate strokes."""
    leave_out: tuple[str, ...] = ("derived_",)
    """Beginnings of the names of files in `real` that are not read."""
    output: Path
    """Folder for preferred.md, preferred.csv and the synthetic clips."""
    count: int = Field(default=24, ge=4)
    """Synthetic clips."""
    windows: int = Field(default=9, ge=1)
    """Most windows of a real file, one every half second."""
    real_size: int = Field(default=96, ge=32)
    """Rows and columns at which real clips are read, pixels."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """Windows of one recording."""

    name: str
    windows: Sequence[DecodedMedia]


Measure = Callable[[np.ndarray], float]
"""The score of a clip's frames with this audio, float32 `m` at the clip's rate."""


def sync_f1(clip: DecodedMedia) -> Measure:
    """Sync F1, less a hundredth of the offset's share of the tolerance; -1 where nothing happens."""
    peaks = motion_peaks(clip.video, clip.fps)

    def score(audio: np.ndarray) -> float:
        found = ClipEvents(onsets=audio_onsets(audio, clip.sample_rate), peaks=peaks).score()
        late = np.nan_to_num(abs(found.offset_ms)) / (1000 * TOLERANCE_S)
        return -1.0 if np.isnan(found.f1) else found.f1 - 0.01 * float(late)

    return score


def alignment(clip: DecodedMedia) -> Measure:
    """AV-Align of TempoTokens; 0 where there is no peak at all."""
    peaks = flow_peaks(flow_magnitude(clip.video), clip.fps, variant="tempotokens")

    def score(audio: np.ndarray) -> float:
        onsets = onset_times(resample(audio, clip.sample_rate, RATE, "sinc"), RATE)
        return float(np.nan_to_num(align(onsets, peaks, fps=clip.fps, variant="tempotokens").score))

    return score


def envelope_correlation(clip: DecodedMedia) -> Measure:
    """Pearson's correlation of how much the frames change with how much the audio rises, -1 to 1."""
    count = round(len(clip.waveform) / clip.sample_rate / STEP_S)
    change = frame_change(clip.video)
    motion = np.interp(STEP_S * np.arange(count), (np.arange(len(change)) + 0.5) / clip.fps, change)

    def score(audio: np.ndarray) -> float:
        parts = np.array_split(np.square(audio, dtype=np.float64), count)
        level_db = 10 * np.log10(np.array([part.mean() for part in parts]) + 1e-7)
        rise = np.maximum(np.diff(level_db, prepend=level_db[-1]), 0)
        rise = ndimage.gaussian_filter1d(rise, SMOOTH_S / STEP_S, mode="wrap")
        if motion.std() < 1e-9 or rise.std() < 1e-9:
            return 0.0
        return float(np.corrcoef(motion, rise)[0, 1])

    return score


MEASURES: dict[str, Callable[[DecodedMedia], Measure]] = {
    "sync F1": sync_f1,
    "AV-Align": alignment,
    "envelope correlation": envelope_correlation,
}


def preferred(measure: Measure, clip: DecodedMedia) -> dict[str, float]:
    """By shift, 1 where the clip's own audio is preferred, 0.5 where it cannot be told, else 0."""
    own = measure(clip.waveform)

    def prefers(seconds: float) -> float:
        other = measure(np.roll(clip.waveform, round(seconds * clip.sample_rate)))
        return 0.5 if other == own else float(own > other)

    found = {f"{1000 * shift:+.0f} ms": prefers(shift) for shift in SHIFTS_S}
    return {**found, "all shifts": float(np.mean([prefers(shift) for shift in EVERY_S]))}


def interval(values: Sequence[Sequence[float]]) -> tuple[float, float, float]:
    """Mean, and its 95 % interval over recordings; `values` are those of the windows of each."""
    every = np.concatenate([np.asarray(each) for each in values])
    if len(values) < 3:
        found = mean_interval(every)
        return found.value, found.low, found.high
    draw = np.random.default_rng(0)
    means = []
    for _ in range(DRAWS):
        chosen = draw.integers(0, len(values), len(values))
        means.append(np.concatenate([np.asarray(values[k]) for k in chosen]).mean())
    low, high = np.percentile(means, (2.5, 97.5))
    return float(every.mean()), float(low), float(high)


def recordings(config: SyncBenchConfig) -> dict[str, list[Recording]]:
    """Synthetic clips, recordings of separate strokes, and other recordings."""
    drawn = load_config(
        SyntheticClipsConfig,
        find_preset(Path("tiny/clips")),
        {"output": str(config.output / "synthetic"), "count": config.count, "workers": 1},
    )
    write_clips(drawn)

    def read(folder: Path, size: int, windows: int) -> list[Recording]:
        spec, found = ClipSpec(height=size, width=size), []
        for path in sorted(p for p in folder.iterdir() if not p.name.startswith(config.leave_out)):
            clips = read_clips(
                folder, spec=spec, most=windows, per_file=windows, only=(path.name,), every_s=0.5
            )
            if clips:
                found.append(Recording(name=path.name, windows=[clip.media for clip in clips]))
        return found

    real = read(config.real, config.real_size, config.windows)
    return {
        "synthetic": read(drawn.output, drawn.size, 1),
        "real strokes": [r for r in real if r.name.startswith(config.strokes)],
        "other real": [r for r in real if not r.name.startswith(config.strokes)],
    }


def main() -> None:
    config = parse_arguments(SyncBenchConfig, description=__doc__ or "")
    require_writable(config.output)
    shifts = [f"{1000 * shift:+.0f} ms" for shift in SHIFTS_S] + ["all shifts"]
    table = ["| clips | measure | " + " | ".join(shifts) + " |", "|---" * (len(shifts) + 2) + "|"]
    rows = []
    for collection, found in recordings(config).items():
        count = sum(len(recording.windows) for recording in found)
        for name, measure in MEASURES.items() if found else ():
            told = [[preferred(measure(clip), clip) for clip in recording.windows] for recording in found]
            cells = []
            for shift in shifts:
                value, low, high = interval([[each[shift] for each in windows] for windows in told])
                cells.append(f"{value:.2f} ({low:.2f} to {high:.2f})")
                rows.append((collection, len(found), count, name, shift, value, low, high))
            table.append(f"| {collection} ({count} of {len(found)}) | {name} | " + " | ".join(cells) + " |")
            print(table[-1], flush=True)
    (config.output / "preferred.md").write_text("\n".join(table) + "\n", encoding="utf-8")
    with (config.output / "preferred.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("clips", "recordings", "windows", "measure", "shift", "preferred", "low", "high"))
        writer.writerows(rows)
    print(f"{config.output}: preferred.md, preferred.csv")


if __name__ == "__main__":
    run(main)
