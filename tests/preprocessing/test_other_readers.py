"""A dataset opens elsewhere, and every reader sees the rows that count and no others."""

from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from preprocessing.job import precompute
from syncflow.data.dataset_card import dataset_card, write_card
from syncflow.data.index import WindowIndex
from syncflow.data.parquet import DatasetManifest, read_rows
from tests.precompute_case import job, write_clip_number, write_weights

Rows = dict[tuple[str, int], np.ndarray]  # clip and window to the mean of its video latent


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a job left that found a clip changed, one gone and one captioned anew; the card is older."""
    folder = tmp_path_factory.mktemp("elsewhere")
    clips, output = folder / "clips", folder / "latents"
    clips.mkdir()
    write_weights(folder / "weights")
    for number in range(4):
        write_clip_number(clips / f"{number}.mp4", number)
    (clips / "captions.csv").write_text("clip_id,caption\n0,a dog\n1,a cat\n")
    source = {"kind": "folder", "root": str(clips), "captions": str(clips / "captions.csv")}
    assert precompute(job(clips, folder / "weights", output, source=source)) == 0
    write_card(output, dataset_card(output))
    write_clip_number(clips / "2.mp4", 20)
    (clips / "3.mp4").unlink()
    (clips / "captions.csv").write_text("clip_id,caption\n0,a dog barks\n1,a cat\n")
    followed = {"drop_missing": True, "most_leaving": 1}
    assert precompute(job(clips, folder / "weights", output, source=source, **followed)) == 0
    return output


@pytest.fixture(scope="module")
def expected(dataset: Path) -> Rows:
    rows = [
        row for shard in WindowIndex(dataset).shard_names for row in read_rows(dataset / "latents" / shard)
    ]
    assert len(rows) == DatasetManifest.read(dataset).windows == 6
    return {(row.clip_id, row.window): row.video_mean for row in rows}


def assert_same(found: Rows, expected: Rows, *, rows: int) -> None:
    assert rows == len(expected) and found.keys() == expected.keys()
    for key, mean in expected.items():
        assert np.array_equal(found[key].astype(np.float16), mean), key


def test_pandas_reads_the_rows_that_count(dataset: Path, expected: Rows) -> None:
    table = pd.read_parquet(dataset / "latents")
    found = {
        (row.clip_id, row.window): np.asarray(row.video_mean).reshape(row.video_shape)
        for row in table.itertuples()
    }
    assert_same(found, expected, rows=len(table))
    captions = pd.read_parquet(dataset / "text", columns=["caption"]).caption
    assert sorted(captions) == ["a cat", "a clip", "a dog barks"] == sorted(table.caption.unique())


def test_polars_reads_the_rows_that_count(dataset: Path, expected: Rows) -> None:
    table = pl.read_parquet(dataset / "latents" / "*.parquet")
    found = {
        (row["clip_id"], row["window"]): np.asarray(row["video_mean"]).reshape(row["video_shape"])
        for row in table.iter_rows(named=True)
    }
    assert_same(found, expected, rows=len(table))
    lazy = pl.scan_parquet(dataset / "index" / "*.parquet").filter(pl.col("caption") == "a cat")
    assert lazy.collect().height == 2


def test_duckdb_reads_the_rows_that_count(dataset: Path, expected: Rows) -> None:
    asked = f"select clip_id, \"window\", video_mean, video_shape from '{dataset}/latents/*.parquet'"
    rows = duckdb.sql(asked).fetchall()
    found = {(clip, window): np.asarray(mean).reshape(shape) for clip, window, mean, shape in rows}
    assert_same(found, expected, rows=len(rows))
    tables = f"'{dataset}/latents/*.parquet' join '{dataset}/text/*.parquet' on caption_key = key"
    assert duckdb.sql(f"select count(*) from {tables}").fetchall() == [(6,)]


def test_load_dataset_reads_the_rows_that_count(
    dataset: Path, expected: Rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the head of README.md; a run before the last one wrote it."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    from datasets import load_dataset

    latents = load_dataset(str(dataset), "latents", split="train", cache_dir=str(tmp_path / "cache"))
    found = {
        (row["clip_id"], row["window"]): np.asarray(row["video_mean"]).reshape(row["video_shape"])
        for row in latents
    }
    assert_same(found, expected, rows=len(latents))
    for name, rows in (("windows", 6), ("text", 3), ("ledger", 3)):
        table = load_dataset(str(dataset), name, split="train", cache_dir=str(tmp_path / "cache"))
        assert len(table) == rows, name
    streamed = load_dataset(str(dataset), split="train", streaming=True)
    assert len(list(streamed)) == 6
