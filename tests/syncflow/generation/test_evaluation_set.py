"""Generation from an evaluation set: each row under its id and from its window, counted by evaluation."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syncflow.errors import UserError
from syncflow.evaluation.evaluation_set import system_of
from syncflow.evaluation.suite import list_clips
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.generation.requests import read_rows
from syncflow.media import decode_frames, write_clip
from syncflow.media.evaluation_set import ClipFile, read_evaluation_set, write_evaluation_set
from syncflow.studies.scores import evaluate
from tests.syncflow.generation.generate_case import SPEC, make, settings


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two windows of one video, the second brighter, and a row whose video is gone."""
    frames = np.zeros((2 * SPEC.num_frames, 32, 48, 3), np.uint8)
    frames[SPEC.num_frames :] = 200
    sound = np.random.default_rng(0).uniform(-0.3, 0.3, 2 * SPEC.num_samples).astype(np.float32)
    video = tmp_path / "long.mp4"
    write_clip(video, frames=frames, audio=sound, fps=SPEC.fps, sample_rate=SPEC.sample_rate)
    rows = [
        ClipFile(id="long-b", path=video, start_s=1.0, prompt="metal"),
        ClipFile(id="long-a", path=video, start_s=0.0, prompt="wood"),
        ClipFile(id="gone", path=tmp_path / "gone.mp4", prompt="cloth"),
    ]
    write_evaluation_set(tmp_path / "set.csv", rows)
    return tmp_path / "set.csv"


def test_a_row_is_made_from_its_window_under_its_id_and_a_missing_video_is_a_failed_row(
    saved: Path, tmp_path: Path, table: Path
) -> None:
    out = tmp_path / "made"
    config = settings(saved, out, prompt=(), evaluation_set=table, evaluation_inputs="video")
    make(config)
    lines = make(config)  # a rerun finds what is there
    with (out / "manifest.csv").open(newline="") as stream:
        manifest = list(csv.DictReader(stream))
    assert [row["id"] for row in manifest] == ["long-b", "long-a", "gone"]
    assert [bool(line.failure) for line in lines] == [False, False, True]
    seen = [decode_frames((out / row["file"]).resolve(), start_s=0, spec=SPEC) for row in manifest[:2]]
    assert seen[0].mean() > 150 and seen[1].mean() < 50

    expected = read_evaluation_set(table)
    system = system_of("made", out, list_clips(out), expected)
    assert {clip.id: clip.path.name for clip in system.clips} == {r["id"]: r["file"] for r in manifest}
    other = [ClipFile(id=f"other{k}", path=clip.path) for k, clip in enumerate(expected)]
    assert len(system_of("made", out, list_clips(out), other).extra) == 3  # ids of another set

    scores: list[Any] = []
    for allowed in (0, 1):
        values: Any = {"evaluation_set": table, "max_failed": allowed}
        evaluation = EvaluateConfig(clips=(out,), output=tmp_path / "scores", clip=SPEC, metrics=values)
        assert evaluate(evaluation, track=lambda config, summaries, comparison: scores.extend(summaries)) == 3
    assert [each.note.partition(";")[0] for each in scores] == [
        "withheld: 1 of 3 clips failed",
        "withheld: no sound begins in any of 2 clips",  # random weights
    ]
    assert np.isnan(scores[0].f1) and not np.isnan(scores[0].expected)
    assert (scores[1].expected, scores[1].failed) == (3, 1)


def test_what_is_given_of_the_rows_is_chosen(tmp_path: Path, table: Path) -> None:
    def rows(**changes: object) -> list[tuple]:
        config = settings(tmp_path, tmp_path, prompt=(), evaluation_set=table, **changes)
        return [(row.prompt, bool(row.video), row.start_s) for row in read_rows(config)][:2]

    assert rows() == [("metal", False, 0.0), ("wood", False, 0.0)]
    assert rows(evaluation_inputs="video") == [("", True, 1.0), ("", True, 0.0)]
    assert rows(evaluation_inputs="both", limit=2) == [("metal", True, 1.0), ("wood", True, 0.0)]
    with pytest.raises(UserError, match="holds the prompts and the videos"):
        rows(video=table)
    with pytest.raises(UserError, match="is an evaluation set; give it as --evaluation-set"):
        read_rows(settings(tmp_path, tmp_path, prompt=(), prompts=table))
