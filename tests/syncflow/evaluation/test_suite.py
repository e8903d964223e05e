"""Suites of clips: every clip counted, chance beside the score, tables that say how they were made."""

import csv
import math
import weakref
from pathlib import Path

import numpy as np
import pytest

from syncflow.errors import UserError
from syncflow.evaluation import suite
from syncflow.evaluation.chance import chance_f1
from syncflow.evaluation.over_checkpoints import mean_over
from syncflow.evaluation.report import summary_markdown, write_scores, write_summary
from syncflow.evaluation.suite import ClipScore, list_clips, score_clips, summarise
from syncflow.evaluation.sync import ClipEvents
from syncflow.media import write_clip
from syncflow.media.clip_folder import distinct_names
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


def test_sound_that_belongs_scores_above_another_clips_sound(folder: Path) -> None:
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


def test_an_id_that_begins_with_another_is_another_clip(tmp_path: Path) -> None:
    names = ("2015-02-16-16-49-06", "2015-02-16-16-49-06-1", "2015-02-16-16-49-06_mic")
    for name in names:
        (tmp_path / f"{name}.mp4").touch()
    (tmp_path / "test.txt").write_text(f"{names[0]}\n", encoding="utf-8")
    assert [p.stem for p in list_clips(tmp_path, split="test")] == [names[0]]


def test_a_listed_clip_without_a_file_is_expected_and_fails(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes((folder / "a.mp4").read_bytes())
    (tmp_path / "test.txt").write_text("gone\na\n", encoding="utf-8")
    scores = score_clips(list_clips(tmp_path, split="test"), spec=SPEC, tolerance_s=0.1)
    assert [(s.clip, bool(s.failure)) for s in scores] == [("a.mp4", False), ("gone.mp4", True)]


def test_a_split_without_a_list_is_refused_and_the_remedy_works(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UserError, match=r"has no test\.txt; .*use --split all"):
        list_clips(tmp_path, split="test")
    assert list_clips(tmp_path, split="all") == [tmp_path / "a.mp4"]
    (tmp_path / "test.txt").write_text("\n")
    with pytest.raises(UserError, match="lists no clip"):
        list_clips(tmp_path, split="test")


def test_generated_clips_are_of_the_split_of_their_video(tmp_path: Path) -> None:
    videos, made = tmp_path / "videos", tmp_path / "made"
    videos.mkdir()
    made.mkdir()
    (videos / "test.txt").write_text("v\n")
    lines = ["file,prompt,video", f"0.mp4,,{videos}/v.mp4", f"1.mp4,,{videos}/v-1.mp4", "2.mp4,rain,"]
    (made / "manifest.csv").write_text("\n".join(lines) + "\n")
    assert [p.name for p in list_clips(made, split="test")] == ["0.mp4", "2.mp4"]
    assert len(list_clips(made)) == 3


def test_two_folders_of_one_name_have_names_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / run / "made" for run in ("run1", "run2")] + [tmp_path / "real"]
    assert distinct_names(folders) == ["run1/made", "run2/made", "real"]
    with pytest.raises(UserError, match="given twice"):
        distinct_names([folders[0], folders[0] / "." / "../made"])


def test_chance_is_every_clips_frames_with_every_other_clips_sound() -> None:
    """Against the assignment that the score itself uses, pair by pair."""
    draw = np.random.default_rng(0)

    def instants() -> np.ndarray:
        return np.sort(draw.uniform(0, 2, draw.integers(0, 6)))

    clips = [ClipEvents(onsets=instants(), peaks=instants()) for _ in range(12)]
    for own, found in zip(clips, chance_f1(clips, tolerance_s=0.1), strict=True):
        pairs = [
            ClipEvents(onsets=other.onsets, peaks=own.peaks).score(tolerance_s=0.1).f1
            for other in clips
            if other is not own
        ]
        assert found == pytest.approx(np.nanmean(pairs), abs=1e-12)
    assert np.isnan(chance_f1(clips[:1], tolerance_s=0.1)).all()


def test_no_clip_stays_decoded_while_others_are_scored(monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[weakref.ref] = []
    most = 0

    def decode(path: Path, *, start_s: float, spec: ClipSpec) -> tuple[np.ndarray, np.ndarray]:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        frames = np.zeros((spec.num_frames, 32, 32, 3), np.uint8)
        alive.append(weakref.ref(frames))
        return frames, np.zeros(spec.num_samples, np.float32)

    monkeypatch.setattr(suite, "decode_window", decode)
    score_clips([Path(f"{n}.mp4") for n in range(6)], spec=SPEC, tolerance_s=0.1)
    assert len(alive) == 6 and most == 0


@pytest.mark.parametrize("name", ["gone", "empty"])
def test_a_folder_without_clips_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=name):
        list_clips(tmp_path / name)


def perfect(f1: float) -> SyncScore:
    return SyncScore(precision=f1, recall=f1, f1=f1, offset_ms=10.0, num_audio_onsets=2, num_motion_peaks=2)


def test_means_are_over_clips_with_events_and_the_interval_holds_them() -> None:
    scores = [
        ClipScore(clip=name, score=perfect(f1), chance_f1=chance)
        for name, f1, chance in (("a", 0.2, 0.1), ("b", 1.0, 0.3))
    ]
    scores.append(ClipScore(clip="still", score=perfect(math.nan)))
    summary = summarise("x", scores)
    assert (summary.chance_f1, summary.gain_f1) == (pytest.approx(0.2), pytest.approx(0.4))
    assert summary.chance_f1_low == pytest.approx(0.1) and summary.chance_f1_high == pytest.approx(0.3)
    assert summary.gain_f1_low == pytest.approx(0.1) and summary.gain_f1_high == pytest.approx(0.7)
    assert summary.f1 == pytest.approx(0.6) and summary.used == 2 and summary.expected == 3
    assert summary.f1_low <= 0.6 <= summary.f1_high
    assert summary.offset_ms == 10.0


def test_the_tables_hold_every_clip_and_the_protocol(tmp_path: Path) -> None:
    scores = {
        "x": [
            ClipScore(clip="a", score=perfect(1.0)),
            ClipScore(clip="b", score=None, failure="unreadable"),
        ]
    }
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


def test_the_mean_over_checkpoints_is_of_the_figures() -> None:
    summaries = [
        summarise(name, [ClipScore(clip="a", score=perfect(f1), chance_f1=0.1)])
        for name, f1 in (("step_1", 0.2), ("step_2", 0.4), ("step_3", 0.9))
    ]
    found = {each.figure: each for each in mean_over(summaries)}
    assert found["f1"].mean == pytest.approx(0.5) and found["f1"].deviation == pytest.approx(
        0.36056, abs=1e-5
    )
    assert found["chance_f1"].deviation == pytest.approx(0, abs=1e-12) and found["f1"].folders == 3
    assert math.isnan(mean_over(summaries[:1])[0].deviation)
