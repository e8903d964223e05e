"""What a table may hold that is not what was written: flipped bits, bombs, numbers that no model can use."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from syncflow.data.batches import LatentDataset
from syncflow.data.parquet import read_ledger, read_rows, write_ledger
from syncflow.data.parquet.ledger import LedgerRow
from syncflow.data.parquet.schema import latents_table
from syncflow.data.parquet.shards import write_table
from syncflow.errors import UserError

FLIPS = 1000


def all_that_training_reads(folder: Path) -> list[object]:
    data = LatentDataset(folder)
    everyone = range(len(data))
    batch = data.samples(everyone, among=everyone, per_step=len(data))
    tensors = (batch.latents.video, batch.latents.audio, batch.text.tokens, batch.text.mask)
    entries = [(w.name, w.caption, w.caption_source, *w.scores.items()) for w in data.windows]
    return [*(tensor.numpy().tobytes() for tensor in tensors), entries, data.fingerprint, data.manifest]


def test_a_thousand_flipped_bits_are_found_or_change_nothing(
    tmp_path: Path, write_dataset, make_clip
) -> None:
    write_dataset(tmp_path, [make_clip(0), make_clip(1)])
    want, found = all_that_training_reads(tmp_path), 0
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    draw, sizes = np.random.default_rng(0), np.array([path.stat().st_size for path in files], float)
    for _ in range(FLIPS):
        path = files[draw.choice(len(files), p=sizes / sizes.sum())]
        good = path.read_bytes()
        bad, place = bytearray(good), int(draw.integers(len(good)))
        bad[place] ^= 1 << int(draw.integers(8))
        path.write_bytes(bad)
        try:
            assert all_that_training_reads(tmp_path) == want, (
                f"{path.name}: byte {place} changed what is read"
            )
        except UserError as error:
            assert "\n" not in str(error)
            found += 1
        path.write_bytes(good)
    assert found > 0.7 * FLIPS  # the others hit what no reader looks at: statistics, sizes, padding
    assert all_that_training_reads(tmp_path) == want


def test_a_flipped_bit_anywhere_in_the_ledger_or_in_dataset_json_is_found(dataset: Path) -> None:
    draw = np.random.default_rng(1)
    for path in (next((dataset / "ledger").glob("*.parquet")), dataset / "dataset.json"):
        good = path.read_bytes()
        for place in draw.integers(0, len(good), 40):
            bad = bytearray(good)
            bad[place] ^= 1 << int(draw.integers(8))
            path.write_bytes(bad)
            with pytest.raises(UserError, match=r"ledger|dataset\.json"):
                LatentDataset(dataset)
        path.write_bytes(good)
    LatentDataset(dataset)


def test_a_small_file_of_many_rows_is_refused_before_it_unpacks(tmp_path: Path, make_clip) -> None:
    (row,) = make_clip(0).rows
    zeros = {name: np.zeros_like(getattr(row, name)) for name in ("video_mean", "video_logvar")}
    table = latents_table([row])
    columns = [
        pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((40_000, *zeros[f.name].shape), np.float16))
        if f.name in zeros
        else pa.concat_arrays([table.column(f.name).chunk(0)] * 40_000)
        for f in table.schema
    ]
    path = tmp_path / "bomb.parquet"
    write_table(pa.Table.from_arrays(columns, schema=table.schema), path, footer={}, rows_per_group=40_000)
    del columns
    before = pa.total_allocated_bytes()
    pool = pa.default_memory_pool()
    with pytest.raises(UserError, match=r"bomb\.parquet: row group 0 claims 40000 rows"):
        read_rows(path)
    assert pa.total_allocated_bytes() - before < 1 << 20 and pool.bytes_allocated() - before < 1 << 20


def test_a_word_of_a_hundred_megabytes_is_refused(tmp_path: Path) -> None:
    values = dict.fromkeys(LedgerRow.__dataclass_fields__, "")
    numbers = dict.fromkeys(("source_bytes", "source_mtime_ns", "windows", "attempt"), 0)
    row = LedgerRow(**{**values, **numbers, "detail": "a" * (100 << 20)})  # type: ignore[arg-type]
    write_ledger(tmp_path / "bomb.parquet", [row], files={})
    assert (tmp_path / "bomb.parquet").stat().st_size < 1 << 20
    with pytest.raises(UserError, match=r"bomb\.parquet: row group 0 claims 1 rows and \d+ bytes of detail"):
        read_ledger(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("audio_mean", np.inf, "holds NaN or Inf"),
        ("video_logvar", np.nan, "holds NaN or Inf"),
        ("video_mean", -2000.0, "holds 2000, over 1000"),
        ("audio_logvar", 30.0, "holds 3.269e\\+06, over 1000"),
    ],
)
def test_moments_that_no_model_can_use_are_refused_by_name(
    tmp_path: Path, write_dataset, make_clip, column: str, value: float, fault: str
) -> None:
    clip = make_clip(1)
    getattr(clip.rows[0], column).flat[3] = value
    write_dataset(tmp_path, [make_clip(0), clip])
    with pytest.raises(UserError, match=f"clip001 window 0: {column} {fault}"):
        LatentDataset(tmp_path).batch(0, batch_size=2)


def test_duckdb_reads_the_table_without_us(dataset: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason="duckdb comes with the dev extra")
    first = sorted(w.clip_id for w in LatentDataset(dataset).windows)[0]
    table = f"'{dataset}/latents/*.parquet'"
    rows = duckdb.sql(
        f"select clip_id, video_mean, video_shape from {table} where clip_id = '{first}'"
    ).fetchall()
    assert len(rows) == 2 and list(rows[0][2]) == [4, 3, 2, 2]
    stored = next(r for p in (dataset / "latents").glob("*") for r in read_rows(p) if r.clip_id == first)
    assert np.array_equal(np.array(rows[0][1], np.float16).reshape(rows[0][2]), stored.video_mean)
