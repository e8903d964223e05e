"""A dataset for the eye: where the clips went, histograms of the scores, and some windows to play."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from syncflow.data.index import WindowIndex
from syncflow.data.score_picture import draw_scores
from syncflow.files import write_whole
from syncflow.html_page import bars, heading, page, paragraph, picture, players, table

PERCENTILES = (0, 5, 50, 95, 100)


def write_dataset_report(dataset: Path, clips: Sequence[tuple[Path, str]] = ()) -> Path:
    """Write report.html into a dataset of latents; its path.

    Args:
        dataset: folder that precompute_latents.py wrote.
        clips: decoded windows (mp4) and their captions.

    Raises:
        UserError: no finished dataset, or the folder cannot be written.
    """
    windows = WindowIndex(dataset)
    manifest, spec = windows.manifest, windows.manifest.spec
    counts = [("accepted", manifest.accepted)]
    counts += [(f"rejected: {reason}", count) for reason, count in sorted(manifest.rejected.items())]
    counts += [(f"failed: {reason}", count) for reason, count in sorted(manifest.failed.items())]
    captions = np.bincount(windows.caption_sources, minlength=len(windows.caption_source_names))
    splits = np.bincount(windows.splits, minlength=len(windows.split_names))
    parts = [
        paragraph(
            f"{manifest.windows:,} windows of {spec.seconds:g} s: {spec.num_frames} frames of {spec.width} x "
            f"{spec.height} at {spec.fps} per second, {spec.sample_rate:,} Hz; "
            f"{manifest.latents_bytes / 1e6:,.1f} MB of latents, {manifest.captions:,} distinct captions."
        ),
        heading(f"{manifest.inputs:,} input clips"),
        bars(("what became of them", "clips"), counts),
        heading("Windows"),
        bars(("split", "windows"), list(zip(windows.split_names, splits.tolist(), strict=True))),
        bars(
            ("caption from", "windows"),
            list(zip(windows.caption_source_names, captions.tolist(), strict=True)),
        ),
    ]
    if windows.file.scores:
        rows = [
            (name, *(float(value) for value in np.percentile(windows.score(name), PERCENTILES)))
            for name in sorted(windows.file.scores)
        ]
        with tempfile.TemporaryDirectory(prefix="syncflow-") as folder:
            draw_scores(windows, Path(folder) / "scores.png")
            histograms = picture(Path(folder) / "scores.png")
        parts += [
            heading("Scores"),
            table(("score", *(f"{each} %" for each in PERCENTILES)), rows),
            histograms,
        ]
    if clips:
        parts += [heading("Windows as the autoencoders keep them"), players(clips)]
    weights = {
        "video VAE": manifest.video_vae,
        "audio VAE": manifest.audio_vae,
        "text encoder": manifest.text_encoder,
    }
    parts += [
        heading("Made by"),
        table(("model", "sha256"), [(name, each.sha256[:16]) for name, each in weights.items()]),
        paragraph(f"SyncFlow {manifest.version}, recipe {manifest.recipe}."),
    ]
    path = Path(dataset) / "report.html"
    write_whole(path, page(f"Dataset {Path(dataset).resolve().name}", parts))
    return path
