from pathlib import Path

import numpy as np
import pytest

from preprocessing.estimate import choose_sample, mean_interval, print_estimate, share_interval
from syncflow.records import ClipRef
from tests.precompute_case import job, write_media, write_weights


def refs(count: int) -> list[ClipRef]:
    return [ClipRef(dataset="set", clip_id=str(i), path=Path("/x")) for i in range(count)]


@pytest.mark.parametrize(("clips", "share", "expected"), [(5000, 0.01, 50), (100, 0.01, 8), (3, 0.01, 3)])
def test_sample_is_a_share_of_the_clips_and_the_same_each_time(
    clips: int, share: float, expected: int
) -> None:
    chosen = [ref.clip_id for ref in choose_sample(refs(clips), share=share)]
    assert len(set(chosen)) == len(chosen) == expected
    assert chosen == [ref.clip_id for ref in choose_sample(refs(clips), share=share)]
    if clips > 100:
        assert max(map(int, chosen)) > clips / 2, "not only the first ones"


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    draw = np.random.default_rng(0)
    means = [mean_interval(draw.exponential(2.0, 100))[1:] for _ in range(200)]
    assert 0.88 < np.mean([low < 2.0 < high for low, high in means]) < 0.99
    shares = [share_interval(int(draw.binomial(60, 0.1)), 60)[1:] for _ in range(400)]
    assert 0.92 < np.mean([low < 0.1 < high for low, high in shares]) < 0.99
    assert share_interval(0, 20)[1] == 0.0 and share_interval(20, 20)[2] == 1.0


def test_estimate_tells_hours_gigabytes_and_failures_and_keeps_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_media(tmp_path / "clips", good=2)
    write_weights(tmp_path / "weights")
    before = sorted(tmp_path.rglob("*"))
    config = job(tmp_path / "clips", tmp_path / "weights", tmp_path / "out", plan=True)
    assert print_estimate(config) == 0
    told = capsys.readouterr().out
    assert "4 clips, 1 workers" in told and "hours" in told and "GB" in told
    assert "accepted" in told and "50.0%" in told and "failed: empty" in told and "25.0%" in told
    assert sorted(tmp_path.rglob("*")) == before
