"""One stream of clips for every kind of source, with the checks that all of them share."""

import dataclasses
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

from preprocessing.sources.captions import Captions, read_captions
from preprocessing.sources.config import SourceConfig, SourceKind
from preprocessing.sources.folder import read_folder
from preprocessing.sources.greatest_hits import read_greatest_hits
from preprocessing.sources.manifest import read_manifest
from preprocessing.sources.media_files import require_folder
from preprocessing.sources.passed_over import PassedOver
from preprocessing.sources.vggsound import read_known_bad, read_vggsound
from syncflow.errors import UserError
from syncflow.printable import printable
from syncflow.records import ClipRef
from syncflow.storage import Location, RemoteFile


class Reader(Protocol):
    """A kind of source: its clips, each with the place to name when it is refused (a table and its line, or
    a file).
    """

    def __call__(
        self, config: SourceConfig, *, root: Location, captions: Captions, passed_over: PassedOver
    ) -> Iterator[tuple[str, ClipRef]]: ...


READERS: dict[SourceKind, Reader] = {
    "vggsound": read_vggsound,
    "greatest_hits": read_greatest_hits,
    "synthetic": partial(read_greatest_hits, dataset="synthetic"),
    "folder": read_folder,
    "manifest": read_manifest,
}
LONGEST_ID = 4096  # characters


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a source names."""

    clips: list[ClipRef]  # all of them
    chosen: list[ClipRef]  # those of the split, and of the first so many, that are asked for
    notes: list[str]  # what was passed over, and what of the tables names no clip, a line each
    by_table: bool = False  # whether tables say which clips there are, and not the files alone
    by_table_alone: bool = False  # whether the files have no say in it


def read_source(config: SourceConfig) -> Iterator[ClipRef]:
    """The chosen clips of `list_source`."""
    yield from list_source(config).chosen


def list_source(config: SourceConfig) -> Listing:
    """The clips of a source, each id once, each file inside the root.

    A file need not exist or be sound: that is found, and counted, where it is decoded. So is a clip that
    a list of known bad ones names.

    Raises:
        UserError: (with the line's number, where a table is read) a missing or empty folder, a duplicate
            id, a test clip's file among the training clips, an id or a path that is out of bounds, a
            captions table that names no clip, or what the kind's own reader refuses.
    """
    clips: list[ClipRef] = []
    files: dict[str, tuple[str, str]] = {}  # the split of each file, and where it was said
    ids: dict[str, str] = {}  # where each was said
    known_bad = read_known_bad(config.known_bad)
    root = require_folder(config.root, source=config.kind)
    captions, passed_over = read_captions(_captions_file(config, root)), PassedOver()
    found = READERS[config.kind](config, root=root, captions=captions, passed_over=passed_over)
    root = root if isinstance(root, RemoteFile) else Path(os.path.abspath(root))  # noqa: PTH100
    for where, ref in map(_with_printable_id, found):
        _check_inside(ref.path, root, where)
        _check_id(ref.clip_id, where)
        if ref.clip_id in ids:
            raise UserError(f"{where}: id {ref.clip_id!r} comes twice, first at {ids[ref.clip_id]}; keep one")
        ids[ref.clip_id] = where
        split, other = files.setdefault(str(ref.path), (ref.split, where))
        if split != ref.split:
            raise UserError(
                f"{where}: {ref.path} is in the training and the test set (see {other}); keep it in one"
            )
        bad = known_bad.get(ref.clip_id, "")
        clips.append(dataclasses.replace(ref, known_bad=bad) if bad else ref)
    if not clips:
        told = "".join(f"; {note}" for note in passed_over.notes())
        raise UserError(
            f"{config.kind} root {config.root}: no clips there; give a folder that holds some{told}"
        )
    notes = [*passed_over.notes(), *captions.notes()]
    if known_bad and (elsewhere := len(known_bad.keys() - ids.keys())):
        notes.append(
            f"{config.known_bad}: {elsewhere} of {len(known_bad)} known bad clips are not among these"
        )
    chosen = [ref for ref in clips if config.split in ("all", ref.split)]
    if not chosen:
        raise UserError(
            f"{config.kind} root {config.root}: none of {len(clips)} clips is of split {config.split}"
        )
    return Listing(
        clips=clips,
        chosen=chosen[: config.limit or None],
        notes=notes,
        by_table=config.kind != "folder",
        by_table_alone=config.kind in ("vggsound", "manifest"),
    )


def _captions_file(config: SourceConfig, root: Location) -> Path | None:
    """The table that is given; without one, the one that synthetic clips come with."""
    own = root / "captions.csv" if config.kind == "synthetic" else None
    return config.captions or (own if isinstance(own, Path) else None)


def _with_printable_id(found: tuple[str, ClipRef]) -> tuple[str, ClipRef]:
    where, ref = found
    return where, dataclasses.replace(ref, clip_id=printable(ref.clip_id))


def _check_id(clip_id: str, where: str) -> None:
    shown = f"{where}: id {clip_id[:60]!r}"
    if not 0 < len(clip_id) <= LONGEST_ID:
        raise UserError(f"{shown}: {len(clip_id)} characters; expected 1 to {LONGEST_ID}")
    if ".." in clip_id.split("/"):
        raise UserError(f"{shown}: holds a step upwards (..); rename it")


def _check_inside(file: Location, root: Location, where: str) -> None:
    """`..` must go, and links must stay: the text of the path is what is looked at."""
    if isinstance(file, Path):
        text = str(file)
        text = os.path.abspath(text) if "/.." in text else text  # noqa: PTH100
        inside = text.startswith(f"{root}/".replace("//", "/"))
    else:
        inside = file.url.startswith(f"{root}/") and ".." not in file.url.split("/")
    if not inside:
        raise UserError(f"{where}: {str(file)[:300]} lies outside {root}; set root to a folder that holds it")
