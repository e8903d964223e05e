"""VGGSound: `ytid,start_s,label,split` without a header, and clip files in the three namings in the wild."""

import re
from collections.abc import Iterator
from pathlib import Path

from preprocessing.sources.captions import Captions
from preprocessing.sources.config import SourceConfig
from preprocessing.sources.media_files import media_files, one_per_clip
from preprocessing.sources.passed_over import PassedOver
from preprocessing.sources.text_files import cell_text, read_csv_rows, read_table
from syncflow.errors import UserError
from syncflow.media.suffixes import has_video_suffix
from syncflow.printable import printable
from syncflow.records import ClipRef, Split
from syncflow.storage import Location

DATASET = "vggsound"
CLIP_SECONDS = 10
YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")
NAMINGS = (  # parsed from the right, for an id may hold `_`; the start in seconds
    (re.compile(r"(.{11})_(\d{6})"), 1.0),  # <id>_000030
    (re.compile(r"(.{11})_(\d+)_(\d+)"), 1e-3),  # <id>_30000_40000, milliseconds
    (re.compile(r"(.{11})_(\d+\.\d+)"), 1.0),  # <id>_40.000
)


def read_vggsound(
    config: SourceConfig, *, root: Location, captions: Captions, passed_over: PassedOver
) -> Iterator[tuple[str, ClipRef]]:
    """One clip a row of the csv; a clip whose file is missing keeps its row, to be counted as failed.

    Raises:
        UserError: (with the line's number) a malformed row, an id that is not YouTube's, a duplicate,
            or a video in both splits.
    """
    if config.index is None:
        raise UserError("vggsound index: none given; set source.index to vggsound.csv")
    files = one_per_clip(media_files(root, passed_over), parse_name, passed_over)
    if not files:
        raise UserError(f"vggsound root {root}: no clip named <id>_<start>.mp4 there; give the clips' folder")
    for line, (video, start, label, split) in read_index(config.index):
        clip_id = clip_name(video, start)
        _, file = files.pop((video, start), ("", root / f"{clip_id}.mp4"))
        yield (
            f"{config.index}, line {line}",
            ClipRef(
                dataset=DATASET,
                clip_id=clip_id,
                path=file,
                split=split,
                label=label_sentence(label),
                caption=captions.clip(clip_id),
                window_captions=captions.windows(clip_id),
            ),
        )
    for name, _ in files.values():
        passed_over.add("not in the index", name)


def clip_name(video: str, start: int) -> str:
    """The id of a clip: `<ytid>_<start, six digits>`."""
    return f"{video}_{start:06d}"


def read_index(path: Path) -> Iterator[tuple[int, tuple[str, int, str, Split]]]:
    """Line, and video id, start in seconds, label and split, of each row of the official csv."""
    seen: dict[tuple[str, int], int] = {}
    splits: dict[str, tuple[str, int]] = {}
    for line, row in read_csv_rows(path):
        where = f"{path}, line {line}"
        if len(row) != 4:
            raise UserError(f"{where}: {len(row)} fields; expected ytid,start_s,label,split (quote commas)")
        video, start, label, split = (" ".join(field.split()) for field in row)
        if not YOUTUBE_ID.fullmatch(video):
            raise UserError(f"{where}: id {video[:40]!r}; expected the 11 characters of a YouTube id")
        if not re.fullmatch(r"\d{1,6}", start):
            raise UserError(f"{where}: start {start[:40]!r}; expected whole seconds")
        if split not in ("train", "test"):
            raise UserError(f"{where}: split {split[:40]!r}; expected train or test")
        key = (video, int(start))
        if key in seen:
            raise UserError(f"{where}: clip {video} at {start} s was on line {seen[key]} already; keep one")
        seen[key] = line
        other, other_line = splits.setdefault(video, (split, line))
        if other != split:
            raise UserError(f"{where}: video {video} is in {split}, but in {other} on line {other_line}")
        yield line, (video, int(start), label, split)


def parse_name(name: str) -> tuple[str, int] | None:
    """Video id and start in seconds of a clip's file name; None where it has none of the three namings."""
    if not has_video_suffix(name):
        return None
    stem = name.rpartition(".")[0]
    for naming, unit in NAMINGS:
        match = naming.fullmatch(stem)
        if match and YOUTUBE_ID.fullmatch(match[1]):
            if match.re.groups == 3 and int(match[3]) - int(match[2]) < 1000:
                unit = 1.0  # <id>_30_40, seconds: no clip is under a second
            return match[1], round(float(match[2]) * unit)
    return None


def label_sentence(label: str) -> str:
    """A class label as a caption: `people clapping` is `The sound of people clapping.`"""
    return f"The sound of {label.strip()}." if label.strip() else ""


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
