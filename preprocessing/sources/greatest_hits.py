"""Greatest Hits: the official flat folder and split, whole files or segments of them."""

import logging
import re
from collections.abc import Iterator
from pathlib import Path

from preprocessing.sources.config import SourceConfig
from preprocessing.sources.media_files import require_folder
from preprocessing.sources.text_files import read_captions, read_lines
from syncflow.errors import UserError
from syncflow.media import MediaError, probe
from syncflow.records import ClipRef, Split

DATASET = "greatest_hits"
VIDEO_ID = re.compile(r"\d{4}(-\d{2}){5}(-\d+)?")  # YYYY-MM-DD-HH-MM-SS[-n]
MEDIA_SUFFIX = "_denoised.mp4"
VERBS = {"hit": "hits", "scratch": "scratches"}

log = logging.getLogger(__name__)


def read_greatest_hits(config: SourceConfig, *, dataset: str = DATASET) -> Iterator[ClipRef]:
    """The clips of train.txt, then of test.txt, in their order; split by source video.

    A video that cannot be probed for its length is one clip, which fails where it is decoded.
    A file that neither list names (the original has four) is left out, and a warning counts them.

    Raises:
        UserError: no train.txt and test.txt, or (with the line's number) a bad or repeated id.
    """
    root = require_folder(config.root, source=dataset)
    videos = read_official_split(root)
    unlisted = sum(
        path.name.removesuffix(MEDIA_SUFFIX) not in videos for path in root.glob(f"*{MEDIA_SUFFIX}")
    )
    if unlisted:
        log.warning("%s: %d videos are in neither train.txt nor test.txt; left out", root, unlisted)
    captions = read_captions(config.captions) if config.captions else {}
    for video, split in videos.items():
        path = root / f"{video}{MEDIA_SUFFIX}"
        for clip_id, start_s, duration_s in _segments(path, video, config.segment_seconds):
            caption = captions.get(clip_id) or captions.get(video)
            yield ClipRef(
                dataset=dataset,
                clip_id=clip_id,
                path=path,
                split=split,
                start_s=start_s,
                duration_s=duration_s,
                caption=caption or times_sentence(root, video, start_s=start_s, duration_s=duration_s),
            )


def read_official_split(root: Path) -> dict[str, Split]:
    """Video id to split, from train.txt and test.txt."""
    lists: tuple[tuple[Split, Path], ...] = (("train", root / "train.txt"), ("test", root / "test.txt"))
    if not all(path.is_file() for _, path in lists):
        raise UserError(f"greatest_hits root {root}: train.txt and test.txt are wanted there; get them first")
    videos: dict[str, Split] = {}
    for split, path in lists:
        for line, video in read_lines(path):
            if not VIDEO_ID.fullmatch(video):
                raise UserError(f"{path}, line {line}: id {video[:60]!r}; expected YYYY-MM-DD-HH-MM-SS[-n]")
            if video in videos:
                raise UserError(f"{path}, line {line}: {video} is in {videos[video]}.txt already; keep one")
            videos[video] = split
    if not videos:
        raise UserError(
            f"greatest_hits root {root}: train.txt and test.txt are empty; get the official lists"
        )
    return videos


def segment_starts(duration_s: float, *, segment_seconds: float) -> list[float]:
    """Where a video's segments start; the remainder is dropped (10 s make 2,995 of the original)."""
    return [k * segment_seconds for k in range(int(duration_s / segment_seconds + 1e-6))]


def _segments(path: Path, video: str, seconds: float | None) -> Iterator[tuple[str, float, float | None]]:
    """Id, start and length of each segment of a video."""
    if seconds is None:
        yield video, 0.0, None
        return
    try:
        starts = segment_starts(probe(path).duration_s, segment_seconds=seconds)
    except MediaError as error:
        log.warning("%s: %s", path, error)
        yield video, 0.0, None
        return
    for k, start_s in enumerate(starts):
        yield f"{video}_s{k:03d}", start_s, seconds


def times_sentence(root: Path, video: str, *, start_s: float, duration_s: float | None) -> str:
    """A caption of what `_times.txt` tells of a stretch: `A drumstick hits metal and scratches wood.`

    Empty when the file is missing or tells nothing. Its lines: time material action reaction.
    """
    path = root / f"{video}_times.txt"
    if not path.is_file():
        return ""
    end_s = float("inf") if duration_s is None else start_s + duration_s
    told: dict[str, None] = {}
    for line, text in read_lines(path):
        fields = text.split()
        try:
            time_s, material, action = float(fields[0]), fields[1], fields[2]
        except (ValueError, IndexError):
            raise UserError(f"{path}, line {line}: {text[:60]!r}; expected time material action") from None
        if start_s <= time_s < end_s and material != "None":
            told[f"{VERBS.get(action, 'touches')} {material.replace('-', ' ')}"] = None
    return f"A drumstick {' and '.join(told)}." if told else ""
