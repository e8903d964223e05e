"""The dataset card: what a dataset holds, in Markdown."""

import contextlib
from pathlib import Path

import numpy as np

from syncflow.data.card_header import card_header
from syncflow.data.index import WindowIndex
from syncflow.data.parquet import DatasetManifest

PERCENTILES = (0, 5, 50, 95, 100)


def dataset_card(folder: Path) -> str:
    """Counts, the way from inputs to windows, sizes, scores and fingerprints.

    Raises:
        UserError: no finished dataset is there.
    """
    windows = WindowIndex(folder)
    manifest = windows.manifest
    spec = manifest.spec
    parts = [
        f"# Latents: {folder.name}",
        f"Windows of {spec.seconds:g} s: {spec.num_frames} frames of {spec.width} x {spec.height} at "
        f"{spec.fps} fps, {spec.num_samples} samples at {spec.sample_rate} Hz, mono. Each row holds the "
        "mean and the log-variance of both posteriors, float16; `docs/data.md` tells how to read them.",
        "## Clips",
        _table(("", "reason", "clips"), _funnel(manifest)),
        f"{manifest.windows} windows, {manifest.captions} distinct captions, "
        f"{manifest.latents_bytes / 1e6:.1f} MB of latents, "
        f"{manifest.text_bytes / 1e6:.1f} MB of embeddings.",
        "## Windows",
        _table(("split", "windows", "clips"), _splits(windows)),
        _table(("caption source", "windows"), _sources(windows)),
        "## Scores",
        _table(("score", *(f"{p} %" for p in PERCENTILES)), _scores(windows)),
        "![Histograms of the scores](scores.png)",
        "Thresholds on these are settings of training (`filters.min_scores`, `filters.max_scores`).",
        "## Made by",
        _table(("model", "sha256", "location"), _weights(manifest)),
        f"SyncFlow {manifest.version}, schema version {manifest.schema_version}, recipe `{manifest.recipe}`; "
        "all settings are in `resolved.yaml`.",
        "## Licence",
        "Latents can be decoded to frames and audio: the terms of the source clips hold for them too.",
    ]
    return "\n\n".join(parts) + "\n"


def write_card(folder: Path, card: str) -> None:
    """The card with its head, as `README.md`, and its figure, into the dataset."""
    from syncflow.data.score_picture import draw_scores

    with contextlib.suppress(OSError):  # a read-only mount: the card was printed
        (folder / "README.md").write_text(card_header(folder) + card, encoding="utf-8")
        draw_scores(WindowIndex(folder), folder / "scores.png")


def _funnel(manifest: DatasetManifest) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = [("inputs", "", manifest.inputs)]
    rows += [("rejected", reason, count) for reason, count in sorted(manifest.rejected.items())]
    rows += [("failed", reason, count) for reason, count in sorted(manifest.failed.items())]
    return [*rows, ("accepted", "", manifest.accepted)]


def _splits(windows: WindowIndex) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for number, split in sorted(enumerate(windows.split_names), key=lambda each: each[1]):
        chosen = np.flatnonzero(windows.splits == number)
        rows.append((split, len(chosen), windows.clips(chosen)))
    return rows


def _sources(windows: WindowIndex) -> list[tuple[object, ...]]:
    counts = np.bincount(windows.caption_sources, minlength=len(windows.caption_source_names))
    return sorted(zip(windows.caption_source_names, counts.tolist(), strict=True))


def _scores(windows: WindowIndex) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for name in sorted(windows.file.scores):
        values = np.percentile(windows.score(name), PERCENTILES)
        rows.append((name, *(f"{value:.4g}" for value in values)))
    return rows


def _weights(manifest: DatasetManifest) -> list[tuple[object, ...]]:
    models = {"video VAE": manifest.video_vae, "audio VAE": manifest.audio_vae, "text": manifest.text_encoder}
    return [(name, f"`{w.sha256[:16]}`", w.location or "built from a seed") for name, w in models.items()]


def _table(head: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
