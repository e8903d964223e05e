"""Graded damage does what it says, and verdicts tell a response from chance."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syncflow.evaluation.extractors.base import DecodedMedia
from syncflow.onsets import audio_onsets

RATE = 16_000
EVENTS = np.array([0.4, 0.9, 1.5])


@pytest.fixture
def parts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of benchmarks/validity."""
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    import validity.clips as clips
    import validity.curves as curves
    import validity.damages as damages

    return clips, damages, curves


def strokes() -> DecodedMedia:
    """Three bursts of noise over a quiet room."""
    draw = np.random.default_rng(0)
    sound = 0.001 * draw.standard_normal(2 * RATE)
    for at in EVENTS:
        start = round(at * RATE)
        sound[start : start + 1600] += 0.5 * draw.standard_normal(1600) * np.exp(-np.arange(1600) / 300)
    frames = draw.integers(0, 255, (32, 8, 8, 3)).astype(np.uint8)
    return DecodedMedia(frames=frames, fps=16, audio=sound.astype(np.float32), sample_rate=RATE)


def onsets(sound: np.ndarray) -> np.ndarray:
    return audio_onsets(sound, RATE)


def test_damaged_sounds_have_the_events_that_their_level_says(parts: Any) -> None:
    clips, damages, _ = parts
    clip = clips.EventClip(media=strokes(), events_s=EVENTS)
    assert np.allclose(onsets(damages.dropped(clip, 0, 0)), EVENTS, atol=0.01)
    assert [len(onsets(damages.dropped(clip, percent, 0))) for percent in (33, 67, 100)] == [2, 1, 0]
    moved = np.sort(EVENTS + 0.05 * np.random.default_rng(0).standard_normal(3))
    assert np.allclose(onsets(damages.jittered(clip, 50, 0)), moved, atol=0.01)
    more = onsets(damages.added(clip, 2, 33))  # of this seed they are far from the others
    assert np.allclose(more, np.sort([*EVENTS, 1.137, 1.816]), atol=0.01)
    assert np.allclose(onsets(damages.shift(clip, 0.25, 0)), EVENTS + 0.25, atol=0.01)
    frozen = damages.frozen(clip.media.video, 50, 0)
    assert (frozen[:16] == clip.media.video[:16]).all() and (frozen[16:] == frozen[-1]).all()


def test_a_higher_level_holds_what_the_lower_one_did(parts: Any) -> None:
    clips, damages, _ = parts
    own = [clips.EventClip(media=strokes(), events_s=EVENTS) for _ in range(8)]
    others = [clips.EventClip(media=strokes(), events_s=EVENTS) for _ in range(3)]
    for apply in (damages.swapped, damages.other_material):
        before: set[int] = set()
        for percent, count in ((25, 2), (50, 4), (100, 8)):
            after = apply(own, percent, others)
            changed = {k for k, media in enumerate(after) if media.waveform is not own[k].media.waveform}
            assert len(changed) == count and before <= changed
            before = changed


@pytest.mark.parametrize(
    ("means", "verdict"),
    [
        ((0.9, 0.9, 0.5, 0.2), "from 2"),
        ((0.9, 0.5, 0.9, 0.2), "from 1; back at 2"),
        ((0.5, 0.5, 0.5, 0.5), "not seen"),
        ((0.5, 0.5, 0.9, 0.9), "better at 2"),
    ],
)
def test_a_verdict_is_of_differences_beyond_chance(
    parts: Any, means: tuple[float, ...], verdict: str
) -> None:
    *_, curves = parts
    draw = np.random.default_rng(0)
    clip = draw.normal(0, 0.2, 40)  # a clip's own level does not hide a difference within it
    responses = tuple(curves.Response(values=mean + clip + draw.normal(0, 0.005, 40)) for mean in means)
    labels = ("none", "1", "2", "3")
    curve = curves.Curve(labels=labels, responses=responses, lower_is_better=False, floor=None)
    assert curve.verdict == verdict
    floor = curves.Floor(mean=0.0, largest=0.2, spread=0.1)
    single = tuple(curves.Response(values=np.array([-mean])) for mean in means)
    of_sets = curves.Curve(labels=labels, responses=single, lower_is_better=True, floor=floor)
    assert of_sets.verdict == verdict


def test_a_collection_on_which_a_metric_was_not_tried_is_left_out_of_its_rows(
    parts: Any, tmp_path: Path
) -> None:
    _, damages, curves = parts
    import validity.report as report

    from syncflow.evaluation.metrics.catalogue import chosen_metrics

    metrics = [*chosen_metrics(("av_align", "sound_distance_aisfx")), report.SYNC]
    floor = curves.Floor(mean=1.0, largest=2.0, spread=0.5)

    def collection(name: str, tried: list[Any]) -> Any:
        found = {}
        for metric in tried:
            of_set = metric.name.startswith("sound")
            for damage in damages.DAMAGES:
                labels = ("none", *map(damage.label, damage.levels))
                values = [np.linspace(0, k, 1 if of_set else 6) for k in range(len(labels))]
                found[metric.name, damage.name] = curves.Curve(
                    labels=labels,
                    responses=tuple(curves.Response(values=each) for each in values),
                    lower_is_better=metric.better == "lower",
                    floor=floor if of_set else None,
                )
        floors = {"sound_distance_aisfx": floor} if len(tried) == 3 else {}
        return report.Collection(name=name, clips=6, floors=floors, curves=found)

    both = [
        collection("whole", metrics),
        collection("strokes", [metrics[0], report.SYNC]),
        collection("z", metrics),
    ]
    page = report.verdicts_markdown(both, metrics)
    assert page.count("| sound distance (aiSFX) |") == 3 and page.count("| sync F1 |") == 3
    assert "| sound distance (aiSFX) | 1, 2 | 1, 2 |" in page
    assert "| late sound, 0.2 s |" in page and "| dropped events, 0 % |" in page
    rows = report.values_csv(both, metrics).splitlines()
    assert len(rows) == 1 + 8 * sum(1 + len(damage.levels) for damage in damages.DAMAGES)
    report.draw(both, metrics, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 10_000
