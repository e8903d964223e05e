"""Lists of clips that others found bad: csv of clip and reason, as the ones of VGGSound in the wild."""

import re
from pathlib import Path

from preprocessing.sources.text_files import cell_text, read_table
from preprocessing.sources.vggsound import clip_name, parse_name
from syncflow.errors import UserError
from syncflow.printable import printable


def read_known_bad(path: Path | None) -> dict[str, str]:
    """Clip id to reason; the first of a clip counts. VGGSound's clips may have any of the three namings.

    Raises:
        UserError: (with the line's number) a line without clip and reason.
    """
    found: dict[str, str] = {}
    for number, row in read_table(path, columns=("clip", "reason")) if path else ():
        clip, reason = (
            cell_text(row.get(name), f"{path}, line {number}", name) for name in ("clip", "reason")
        )
        if not clip or not reason:
            raise UserError(f"{path}, line {number}: expected clip and reason; got {sorted(row)}")
        key = parse_name(f"{clip}.mp4")
        name = re.sub(r"[^a-z0-9]+", "_", reason.lower()).strip("_")
        found.setdefault(clip_name(*key) if key else printable(clip), name)
    return found
