"""Greatest Hits: the official flat folder and split, whole files or segments of them."""

import logging
import re
from collections.abc import Iterator

from preprocessing.sources.captions import Captions
from preprocessing.sources.config import SourceConfig
from preprocessing.sources.media_files import media_files, one_per_clip
from preprocessing.sources.passed_over import PassedOver
from preprocessing.sources.text_files import read_lines, read_table
from preprocessing.sources.video_lengths import video_lengths
from syncflow.errors import UserError
from syncflow.records import ClipRef, Split
from syncflow.storage import Location

VERBS = {"hit": "hits", "scratch": "scratches"}

DATASET = "greatest_hits"
VIDEO_ID = re.compile(r"\d{4}(-\d{2}){5}(-\d+)?")  # YYYY-MM-DD-HH-MM-SS[-n]
INDEX_COLUMNS = ("video_id", "duration_s", "duration_s_at_15fps", "official_split")
MEDIA_SUFFIX = "_denoised.mp4"

log = logging.getLogger(__name__)


def read_greatest_hits(
    config: SourceConfig,
    *,
    root: Location,
    captions: Captions,
    passed_over: PassedOver,
    dataset: str = DATASET,
) -> Iterator[tuple[str, ClipRef]]:
    """The clips of train.txt, then of test.txt, then the unlisted ones; split by source video.

    A video whose length cannot be read is one clip, which fails where it is decoded.

    Raises:
        UserError: no lists and no index, or (with the line's number) a bad or repeated id, or a length
            that is no number.
    """
    indexed = _read_index(config)
    videos = read_official_split(root, indexed)
    present = one_per_clip(media_files(root, passed_over), _video_of, passed_over)
    unlisted = sorted({*present, *indexed} - {*videos})
    if unlisted:
        log.warning("%s: %d videos are in neither list: %s", root, len(unlisted), config.unlisted)
    if config.unlisted != "leave_out":
        videos |= dict.fromkeys(unlisted, (config.unlisted, "unlisted videos"))
    for video in sorted({*unlisted} - {*videos}):
        passed_over.add("in neither list", video)
    files = {v: present[v][1] if v in present else root / f"{v}{MEDIA_SUFFIX}" for v in videos}
    lengths: dict[str, float] = {}
    if config.segment_seconds:
        lengths = {video: seconds for video, (seconds, _, _) in indexed.items()}
        lengths |= video_lengths({v: file for v, file in files.items() if v not in indexed})
    for video, (split, where) in videos.items():
        segments = list(_segments(video, lengths.get(video), config.segment_seconds))
        if not segments:
            passed_over.add("shorter than a segment", video)
        for clip_id, start_s, duration_s in segments:
            yield (
                where,
                ClipRef(
                    dataset=dataset,
                    clip_id=clip_id,
                    path=files[video],
                    split=split,
                    start_s=start_s,
                    duration_s=duration_s,
                    label=times_sentence(root, video, start_s=start_s, duration_s=duration_s),
                    caption=captions.clip(clip_id, video),
                    window_captions=captions.windows(clip_id),
                ),
            )


def _video_of(name: str) -> str | None:
    """The video whose file has this name; `_mic.mp4`, the audio before denoising, is none of its own."""
    video = name.removesuffix(MEDIA_SUFFIX)
    return video if name.endswith(MEDIA_SUFFIX) and VIDEO_ID.fullmatch(video) else None


Indexed = dict[str, tuple[float, str, str]]  # video id to length in seconds, split, where it is said
Listed = dict[str, tuple[Split, str]]  # video id to split, where it is said


def read_official_split(root: Location, indexed: Indexed) -> Listed:
    """Video id to split, from train.txt and test.txt, or from the index where they are not there."""
    lists: tuple[tuple[Split, Location], ...] = (("train", root / "train.txt"), ("test", root / "test.txt"))
    videos: Listed = {}
    if not all(path.is_file() for _, path in lists):
        for split in ("train", "test"):
            videos |= {v: (split, where) for v, (_, said, where) in indexed.items() if said == split}
        if not videos:
            raise UserError(
                f"greatest_hits root {root}: train.txt and test.txt are wanted there; get them first"
            )
        return videos
    for split, path in lists:
        for line, video in read_lines(path):
            where = f"{path}, line {line}"
            _check_video(video, where)
            if video in videos:
                raise UserError(f"{where}: {video} is in {videos[video][0]}.txt already; keep one")
            videos[video] = (split, where)
    if not videos:
        raise UserError(
            f"greatest_hits root {root}: train.txt and test.txt are empty; get the official lists"
        )
    return videos


def _read_index(config: SourceConfig) -> Indexed:
    """Columns video_id, duration_s (or duration_s_at_15fps) and, if need be, official_split."""
    indexed: Indexed = {}
    for line, row in read_table(config.index, columns=INDEX_COLUMNS) if config.index else ():
        where, video = f"{config.index}, line {line}", str(row.get("video_id", "")).strip()
        _check_video(video, where)
        if video in indexed:
            raise UserError(f"{where}: {video} comes twice; keep one")
        text = str(row.get("duration_s", row.get("duration_s_at_15fps", ""))).strip()
        if not re.fullmatch(r"\d{1,6}(\.\d+)?", text):
            raise UserError(f"{where}: duration_s {text[:40]!r}; expected seconds")
        indexed[video] = (float(text), str(row.get("official_split", "")).strip(), where)
    return indexed


def _check_video(video: str, where: str) -> None:
    if not VIDEO_ID.fullmatch(video):
        raise UserError(f"{where}: id {video[:60]!r}; expected YYYY-MM-DD-HH-MM-SS[-n]")


def segment_starts(duration_s: float, *, segment_seconds: float) -> list[float]:
    """Where a video's segments start; the remainder is dropped (10 s make 2,995 of the original)."""
    return [k * segment_seconds for k in range(int(duration_s / segment_seconds + 1e-6))]


def _segments(
    video: str, length_s: float | None, segment_seconds: float | None
) -> Iterator[tuple[str, float, float | None]]:
    """Id, start and length of each segment of a video."""
    if segment_seconds is None or length_s is None:
        yield video, 0.0, None
        return
    for k, start_s in enumerate(segment_starts(length_s, segment_seconds=segment_seconds)):
        yield f"{video}_s{k:03d}", start_s, segment_seconds


def times_sentence(root: Location, video: str, *, start_s: float, duration_s: float | None) -> str:
    """As `A drumstick hits metal and scratches wood.`

    Empty when the file is missing or tells nothing. Its lines: time material action reaction.

    Args:
        duration_s: length of the stretch, seconds; None: to the end.

    Raises:
        UserError: (with the line's number) another form of line.
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
