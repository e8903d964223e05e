import dataclasses
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from syncflow.data.parquet import (
    LedgerRow,
    read_ledger,
    read_rows,
    read_texts,
    shard_name,
    write_ledger,
    write_shard,
    write_texts,
)
from syncflow.data.parquet.schema import content_sha256
from syncflow.errors import UserError
from syncflow.records import LatentRow, TextEmbedding

VIDEO, AUDIO = (4, 3, 2, 2), (10, 8)


def row(index: int, **changes: object) -> LatentRow:
    draw = np.random.default_rng(index)
    values = {
        "dataset": "set",
        "clip_id": f"clip{index}",
        "window": 0,
        "start_s": index / 3,
        "split": "train",
        "caption": "a stick hits wood",
        "caption_key": "k",
        "caption_source": "label",
        "source_sha256": "s",
        "fingerprint": "f",
        "scores": {"motion": index / 4, "silence": 0.5},
        "video_mean": draw.standard_normal(VIDEO).astype(np.float16),
        "video_logvar": draw.standard_normal(VIDEO).astype(np.float16),
        "audio_mean": draw.standard_normal(AUDIO).astype(np.float16),
        "audio_logvar": draw.standard_normal(AUDIO).astype(np.float16),
    }
    return LatentRow(**{**values, **changes})  # type: ignore[arg-type]


def ledger_row(clip_id: str, **changes: object) -> LedgerRow:
    values: dict = {f.name: "" for f in dataclasses.fields(LedgerRow)}
    values |= {"dataset": "set", "clip_id": clip_id, "kind": "accepted", "attempt": 0}
    values |= {"source_bytes": 0, "source_mtime_ns": 0, "windows": 1}
    return LedgerRow(**{**values, **changes})


def test_rows_come_back_bit_for_bit(tmp_path: Path) -> None:
    rows = [row(i) for i in range(20)]
    write_shard(tmp_path / "a.parquet", rows, footer={})
    for one, other in zip(rows, read_rows(tmp_path / "a.parquet"), strict=True):
        assert content_sha256(one) == content_sha256(other)
        assert dataclasses.asdict(one)["scores"] == other.scores and one.split == other.split
        assert one.video_logvar.tobytes() == other.video_logvar.tobytes()


def test_texts_come_back_bit_for_bit(tmp_path: Path) -> None:
    tokens = [np.random.default_rng(i).standard_normal((i + 1, 6)).astype(np.float16) for i in range(5)]
    texts = [TextEmbedding(key=str(i), caption=f"c{i}", tokens=t) for i, t in enumerate(tokens)]
    write_texts(tmp_path / "t.parquet", texts, footer={})
    for one, other in zip(texts, read_texts(tmp_path / "t.parquet"), strict=True):
        assert (one.key, one.caption) == (other.key, other.caption)
        assert np.array_equal(one.tokens, other.tokens) and other.tokens.dtype == np.float16


def test_equal_rows_make_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_shard(tmp_path / name, [row(1), row(2)], footer={"recipe": "r"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_pandas_reads_the_table_without_us(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    write_shard(tmp_path / "a.parquet", [row(1), row(2)], footer={})
    frame = pd.read_parquet(tmp_path / "a.parquet")
    assert list(frame.clip_id) == ["clip1", "clip2"]
    assert np.array_equal(frame.video_mean[1].reshape(frame.video_shape[1]), row(2).video_mean)
    assert frame.score_motion[1] == 0.5 and frame.dtype[0] == "float16"


@pytest.mark.parametrize("seed", range(3))
def test_every_flipped_byte_of_the_moments_is_found(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "a.parquet"
    write_shard(path, [row(i) for i in range(8)], footer={})
    good, want = path.read_bytes(), [content_sha256(r) for r in read_rows(path)]
    draw = np.random.default_rng(seed)
    for position in draw.integers(0, len(good), 60):
        bad = bytearray(good)
        bad[position] ^= 1 << int(draw.integers(8))
        path.write_bytes(bad)
        try:
            assert [content_sha256(r) for r in read_rows(path)] == want, f"byte {position} changed the rows"
        except UserError as error:
            assert "a.parquet" in str(error)


def test_truncated_shard_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_shard(path, [row(1)], footer={})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"a\.parquet: damaged"):
        read_rows(path)


def test_another_schema_is_refused_before_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    footer = {b"syncflow": json.dumps({"schema_version": 1})}
    pq.write_table(pa.table({"video_mean": [1]}).replace_schema_metadata(footer), path)
    with pytest.raises(UserError, match="video_mean"):
        read_rows(path)
    pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(UserError, match="schema version None, expected 1"):
        read_rows(path)


def test_an_extra_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_shard(path, [row(1)], footer={})
    table = pq.read_table(path)
    pq.write_table(table.append_column("surprise", [["x"]]), path)
    with pytest.raises(UserError, match="surprise"):
        read_rows(path)


def test_unwritable_folder_keeps_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_shard(tmp_path / "file" / "a.parquet", [row(1)], footer={})
    assert [p.name for p in tmp_path.rglob("*")] == ["file"]


def test_name_of_a_shard_depends_on_its_ids_only() -> None:
    assert shard_name([("a", "b"), ("c", "d")]) == shard_name([("c", "d"), ("a", "b")])
    assert shard_name([("a", "bc")]) != shard_name([("ab", "c")])


def test_highest_attempt_of_a_clip_counts(tmp_path: Path) -> None:
    first = [ledger_row("a", kind="failed", reason="timeout"), ledger_row("b")]
    write_ledger(tmp_path / "z.parquet", first, files={})
    write_ledger(tmp_path / "y.parquet", [ledger_row("a", attempt=1, shard="y")], files={})
    ledger = read_ledger(tmp_path)
    assert {key: value.kind for key, value in ledger.items()} == {
        ("set", "a"): "accepted",
        ("set", "b"): "accepted",
    }


def test_temporary_files_are_not_part_of_the_ledger(tmp_path: Path) -> None:
    (tmp_path / ".z.parquet.1.tmp").write_bytes(b"half")
    assert read_ledger(tmp_path) == {}
