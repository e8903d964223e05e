"""A job over a table of four clips, and what is looked at before and after."""

from pathlib import Path

import pandas as pd

from preprocessing.job import precompute
from syncflow.data.parquet import DatasetManifest, read_ledger
from syncflow.data.verify import find_faults
from tests.precompute_case import content, job, rows_read_by_others

GOOD = 4  # clips


def write_table(folder: Path, *, leave_out: str = "", **changes: dict[str, str]) -> None:
    """index.csv of all clips; `changes` are other values of a clip's columns, by its stem."""
    lines = ["path,clip_id,caption,split,start_s,duration_s"]
    for number in range(GOOD):
        name = f"clip{number}"
        row = {"caption": f"caption {number}", "split": "train", "start_s": "0", "duration_s": ""}
        row |= changes.get(name, {})
        if name != leave_out:
            lines.append(f"{name}.mp4,{name},{','.join(row.values())}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def of_table(clips: Path, weights: Path, output: Path, *, source: dict | None = None, **changes: object):
    """The job over index.csv."""
    values = {"kind": "manifest", "root": str(clips), "index": str(clips / "index.csv"), **(source or {})}
    return job(clips, weights, output, source=values, **changes)


def files_of(output: Path) -> dict[str, bytes]:
    return {str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*") if p.is_file()}


def is_sound(output: Path) -> None:
    """Nothing is stale for any reader, and nothing lies about."""
    assert list(find_faults(output)) == []
    ledger = read_ledger(output / "ledger")
    assert len(pd.read_parquet(output / "ledger")) == len(ledger), "one row a clip"
    manifest = DatasetManifest.read(output)
    assert len(rows_read_by_others(output)) == manifest.windows
    assert pd.read_parquet(output / "text", columns=["key"]).key.is_unique
    assert len(pd.read_parquet(output / "text", columns=["key"])) == manifest.captions
    assert not list(output.rglob("*.tmp"))


def content_of_a_fresh_job(clips: Path, weights: Path, tmp_path: Path) -> dict[str, str]:
    fresh = of_table(clips, weights, tmp_path / "fresh")
    precompute(fresh)
    return content(fresh.output)
