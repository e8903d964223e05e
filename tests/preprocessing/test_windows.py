"""Laws of window starts."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.decode_config import WindowConfig
from preprocessing.windows import window_starts
from syncflow.records import ClipRef, ClipSpec

SPEC = ClipSpec()


def ref(clip_id: str = "a", *, start_s: float = 0.0, duration_s: float | None = None) -> ClipRef:
    return ClipRef(dataset="d", clip_id=clip_id, path=Path("/a.mp4"), start_s=start_s, duration_s=duration_s)


@given(
    clip_id=st.text(max_size=20),
    start_s=st.floats(0, 100),
    duration_s=st.none() | st.floats(0.1, 30),
    first=st.floats(0, 50),
    length=st.floats(0, 60),
    mode=st.sampled_from(["sampled", "grid", "all"]),
    count=st.integers(1, 20),
)
def test_windows_lie_inside_and_on_the_grid(clip_id, start_s, duration_s, first, length, mode, count) -> None:
    clip = ref(clip_id, start_s=start_s, duration_s=duration_s)
    config = WindowConfig(mode=mode, count=count)
    span = (first, first + length)
    end = min(span[1], start_s + duration_s) if duration_s is not None else span[1]
    starts = window_starts(clip, span_s=span, spec=SPEC, config=config)
    assert len(set(starts)) == len(starts), "a window comes once"
    for start in starts:
        frames = (start - start_s) * SPEC.fps
        assert abs(frames - round(frames)) < 1e-6
        assert start >= max(first, start_s) - 0.01 / SPEC.fps
        assert start + SPEC.seconds <= end + 0.51 / SPEC.fps


def test_all_windows_are_those_of_the_paper() -> None:
    starts = window_starts(ref(), span_s=(0, 11.9), spec=SPEC, config=WindowConfig(mode="all"))
    assert starts == [0, 2, 4, 6, 8]


def test_starts_depend_on_name_k_and_seed_alone() -> None:
    def starts(clip_id: str, *, count: int = 4, seed: int = 0) -> list[float]:
        config = WindowConfig(count=count, seed=seed)
        return window_starts(ref(clip_id), span_s=(0, 1000), spec=SPEC, config=config)

    assert starts("a") == starts("a") and starts("a", count=2) == starts("a")[:2]
    assert starts("a") != starts("b") and starts("a") != starts("a", seed=1)


def test_a_grid_has_a_window_in_every_part_of_a_clip() -> None:
    def starts(clip_id: str) -> list[float]:
        return window_starts(
            ref(clip_id), span_s=(0, 10), spec=SPEC, config=WindowConfig(mode="grid", count=16)
        )

    found = starts("a")  # 129 starts, 0 to 8 s
    assert len(found) == 16 and found != starts("b")
    assert all(129 * k // 16 <= start * 16 < 129 * (k + 1) // 16 for k, start in enumerate(found))
    offsets = {
        round(start * 16) - 129 * k // 16 for name in "abcdefgh" for k, start in enumerate(starts(name))
    }
    assert offsets >= set(range(8)), "each place of a part is drawn"


@pytest.mark.parametrize("mode", ["sampled", "grid"])
def test_a_clip_with_room_for_fewer_windows_gives_each_once(mode) -> None:
    starts = window_starts(ref(), span_s=(0, 2.25), spec=SPEC, config=WindowConfig(mode=mode, count=9))
    assert sorted(starts) == [k / 16 for k in range(5)]


def test_starts_are_spread_evenly() -> None:
    config = WindowConfig(count=1000)
    starts = window_starts(ref(), span_s=(0, 102), spec=SPEC, config=config)
    assert sum(starts) / len(starts) == pytest.approx(50, abs=3)
    assert min(starts) < 0.5 and max(starts) > 99.5


@pytest.mark.parametrize("length", [0.0, 1.9])
def test_a_clip_without_room_has_no_window(length: float) -> None:
    assert window_starts(ref(), span_s=(0, length), spec=SPEC, config=WindowConfig()) == []


def test_an_end_that_misses_by_rounding_counts() -> None:
    assert window_starts(ref(), span_s=(0, 1.98), spec=SPEC, config=WindowConfig()) == [0]


def test_a_short_clip_gives_each_of_its_windows_once() -> None:
    config = WindowConfig(count=5)
    assert window_starts(ref(), span_s=(0, 2.0), spec=SPEC, config=config) == [0]
    assert sorted(window_starts(ref(), span_s=(0, 2.125), spec=SPEC, config=config)) == [0, 1 / 16, 2 / 16]


@given(clip_id=st.text(max_size=5), count=st.integers(1, 60), room=st.integers(1, 60))
def test_no_window_is_drawn_twice(clip_id, count, room) -> None:
    span = (0.0, SPEC.seconds + (room - 1) / SPEC.fps)
    starts = window_starts(ref(clip_id), span_s=span, spec=SPEC, config=WindowConfig(count=count))
    assert len(set(starts)) == len(starts) == min(count, room)
    fewer = window_starts(ref(clip_id), span_s=span, spec=SPEC, config=WindowConfig(count=max(1, count // 2)))
    assert starts[: len(fewer)] == fewer


def test_the_last_window_ends_with_the_clip_and_every_start_up_to_it_is_drawn() -> None:
    """A clip of three frames more than a window holds four windows."""
    span, frame = (0, SPEC.seconds + 3 / SPEC.fps), 1 / SPEC.fps
    starts = window_starts(ref(), span_s=span, spec=SPEC, config=WindowConfig(count=200))
    assert set(starts) == {0, frame, 2 * frame, 3 * frame}
    two = window_starts(ref(), span_s=(0, 2 * SPEC.seconds), spec=SPEC, config=WindowConfig(mode="all"))
    assert two == [0, SPEC.seconds]
