"""Scores of an autoencoder as files: a row a window, and the table that people read."""

import csv
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from syncflow.evaluation.reconstruction import (
    AudioScore,
    VideoScore,
    summarise_audio,
    summarise_video,
)
from syncflow.evaluation.report import number

VIDEO = ("clips", "windows", "PSNR, dB", "SSIM", "motion peaks", "motion F1 at 1 frame")
AUDIO = (
    *("clips", "windows", "onsets", "onset F1 at 10 ms", "mean offset, ms"),
    *("mel distance, dB", "SI-SDR, dB"),
)


@dataclass(frozen=True, kw_only=True)
class WindowScore:
    """A window of a file, and what an autoencoder kept of it."""

    folder: str
    file: str
    window: int  # of the file, from 0
    score: VideoScore | AudioScore


def write_rows(path: Path, rows: Sequence[WindowScore]) -> None:
    """A csv of one autoencoder's rows; what could not be measured is empty."""
    fields = [field.name for field in dataclasses.fields(rows[0].score)] if rows else []
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["folder", "file", "window", *fields])
        for row in rows:
            values = dataclasses.astuple(row.score)
            shown = ["" if value != value else value for value in values]
            writer.writerow([row.folder, row.file, row.window, *shown])


def summary_markdown(
    rows: Sequence[WindowScore], *, left_out: Mapping[str, Mapping[str, int]], title: str
) -> str:
    """One line a folder; files that gave no window are counted below, by reason.

    Args:
        left_out: of each folder, files by the reason for which they gave no window.
    """
    folders = list(dict.fromkeys(row.folder for row in rows))
    is_audio = bool(rows) and isinstance(rows[0].score, AudioScore)
    headings = AUDIO if is_audio else VIDEO
    lines = [f"## {title}", "", "| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    for folder in folders:
        scores = [row.score for row in rows if row.folder == folder]
        lines.append("| " + " | ".join([folder, *_cells(scores)]) + " |")
    for folder, reasons in left_out.items():
        if reasons:
            told = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            lines += ["", f"Left out of {folder}: {told}."]
    return "\n".join(lines) + "\n"


def _cells(scores: Sequence[VideoScore | AudioScore]) -> list[str]:
    of_sound = [score for score in scores if isinstance(score, AudioScore)]
    if not of_sound:
        v = summarise_video([score for score in scores if isinstance(score, VideoScore)])
        return [
            *(str(v.windows), number(v.psnr_db, 1), number(v.ssim, 3)),
            *(str(v.peaks), number(v.motion_f1, 3)),
        ]
    a = summarise_audio(of_sound)
    return [
        *(str(a.windows), str(a.onsets), number(a.onset_f1, 3), number(a.onset_offset_ms, 1)),
        *(number(a.mel_distance_db, 1), number(a.si_sdr_db, 1)),
    ]
