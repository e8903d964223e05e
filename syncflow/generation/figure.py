"""A clip as one image: every fourth frame over the waveform (the paper's Figure 3)."""

from pathlib import Path

import numpy as np


def write_strip(
    path: Path,
    *,
    frames: np.ndarray,
    audio: np.ndarray,
    fps: float,
    sample_rate: int,
    title: str = "",
    every: int = 4,
) -> None:
    """Write a PNG of `frames` (uint8 `f h w c`) over `audio` (float32 `m`), on one time axis in seconds.

    Each shown frame stands over the span of audio that it and the frames up to the next one cover.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    shown = frames[::every]
    seconds = len(frames) / fps
    aspect = frames.shape[2] / frames.shape[1]
    wide = 12.0
    tall = wide / len(shown) / aspect
    figure = Figure(figsize=(wide, tall + 1.6), layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, height_ratios=[tall, 1.1])
    above.imshow(np.concatenate(list(shown), axis=1), extent=(0, seconds, 0, 1), aspect="auto")
    above.set_axis_off()
    if title:
        above.set_title(
            title if len(title) <= 120 else f"{title[:119]}…", fontsize=10, loc="left", parse_math=False
        )
    _draw_waveform(below, audio, sample_rate)
    for start in np.arange(0, len(frames), every) / fps:
        below.axvline(start, color="0.85", linewidth=0.6, zorder=0)
    below.set(xlim=(0, seconds), yticks=[], xlabel="seconds")
    for side in ("top", "left", "right"):
        below.spines[side].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, format="png", metadata={"Software": None})


def _draw_waveform(axes, audio: np.ndarray, sample_rate: int, columns: int = 1500) -> None:
    """Least and greatest sample of each of `columns` short spans, so that no click is lost."""
    edges = np.linspace(0, len(audio), min(columns, len(audio)) + 1).astype(int)[:-1]
    low, high = np.minimum.reduceat(audio, edges), np.maximum.reduceat(audio, edges)
    reach = max(float(np.abs(audio).max(initial=0.0)), 1e-3)
    axes.fill_between(edges / sample_rate, low, high, linewidth=0.4, color="#1f5fa8", edgecolor="#1f5fa8")
    axes.set_ylim(-1.05 * reach, 1.05 * reach)
