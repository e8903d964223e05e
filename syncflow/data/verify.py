"""Read a whole dataset and say everything that is wrong with it, with the remedy of each fault."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from syncflow.data.parquet import MANIFEST, DatasetManifest, LedgerRow, read_rows, read_texts
from syncflow.data.parquet.index_file import UPGRADE, build_index, index_path, read_index
from syncflow.data.parquet.ledger import ClipKey, Ledger, clips_by_shard, ledger_files, ledger_sha256
from syncflow.data.parquet.schema import content_sha256, fingerprint
from syncflow.errors import UserError
from syncflow.hashing import caption_key, file_sha256, settings_sha256
from syncflow.records import LatentRow

AGAIN = "run precompute_latents.py again"
REPAIR = f"{AGAIN} with --repair"


def find_faults(folder: Path) -> Iterator[str]:
    """One line a fault: of manifest, ledger, shards, their rows, the index, and files that nothing names.

    A fault of one file hides none of another; the dataset is only read.

    Raises:
        UserError: there is nothing to verify: neither a manifest nor a ledger.
    """
    yield from _Check(folder).faults()


@dataclass
class _Check:
    folder: Path
    captions: dict[str, str] = field(default_factory=dict)  # that rows have, by key
    embedded: set[str] = field(default_factory=set)  # keys that text shards hold

    def faults(self) -> Iterator[str]:
        manifest: DatasetManifest | None = None
        try:
            manifest = DatasetManifest.read(self.folder)
        except UserError as error:
            if not ledger_files(self.folder / "ledger"):
                raise
            yield str(error)
        names = None if manifest is None else manifest.ledger_files
        ledger = Ledger.read(self.folder / "ledger", names=names, damaged_too=True)
        yield from ledger.damaged.values()
        yield from self._faults_of_ledger(manifest, ledger)
        recipe = manifest.recipe if manifest else next((row.recipe for row in ledger.tried), "")
        rows = {key: row for key, row in ledger.rows().items() if row.recipe == recipe}
        clips = clips_by_shard(rows.values())
        held = {f"latents/{shard}" for shard in clips}
        expected = {**dict.fromkeys(held, ""), **ledger.committed}
        for name, sha256 in sorted(expected.items()):
            yield from self._faults_of_file(name, sha256, rows, clips, recipe)
        yield from (
            f"caption {key[:12]} ({caption[:40]!r}): no embedding; {AGAIN}"
            for key, caption in sorted(self.captions.items())
            if key not in self.embedded
        )
        if manifest and all((self.folder / name).is_file() for name in expected):
            yield from self._faults_of_index(manifest, clips, ledger)
        yield from self._foreign(expected, ledger, manifest)

    def _faults_of_ledger(self, manifest: DatasetManifest | None, ledger: Ledger) -> Iterator[str]:
        if manifest is None:
            return
        room, names = self.folder / "ledger", manifest.ledger_files
        yield from (f"ledger/{n}: missing; {AGAIN}" for n in names or () if not (room / n).is_file())
        if ledger_sha256(room, names) != manifest.ledger_sha256:
            yield f"{MANIFEST}: the ledger has changed since; {AGAIN}"
        if not ledger.damaged and settings_sha256(ledger.committed) != manifest.files_sha256:
            yield f"{MANIFEST}: its shards are not those of the ledger; {AGAIN}"

    def _faults_of_file(
        self,
        name: str,
        sha256: str,
        rows: Mapping[ClipKey, LedgerRow],
        clips: Mapping[str, list[ClipKey]],
        recipe: str,
    ) -> Iterator[str]:
        path = self.folder / name
        try:
            found = file_sha256(path) if path.is_file() else None
        except OSError as error:
            yield f"{name}: cannot be read ({error.strerror}); mend the disk, or delete it and {AGAIN}"
            return
        if found is None:
            yield f"{name}: missing; {AGAIN}"
            return
        if sha256 and found != sha256:
            yield f"{name}: its bytes are not those that were committed; {REPAIR}"
        try:
            if name.startswith("text/"):
                self.embedded |= {text.key for text in read_texts(path)}
            else:
                yield from self._faults_of_rows(path, rows, clips.get(path.name, []), recipe)
        except UserError as error:
            yield str(error)

    def _faults_of_rows(
        self, path: Path, rows: Mapping[ClipKey, LedgerRow], clips: list[ClipKey], recipe: str
    ) -> Iterator[str]:
        contents: dict[ClipKey, list[str]] = {key: [] for key in clips}
        mixed: dict[ClipKey, str] = {}
        for row in read_rows(path):
            key = row.dataset, row.clip_id
            if key not in contents:
                mixed.setdefault(key, "rows that the ledger does not stand for")
                continue
            contents[key].append(content_sha256(row))
            self.captions.setdefault(row.caption_key, row.caption)
            if told := _mixture(row, rows[key], recipe):
                mixed.setdefault(key, told)
        for key, found in sorted(contents.items()):
            if settings_sha256(found) != rows[key].content_sha256:
                mixed.setdefault(key, "its rows are not those that were committed")
        yield from (f"{path.name}: {'/'.join(key)}: {told}; {REPAIR}" for key, told in sorted(mixed.items()))

    def _faults_of_index(
        self, manifest: DatasetManifest, clips: Mapping[str, list[ClipKey]], ledger: Ledger
    ) -> Iterator[str]:
        """Whether the index says what the shards say."""
        try:
            found = read_index(
                self.folder,
                files_sha256=manifest.files_sha256,
                sha256=manifest.index_sha256,
                windows=manifest.windows,
            )
            texts = [Path(name).name for name in ledger.committed if name.startswith("text/")]
            expected, _ = build_index(self.folder, clips=clips, texts=texts)
        except UserError as error:
            yield str(error)
            return
        plain = found.table.cast(expected.schema)
        if not plain.equals(expected):
            yield f"index: not what the shards say; write it again with: {UPGRADE} {self.folder}"

    def _foreign(
        self, expected: Mapping[str, str], ledger: Ledger, manifest: DatasetManifest | None
    ) -> Iterator[str]:
        """Files that other readers would take for part of the dataset."""
        known = {*expected, *(f"ledger/{path.name}" for path in (*ledger.files, *ledger.damaged))}
        if manifest:
            index = index_path(self.folder, files_sha256=manifest.files_sha256)
            known.add(index.relative_to(self.folder).as_posix())
            known |= {f"ledger/{name}" for name in manifest.ledger_files or ()}
        for room in ("latents", "text", "ledger", "index"):
            for path in sorted((self.folder / room).glob("[!.]*")):
                if f"{room}/{path.name}" not in known:
                    yield f"{room}/{path.name}: no part of the dataset; {AGAIN}, which removes it"


def _mixture(row: LatentRow, stands: LedgerRow, recipe: str) -> str:
    """What a row holds that does not belong together; empty when all of it does."""
    if row.caption_key != caption_key(row.caption):
        return "the key of a caption is another caption's"
    if not stands.span_key:
        return ""  # of a version that wrote less into the ledger, and another fingerprint
    if row.source_sha256 != stands.source_sha256 or row.split != stands.split:
        return f"another source or split than the ledger's ({row.split}, ledger {stands.split})"
    if row.fingerprint != fingerprint(row, recipe=recipe):
        return "a fingerprint that its values do not give"
    return ""
