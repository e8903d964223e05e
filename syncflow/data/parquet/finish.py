"""The last act of a job: sweep what no ledger row names, count, and write `dataset.json`."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import syncflow
from syncflow.data.parquet.index_file import ROOM, index_path, write_index
from syncflow.data.parquet.ledger import ClipKey, committed_files, ledger_sha256, read_ledger, tally
from syncflow.data.parquet.manifest import DatasetManifest, Weights
from syncflow.data.parquet.schema import SCHEMA_VERSION, TEXT_SCHEMA
from syncflow.data.parquet.shards import read_table
from syncflow.errors import UserError
from syncflow.hashing import settings_sha256
from syncflow.records import ClipSpec


def finish_dataset(
    folder: Path,
    *,
    recipe: str,
    keys: Iterable[ClipKey],
    spec: ClipSpec,
    frame_spans: Sequence[tuple[int, int]],
    video_vae: Weights,
    audio_vae: Weights,
    text_encoder: Weights,
    config: dict[str, Any],
) -> DatasetManifest:
    """Write the manifest of a dataset that has a ledger row for each of `keys`, the job's inputs.

    Clips of earlier jobs with the same recipe stay and count.

    Raises:
        UserError: an input has no row of this recipe.
    """
    ledger = {k: row for k, row in read_ledger(folder / "ledger").items() if row.recipe == recipe}
    lost = [key for key in keys if key not in ledger]
    if lost:
        raise UserError(f"{folder}: {len(lost)} clips have no ledger row, first {lost[0]}; run the job again")
    files = committed_files(folder / "ledger")
    _sweep(folder, files)
    counts = tally(ledger.values())
    texts = [p for p in files if p.startswith("text/")]
    clips: dict[str, list[ClipKey]] = defaultdict(list)
    for key, row in ledger.items():
        if row.kind == "accepted":
            clips[row.shard].append(key)
    files_sha256 = settings_sha256(files)
    index_sha256 = write_index(
        folder, clips=clips, texts=[Path(p).name for p in texts], files_sha256=files_sha256
    )
    captions = {k for p in texts for k in _keys(folder / p)}
    manifest = DatasetManifest(
        schema_version=SCHEMA_VERSION,
        version=syncflow.__version__,
        recipe=recipe,
        spec=spec,
        frame_spans=tuple(frame_spans),
        video_vae=video_vae,
        audio_vae=audio_vae,
        text_encoder=text_encoder,
        inputs=len(ledger),
        accepted=sum(counts["accepted"].values()),
        rejected=counts["rejected"],
        failed=counts["failed"],
        windows=sum(row.windows for row in ledger.values()),
        captions=len(captions),
        latents_bytes=sum((folder / p).stat().st_size for p in files if p.startswith("latents/")),
        text_bytes=sum((folder / p).stat().st_size for p in texts),
        files_sha256=files_sha256,
        index_sha256=index_sha256,
        ledger_sha256=ledger_sha256(folder / "ledger"),
        config=config,
    )
    manifest.write(folder)
    for path in (folder / ROOM).glob("*.parquet"):
        if path != index_path(folder, files_sha256=files_sha256):
            path.unlink()
    return manifest


def _sweep(folder: Path, files: dict[str, str]) -> None:
    """Remove what a killed job left: temporary files, and shards that it did not commit."""
    for room in ("latents", "text", "ledger"):
        for path in (folder / room).glob(".*.tmp"):
            path.unlink()
    for room in ("latents", "text"):
        for path in (folder / room).glob("*.parquet"):
            if f"{room}/{path.name}" not in files:
                path.unlink()


def _keys(path: Path) -> list[str]:
    return read_table(path, expected=TEXT_SCHEMA, columns=["key"]).column("key").to_pylist()
