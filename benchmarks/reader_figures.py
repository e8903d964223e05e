"""The training reader: opening a million windows, bytes read, batches a second (for `bench_data.py`)."""

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa

from benchmarks.goals import Figure
from benchmarks.random_latents import write_random
from syncflow.data.batches import LatentDataset
from syncflow.data.card_header import card_header
from syncflow.data.parquet import DatasetManifest
from syncflow.data.parquet.index_file import ROWS_PER_GROUP, index_path
from syncflow.data.parquet.ledger import ledger_sha256
from syncflow.data.parquet.schema import SCHEMA_VERSION
from syncflow.data.parquet.shards import write_table
from syncflow.hashing import file_sha256
from syncflow.records import ClipSpec, Weights

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
WINDOWS_PER_CLIP, CLIPS_PER_SHARD, SCORES = 5, 16, 8
WORKERS = 4  # that share a step, of which the first is timed


def open_many(folder: Path, *, windows: int) -> list[Figure]:
    """What a fresh process takes to open a made-up dataset of so many windows, and its peak memory."""
    shutil.rmtree(folder, ignore_errors=True)
    write_made_up(folder, windows=windows)
    size = next((folder / "index").glob("*.parquet")).stat().st_size
    command = [sys.executable, str(Path(__file__)), str(folder)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    times = ", ".join(
        f"{name} {found[name]['wall']:.2f} s ({found[name]['processor']:.2f} s of processor time)"
        for name in ("open", "other split", "order of an epoch")
    )
    print(
        f"{windows:,} windows, {size / 1e6:.0f} MB of index: {times}; peak memory {found['peak']:.0f} MiB, "
        f"of which Python and its libraries {found['before']:.0f} MiB"
    )
    return [
        Figure(what=f"opening {windows:,} windows, s", value=found["open"]["wall"], goal=10.0),
        Figure(
            what=f"peak memory with {windows:,} windows open, GB",
            value=found["peak"] * (1 << 20) / 1e9,
            goal=1.2,
        ),
    ]


def write_made_up(folder: Path, *, windows: int) -> None:
    """A finished dataset without any latents: index, manifest, and empty files in the shards' places."""
    draw, number = np.random.default_rng(0), np.arange(windows)
    clips = -(-windows // WINDOWS_PER_CLIP)
    ids = sorted(hashlib.sha256(str(clip).encode()).hexdigest()[:11] for clip in range(clips))
    clip = number // WINDOWS_PER_CLIP
    shard = clip // CLIPS_PER_SHARD
    names = [f"{hashlib.sha256(b'%d' % each).hexdigest()[:24]}.parquet" for each in range(shard[-1] + 1)]
    shards = pa.DictionaryArray.from_arrays(pa.array(shard, pa.int32()), names).cast(pa.string())
    row = pa.array(number % (CLIPS_PER_SHARD * WINDOWS_PER_CLIP), pa.int32())
    split = np.where(draw.random(clips) < 0.08, "test", "train")[clip]
    columns = {
        "dataset": pa.array(["vggsound"] * windows),
        "clip_id": pa.array(np.array(ids, dtype=object)[clip], pa.string()),
        "window": pa.array(number % WINDOWS_PER_CLIP, pa.int32()),
        "start_s": pa.array(draw.integers(0, 128, windows) / 16),
        "split": pa.array(split),
        "caption": pa.array([f"a video of something that makes sound number {each}" for each in number]),
        "caption_key": pa.array([hashlib.sha256(b"%d" % each).hexdigest() for each in number]),
        "caption_source": pa.array(["git"] * windows),
    }
    columns |= {
        f"score_{name:02}": pa.array(draw.random(windows, dtype=np.float32)) for name in range(SCORES)
    }
    columns |= {"shard": shards, "row": row, "text_shard": shards, "text_row": row}
    columns["text_tokens"] = pa.array(draw.integers(10, 40, windows), pa.int32())
    for room in ("latents", "text", "ledger"):
        (folder / room).mkdir(parents=True)
    for name in names:
        (folder / "latents" / name).touch()
        (folder / "text" / name).touch()
    files_sha256 = hashlib.sha256(b"made up").hexdigest()
    path = index_path(folder, files_sha256=files_sha256)
    shapes = {"video_shape": [4, 9, 32, 32], "audio_shape": [100, 128], "text_width": 4096}
    footer = {**shapes, "files_sha256": files_sha256}
    write_table(pa.table(columns), path, footer=footer, rows_per_group=ROWS_PER_GROUP)
    nothing = Weights(sha256="0" * 64, location="")
    DatasetManifest(
        schema_version=SCHEMA_VERSION,
        version="bench",
        recipe="0" * 64,
        spec=ClipSpec(),
        frame_spans=((0, 31),),
        video_vae=nothing,
        audio_vae=nothing,
        text_encoder=nothing,
        inputs=clips,
        accepted=clips,
        rejected={},
        failed={},
        windows=windows,
        captions=windows,
        latents_bytes=0,
        text_bytes=0,
        files_sha256=files_sha256,
        index_sha256=file_sha256(path),
        ledger_sha256=ledger_sha256(folder / "ledger"),
        config={},
    ).write(folder)


def read_batches(folder: Path, *, clips: int, batch: int, repeats: int) -> list[Figure]:
    """Bytes read beside bytes used, and batches a second from disk and memory, at the paper's sizes.

    Medians of `repeats` rounds, each of which it prints.
    """
    if not folder.exists():
        write_random(folder, clips=clips, text_tokens=20)
    files = sorted([*(folder / "latents").glob("*.parquet"), *(folder / "text").glob("*.parquet")])
    begin = time.monotonic()
    data = LatentDataset(folder, cache_gb=8.0)
    data.batch(0, batch_size=batch * WORKERS, world_size=WORKERS)
    first = time.monotonic() - begin
    print(f"first batch: {first:.2f} s from nothing open")
    rounds = []
    for turn in range(repeats):
        _forget(files)
        begin = time.monotonic()
        size = sum(len(path.read_bytes()) for path in files)
        plain = size / (time.monotonic() - begin)
        _forget(files)
        data = LatentDataset(folder, cache_gb=0.6)
        steps = len(data) // (batch * WORKERS)
        before, begin, used = _bytes_read(), time.monotonic(), 0  # samples
        for made in _epoch(data, batch=batch, steps=steps):
            used += len(made.index)
        seconds, read = time.monotonic() - begin, _bytes_read() - before
        used *= size / len(data.index)  # bytes, as stored
        held = LatentDataset(folder, cache_gb=8.0)
        list(_epoch(held, batch=batch, steps=steps))
        again, cpu = time.monotonic(), time.process_time()
        list(_epoch(held, batch=batch, steps=steps))
        again, cpu = time.monotonic() - again, time.process_time() - cpu
        print(
            f"round {turn}, one of {WORKERS} workers, batches of {batch}: {read / used:.2f} bytes read for "
            f"each used; from disk {steps / seconds:.0f} batches/s, {read / seconds / 1e6:.0f} MB/s (a plain "
            f"read of the same files: {plain / 1e6:.0f} MB/s); from memory {steps / again:.0f} batches/s, "
            f"{steps / cpu:.0f} a second of processor time",
            flush=True,
        )
        rounds.append((read / used, read / seconds / plain, steps / again, steps / cpu))
    over, of_plain, from_memory, a_cpu_second = (
        statistics.median(each) for each in zip(*rounds, strict=True)
    )
    what = f"batches of {batch} from memory"
    return [
        Figure(what="first batch after the worker's start, s", value=first, goal=15.0),
        Figure(what="bytes read for each byte used", value=over, goal=1.3),
        Figure(what="bytes a second from disk, of a plain read's", value=of_plain),
        Figure(what=f"{what}, a second", value=from_memory),
        Figure(what=f"{what}, a second of processor time", value=a_cpu_second, goal=200.0, better="more"),
    ]


def open_elsewhere(folder: Path) -> list[Figure]:
    """The share of a dataset's rows that readers which know nothing of this package see."""
    import duckdb
    import pandas
    import polars
    from datasets import load_dataset

    (folder / "README.md").write_text(card_header(folder), encoding="utf-8")  # `datasets` asks it for tables
    tables, rows = folder / "latents", DatasetManifest.read(folder).windows
    files = str(tables / "*.parquet")
    streamed = load_dataset(str(folder), "latents", split="train", streaming=True)
    counts = {
        "pandas": len(pandas.read_parquet(tables, columns=["clip_id"])),
        "polars": polars.scan_parquet(files).select("clip_id").collect().height,
        "duckdb": duckdb.sql(f"select clip_id from '{files}'").fetchnumpy()["clip_id"].size,
        "datasets": sum(1 for _ in streamed.select_columns(["clip_id"])),
    }
    return [
        Figure(what=f"share of the rows that {name} reads", value=count / rows, goal=1.0, better="more")
        for name, count in counts.items()
    ]


def _epoch(data: LatentDataset, *, batch: int, steps: int) -> Iterator:
    return (data.batch(step, batch_size=batch * WORKERS, world_size=WORKERS) for step in range(steps))


def _forget(files: list[Path]) -> None:
    """Have the system drop these files from its page cache."""
    for path in files:
        with path.open("rb") as stream:
            os.fsync(stream.fileno())
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _bytes_read() -> int:
    """Bytes that this process has asked files for."""
    lines = Path("/proc/self/io").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def _open(folder: Path) -> dict[str, object]:
    """In a process of its own: seconds and peak memory of opening a dataset."""

    def peak() -> float:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024

    found: dict[str, object] = {"before": peak()}

    def timed(name: str, work: Callable[[], T]) -> T:
        wall, processor = time.monotonic(), time.process_time()
        made = work()
        found[name] = {"wall": time.monotonic() - wall, "processor": time.process_time() - processor}
        return made

    data = timed("open", lambda: LatentDataset(folder))
    timed("other split", lambda: data.of_split("test"))
    timed("order of an epoch", lambda: data._rows(range(512), 512, 0))
    return {**found, "peak": peak()}


if __name__ == "__main__":
    print(json.dumps(_open(Path(sys.argv[1]))))
