"""What happened to a group of clips -> three shards, the ledger's last."""

import hashlib
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncflow.data.parquet.ledger import (
    ClipKey,
    Ledger,
    LedgerRow,
    all_texts,
    read_ledger_file,
    span_key,
    text_key,
    write_ledger,
)
from syncflow.data.parquet.lock import check_lock
from syncflow.data.parquet.schema import TEXT_SCHEMA, content_sha256
from syncflow.data.parquet.shards import read_table, shard_name, write_shard, write_texts
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.records import ClipRef, Dropped, EncodedClip, TextEmbedding
from syncflow.storage import Location

Outcome = EncodedClip | Dropped


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file as it is on the disk now."""

    sha256: str = ""
    bytes: int = 0
    mtime_ns: int = 0

    @classmethod
    def of(cls, path: Location, *, sha256: str = "") -> "Source":
        """Size, time and hash (unless given) of a regular file; empty for anything else.

        A remote file is not fetched for its hash alone.
        """
        try:
            if not path.is_file():
                return cls()
            status = path.stat()
            digest = sha256 or (file_sha256(path) if isinstance(path, Path) else "")
        except (OSError, ValueError):  # no permission, or a NUL in the name: the step says what is wrong
            return cls()
        return cls(sha256=digest, bytes=status.st_size, mtime_ns=status.st_mtime_ns)


class DatasetWriter:
    """Commits groups of clips to one dataset; each process that encodes has its own.

    Args:
        folder: the dataset.
        recipe: hash of all that makes the rows but the sources.
        owner: id of the job that holds the dataset's lock; "" writes without one.
        footer: what every shard's footer is to hold (the resolved settings).
        texts_of: what a clip's captions are taken from; when that changes, they are written anew.
    """

    def __init__(
        self,
        folder: Path,
        *,
        recipe: str,
        owner: str,
        footer: dict[str, Any],
        texts_of: Callable[[ClipRef], list[Any]] = all_texts,
    ) -> None:
        self.folder, self.recipe, self.owner, self.texts_of = folder, recipe, owner, texts_of
        self.footer = {"recipe": recipe, "settings": footer}
        self.known_texts = _text_keys(folder)

    def commit(self, outcomes: Sequence[Outcome], *, attempt: int = 0) -> list[LedgerRow]:
        """Write the rows, the captions that this process has not seen, and the ledger.

        A kill before the last rename leaves files that no ledger row names: they count for nothing. One
        after it, before the caller knows, lets the same clips come again: they are committed once, for a
        second ledger file would name only what is new to this process.

        Raises:
            UserError: a file cannot be written, or another job has taken the dataset over.
        """
        name = shard_name((o.ref.dataset, o.ref.clip_id) for o in outcomes)
        name = name.replace(".parquet", f"-{attempt}.parquet") if attempt else name
        committed = self._committed(name)
        if all((outcome.ref.dataset, outcome.ref.clip_id) in committed for outcome in outcomes):
            return [committed[outcome.ref.dataset, outcome.ref.clip_id] for outcome in outcomes]
        # a split's clips side by side, so that hardly a row group holds windows of two
        clips = sorted(
            (o for o in outcomes if isinstance(o, EncodedClip)),
            key=lambda c: (c.ref.split, c.ref.dataset, c.ref.clip_id),
        )
        # in the order of the windows: those of a row group have their captions side by side too
        texts = {text.key: text for clip in clips for text in clip.texts if text.key not in self.known_texts}
        files = self._write_texts(name, list(texts.values()))
        if clips:
            path = self.folder / "latents" / name
            write_shard(path, [row for clip in clips for row in clip.rows], footer=self.footer)
            files[f"latents/{name}"] = file_sha256(path)
        rows = [self._ledger_row(outcome, shard=name, attempt=attempt) for outcome in outcomes]
        check_lock(self.folder, owner=self.owner)
        write_ledger(self.folder / "ledger" / name, sorted(rows, key=lambda row: row.key), files=files)
        self.known_texts |= texts.keys()
        return rows

    def note(self, rows: Sequence[LedgerRow]) -> None:
        """Commit rows whose latents are there already, or that have none.

        Raises:
            UserError: the file cannot be written, or another job has taken the dataset over.
        """
        if rows:
            stem = shard_name((row.dataset, f"{row.clip_id}|{row.attempt}") for row in rows)
            check_lock(self.folder, owner=self.owner)
            path = self.folder / "ledger" / f"{stem.removesuffix('.parquet')}-note.parquet"
            write_ledger(path, sorted(rows, key=lambda row: row.key), files={})

    def _committed(self, name: str) -> dict[ClipKey, LedgerRow]:
        """The rows of a commit of these clips that was made before, under the same recipe, and is whole."""
        path = self.folder / "ledger" / name
        if path.is_file():
            rows = read_ledger_file(path)
        elif (self.folder / "latents" / name).is_file():  # its ledger file may have been merged meanwhile
            rows = [row for row in Ledger.read(path.parent).tried if row.shard == name]
        else:
            rows = []
        if not all((self.folder / "latents" / row.shard).is_file() for row in rows if row.shard):
            return {}
        return {row.key: row for row in rows if row.recipe == self.recipe}

    def _write_texts(self, name: str, texts: list[TextEmbedding]) -> dict[str, str]:
        if not texts:
            return {}
        path = self.folder / "text" / name
        write_texts(path, texts, footer=self.footer)
        return {f"text/{name}": file_sha256(path)}

    def _ledger_row(self, outcome: Outcome, *, shard: str, attempt: int) -> LedgerRow:
        ref = outcome.ref
        if isinstance(outcome, Dropped):
            hashed, state = outcome.source_sha256, None
            became: dict[str, Any] = {
                "kind": outcome.kind,
                "reason": outcome.reason,
                "detail": outcome.detail,
                "shard": "",
                "windows": 0,
                "content_sha256": "",
            }
        else:
            hashed, state = outcome.rows[0].source_sha256, outcome.source_state
            became = {
                "kind": "accepted",
                "reason": "",
                "detail": "",
                "shard": shard,
                "windows": len(outcome.rows),
                "content_sha256": clip_sha256(outcome),
            }
        source = (
            Source.of(ref.path, sha256=hashed)
            if state is None
            else Source(sha256=hashed, bytes=state[0], mtime_ns=state[1])
        )
        return LedgerRow(
            dataset=ref.dataset,
            clip_id=ref.clip_id,
            path=str(ref.path),
            source_sha256=hashed or source.sha256,
            source_bytes=source.bytes,
            source_mtime_ns=source.mtime_ns,
            recipe=self.recipe,
            attempt=attempt,
            **became,
            reproduce=reproduce_command(self.folder, ref),
            split=ref.split,
            span_key=span_key(ref),
            text_key=text_key(ref, self.texts_of),
        )


def clip_sha256(clip: EncodedClip) -> str:
    """Hash of all rows of a clip, in order."""
    return settings_sha256([content_sha256(row) for row in clip.rows])


def reproduce_command(folder: Path, ref: ClipRef) -> str:
    """The command that runs one clip alone, with the dataset's settings."""
    apart = Path("/tmp") / f"clip-{hashlib.sha256(f'{ref.dataset}|{ref.clip_id}'.encode()).hexdigest()[:8]}"
    settings = folder.absolute() / "resolved.yaml"
    arguments = [
        "--config",
        str(settings),
        f"--only={ref.clip_id}",
        "--executor=loop",
        "--output",
        str(apart),
    ]
    return shlex.join(["python", "pipelines/precompute_latents.py", *arguments])


def _text_keys(folder: Path) -> set[str]:
    """Captions whose embeddings are there already."""
    keys: set[str] = set()
    for name in Ledger.read(folder / "ledger").committed:
        if name.startswith("text/") and (folder / name).is_file():
            table = read_table(folder / name, expected=TEXT_SCHEMA, columns=["key"])
            keys |= set(table.column("key").to_pylist())
    return keys
