"""Suites of clips: every clip counted, chance beside the score, tables that say how they were made."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from syncflow.errors import UserError
from syncflow.evaluation.report import summary_markdown, write_scores, write_summary
from syncflow.evaluation.suite import ClipScore, list_clips, score_clips, summarise
from syncflow.media import write_clip
from syncflow.records import ClipSpec, SyncScore

SPEC = ClipSpec(height=32, width=32)


def flash_and_click(path: Path, *times: float) -> None:
    """A clip that is dark and silent but for a flash with a click at each of `times` (seconds)."""
    frames = np.zeros((SPEC.num_frames, 32, 32, 3), np.uint8)
    audio = np.zeros(SPEC.num_samples, np.float32)
    for time in times:
        frames[round(time * SPEC.fps) :][:2] = 255
        start = round(time * SPEC.sample_rate)
        click = np.random.default_rng(0).standard_normal(2400) * np.exp(-np.arange(2400) / 400)
        audio[start : start + 2400] += 0.2 * click.astype(np.float32)
    write_clip(path, frames=frames, audio=audio, fps=SPEC.fps, sample_rate=SPEC.sample_rate)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    flash_and_click(folder / "a.mp4", 0.25)
    flash_and_click(folder / "b.mp4", 1.5)
    (folder / "c.mp4").write_bytes(b"not a clip")
    return folder


def test_a_broken_clip_is_a_failed_clip_and_never_a_zero(folder: Path) -> None:
    scores = score_clips(list_clips(folder), spec=SPEC, tolerance_s=0.1)
    summary = summarise("x", scores)
    assert [bool(s.failure) for s in scores] == [False, False, True]
    assert (summary.expected, summary.used, summary.failed) == (3, 2, 1)
    assert summary.f1 == pytest.approx(np.mean([s.score.f1 for s in scores if s.score]))


def test_sound_that_belongs_scores_above_the_next_clips_sound(folder: Path) -> None:
    summary = summarise("x", score_clips(list_clips(folder), spec=SPEC, tolerance_s=0.1))
    assert summary.f1 > 0.6
    assert summary.chance_f1 == 0.0
    assert abs(summary.offset_ms) < 1000 / SPEC.fps


def test_a_manifest_says_what_is_expected(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text("file,prompt\na.mp4,x\ngone.mp4,y\n", encoding="utf-8")
    (tmp_path / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())
    scores = score_clips(list_clips(tmp_path), spec=SPEC, tolerance_s=0.1)
    assert [s.clip for s in scores] == ["a.mp4", "gone.mp4"]
    assert scores[1].score is None and scores[1].failure


def test_a_split_takes_the_clips_that_it_lists(tmp_path: Path) -> None:
    for name in ("u_denoised.mp4", "v_denoised.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "test.txt").write_text("v\n", encoding="utf-8")
    assert [p.name for p in list_clips(tmp_path, split="test")] == ["v_denoised.mp4"]
    assert len(list_clips(tmp_path)) == 2


@pytest.mark.parametrize("name", ["gone", "empty"])
def test_a_folder_without_clips_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        list_clips(tmp_path / name)


def perfect(f1: float) -> SyncScore:
    return SyncScore(precision=f1, recall=f1, f1=f1, offset_ms=10.0, num_audio_onsets=2, num_motion_peaks=2)


def test_means_are_over_clips_with_events_and_the_interval_holds_them() -> None:
    scores = [ClipScore(clip=str(i), score=perfect(f), chance=perfect(0.1)) for i, f in enumerate((0.2, 1.0))]
    scores.append(ClipScore(clip="still", score=perfect(math.nan), chance=perfect(math.nan)))
    summary = summarise("x", scores)
    assert summary.f1 == pytest.approx(0.6) and summary.used == 2 and summary.expected == 3
    assert summary.f1_low <= 0.6 <= summary.f1_high
    assert summary.offset_ms == 10.0


def test_the_tables_hold_every_clip_and_the_protocol(tmp_path: Path) -> None:
    scores = {"x": [ClipScore(clip="a", score=perfect(1.0), chance=None), ClipScore(clip="b", score=None,
              chance=None, failure="unreadable")]}  # fmt: skip
    summaries = [summarise("x", scores["x"])]
    with write_scores(tmp_path, scores).open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["clip"], row["f1"], row["failure"]) for row in rows] == [
        ("a", "1.0", ""),
        ("b", "", "unreadable"),
    ]
    text = write_summary(tmp_path, summaries, tolerance_s=0.1).read_text(encoding="utf-8")
    assert text == summary_markdown(summaries, tolerance_s=0.1)
    assert "1 / 2 (1 failed)" in text and "100 ms" in text
