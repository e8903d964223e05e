"""A window and its reconstruction as one picture: the original above, below it what was made of it."""

from pathlib import Path

import numpy as np

from syncflow.evaluation.mel import FLOOR_DB, mel_db
from syncflow.evaluation.sync import audio_onsets

FRAMES = 8


def write_frames_picture(path: Path, original: np.ndarray, made: np.ndarray, *, title: str = "") -> None:
    """Write a PNG of up to eight frames of each (uint8 `f h w c`), and of four times their difference."""
    chosen = np.linspace(0, len(original) - 1, min(FRAMES, len(original))).round().astype(int)
    error = np.abs(original[chosen].astype(np.int16) - made[chosen].astype(np.int16))
    rows = [original[chosen], made[chosen], np.minimum(4 * error, 255).astype(np.uint8)]
    picture = np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)
    wide = 12.0
    figure = _figure(wide, wide * picture.shape[0] / picture.shape[1] + 0.4)
    axes = figure.subplots()
    axes.imshow(picture, interpolation="nearest")
    axes.set(xticks=[], yticks=[original.shape[1] * (row + 0.5) for row in range(3)])
    axes.set_yticklabels(["original", "reconstruction", "error x 4"])
    _save(figure, path, title)


def write_sound_picture(
    path: Path, original: np.ndarray, made: np.ndarray, *, sample_rate: int, title: str = ""
) -> None:
    """Write a PNG of both mel spectrograms (float32 `m`), onsets marked, on one scale of dB."""
    figure = _figure(10.0, 5.0)
    axes = figure.subplots(2, 1, sharex=True)
    seconds, image = len(original) / sample_rate, None
    for place, name, sound in zip(axes, ("original", "reconstruction"), (original, made), strict=True):
        image = place.imshow(
            mel_db(sound, sample_rate),
            origin="lower",
            aspect="auto",
            extent=(0, seconds, 0, 1),
            vmin=FLOOR_DB,
            vmax=0.0,
            cmap="magma",
        )
        for onset in audio_onsets(sound, sample_rate):
            place.axvline(onset, color="white", linewidth=0.6, linestyle=":")
        place.set(ylabel=name, yticks=[])
    axes[1].set_xlabel("seconds; dotted: onsets")
    assert image is not None
    figure.colorbar(image, ax=list(axes), label="dB of a full-scale sine")
    _save(figure, path, title)


def _figure(wide: float, tall: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(wide, tall), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure, path: Path, title: str) -> None:
    if title:
        figure.suptitle(title[:120], fontsize=10, parse_math=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100, format="png", metadata={"Software": None})
