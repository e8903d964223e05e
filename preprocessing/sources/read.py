"""One stream of clips for every kind of source, with the checks that all of them share."""

import os
from collections.abc import Callable, Iterator

from preprocessing.sources.config import SourceConfig, SourceKind
from preprocessing.sources.folder import read_folder
from preprocessing.sources.greatest_hits import read_greatest_hits
from preprocessing.sources.manifest import read_manifest
from preprocessing.sources.synthetic import read_synthetic
from preprocessing.sources.vggsound import read_vggsound
from syncflow.errors import UserError
from syncflow.records import ClipRef

READERS: dict[SourceKind, Callable[[SourceConfig], Iterator[ClipRef]]] = {
    "vggsound": read_vggsound,
    "greatest_hits": read_greatest_hits,
    "synthetic": read_synthetic,
    "folder": read_folder,
    "manifest": read_manifest,
}
LONGEST_ID = 255  # characters


def read_source(config: SourceConfig) -> Iterator[ClipRef]:
    """The clips of a source, each id once, each path absolute and inside the root.

    A file need not exist or be sound: that is found, and counted, where it is decoded.

    Raises:
        UserError: a missing or empty folder, a duplicate id, a test clip's file among the training
            clips, an id or a path that is out of bounds, or what the kind's own reader refuses.
    """
    number = taken = 0
    splits: dict[str, str] = {}  # of each file
    ids: set[str] = set()
    for number, ref in enumerate(READERS[config.kind](config), start=1):
        _check(ref, config)
        where = f"{config.kind} source, clip {number}"
        if ref.clip_id in ids:
            raise UserError(f"{where}: id {ref.clip_id!r} comes twice; keep one")
        ids.add(ref.clip_id)
        if splits.setdefault(str(ref.path), ref.split) != ref.split:
            raise UserError(f"{where}: {ref.path} is in the training and the test set; keep it in one")
        if config.split in ("all", ref.split) and (not config.limit or taken < config.limit):
            taken += 1
            yield ref
    if number == 0:
        raise UserError(f"{config.kind} root {config.root}: no clips there; give a folder that holds some")
    if taken == 0:
        raise UserError(
            f"{config.kind} root {config.root}: none of {number} clips is of split {config.split}"
        )


def _check(ref: ClipRef, config: SourceConfig) -> None:
    shown = f"{config.kind} source: id {ref.clip_id[:60]!r}"
    if not 0 < len(ref.clip_id) <= LONGEST_ID:
        raise UserError(f"{shown}: {len(ref.clip_id)} characters; expected 1 to {LONGEST_ID}")
    if not ref.clip_id.isprintable():
        raise UserError(f"{shown}: holds characters that cannot be printed; rename it")
    root = os.path.abspath(config.root)  # noqa: PTH100 - `..` must go, and links must stay
    if os.path.commonpath((root, os.path.abspath(ref.path))) != root:  # noqa: PTH100
        raise UserError(f"{shown}: {ref.path} lies outside {root}; set root to a folder that holds it")
