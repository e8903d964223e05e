"""Read a whole dataset and say everything that is wrong with it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

from syncflow.data.parquet import DatasetManifest, LedgerRow, read_ledger, read_rows, read_texts
from syncflow.data.parquet.index_file import UPGRADE, build_index, read_index
from syncflow.data.parquet.ledger import committed_files, ledger_sha256
from syncflow.data.parquet.schema import content_sha256
from syncflow.errors import UserError
from syncflow.hashing import file_sha256, settings_sha256


def find_faults(folder: Path) -> Iterator[str]:
    """One line a fault: hashes, checksums, columns, counts and contents of all that the ledger stands for.

    Raises:
        UserError: no finished dataset, or an unreadable ledger: there is nothing to compare with.
    """
    manifest = DatasetManifest.read(folder)
    files = committed_files(folder / "ledger")
    ledger = read_ledger(folder / "ledger")
    if ledger_sha256(folder / "ledger") != manifest.ledger_sha256:
        yield "dataset.json: the ledger has changed since; run precompute_latents.py again"
    keys: set[str] = set()
    wanted: set[str] = set()
    for name, sha256 in sorted(files.items()):
        path = folder / name
        if not path.is_file():
            yield f"{name}: missing"
            continue
        if file_sha256(path) != sha256:
            yield f"{name}: its bytes are not those that were committed"
        try:
            if name.startswith("text/"):
                keys |= {text.key for text in read_texts(path)}
            else:
                yield from _faults_of_shard(path, ledger, manifest, wanted)
        except UserError as error:
            yield str(error)
    yield from (f"caption {key[:12]}: no embedding" for key in sorted(wanted - keys))
    yield from _faults_of_index(folder, manifest, ledger, files)


def _counts(row: LedgerRow, *, recipe: str) -> bool:
    """Whether a clip's latents belong to the dataset as it is now."""
    return row.kind == "accepted" and row.recipe == recipe


def _faults_of_index(
    folder: Path,
    manifest: DatasetManifest,
    ledger: Mapping[tuple[str, str], LedgerRow],
    files: Mapping[str, str],
) -> Iterator[str]:
    """Whether the index says what the shards say."""
    clips: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key, row in ledger.items():
        if _counts(row, recipe=manifest.recipe):
            clips[row.shard].append(key)
    try:
        found = read_index(
            folder,
            files_sha256=manifest.files_sha256,
            sha256=manifest.index_sha256,
            windows=manifest.windows,
        )
        texts = [Path(name).name for name in files if name.startswith("text/")]
        expected, _ = build_index(folder, clips=clips, texts=texts)
    except UserError as error:
        yield str(error)
        return
    plain = found.table.cast(expected.schema)
    if not plain.equals(expected):
        yield f"index: not what the shards say; write it again with: {UPGRADE} {folder}"


def _faults_of_shard(
    path: Path, ledger: dict[tuple[str, str], LedgerRow], manifest: DatasetManifest, wanted: set[str]
) -> Iterator[str]:
    contents: dict[tuple[str, str], list[str]] = {}
    for row in read_rows(path):
        contents.setdefault((row.dataset, row.clip_id), []).append(content_sha256(row))
        wanted.add(row.caption_key)
    expected = {k for k, r in ledger.items() if r.shard == path.name and _counts(r, recipe=manifest.recipe)}
    for key in sorted(expected):
        if settings_sha256(contents.get(key, [])) != ledger[key].content_sha256:
            yield f"{path.name}: {'/'.join(key)}: its rows are not those that were committed"
