"""Which windows one child decodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncflow.media.probe import MediaInfo
from syncflow.media.spans import CELL_S, plan_spans
from syncflow.records import ClipSpec

SPEC = ClipSpec()


def info(*, seconds: float = 600.0, gop: int = 250, container: str = "mov,mp4") -> MediaInfo:
    times = tuple(k / 25 for k in range(round(25 * seconds)))
    return MediaInfo(
        container=container,
        duration_s=seconds,
        has_video=True,
        has_audio=True,
        width=640,
        height=360,
        fps=25.0,
        rotation=0.0,
        display_matrix=False,
        interlaced=False,
        untagged_hd=False,
        pixel_aspect=1.0,
        sample_rate=44_100,
        ambisonic=False,
        mono=False,
        video_start_s=0.0,
        video_end_s=seconds,
        audio_start_s=0.0,
        audio_end_s=seconds,
        lacks_times=False,
        frame_times_s=times,
        keyframe_times_s=times[::gop],
        lost_frame_times_s=(),
        audio_packets_s=((0.0, seconds),),
    )


FILM = info()


@given(st.lists(st.integers(0, 16 * 500), min_size=1, max_size=12), st.sampled_from([0.0, 0.01]))
def test_every_window_is_in_one_span_at_its_place(frames: list[int], shift_s: float) -> None:
    starts = [shift_s * (k % 2) + frame / 16 for k, frame in enumerate(frames)]
    spans = plan_spans(starts, info=FILM, spec=SPEC)
    assert sorted(place for span in spans for place in span.places) == list(range(len(starts)))
    for span in spans:
        held = [frame for first, last in span.runs for frame in range(first, last + 1)]
        assert len(set(held)) == len(held) and span.num_frames <= CELL_S * SPEC.fps
        for place, first, offset in zip(span.places, span.first_frames, span.offsets(), strict=True):
            assert span.start_s + first / 16 == pytest.approx(starts[place], abs=1e-5)
            assert held[offset : offset + 32] == list(range(first, first + 32))
            assert span.video_seek_s <= max(0.0, span.start_s - 0.9)
            assert span.audio_seek_s <= max(0.0, starts[place] - 1.0) and span.audio_seek_s % CELL_S == 0


def test_windows_of_a_ten_second_clip_are_one_span() -> None:
    starts = [7.0, 0.5, 3.0625, 3.0, 5.0]
    (span,) = plan_spans(starts, info=info(seconds=10), spec=SPEC)
    assert span.start_s == 0.5 and span.video_seek_s == span.audio_seek_s == 0


def test_windows_with_a_keyframe_between_them_are_two_spans() -> None:
    assert len(plan_spans([0.0, 30.0], info=FILM, spec=SPEC)) == 2
    assert len(plan_spans([0.0, 30.0], info=info(gop=10_000), spec=SPEC)) == 1  # decoded in any case


def test_a_file_without_an_index_is_decoded_from_its_start() -> None:
    (span,) = plan_spans([100.0], info=info(container="mpegts"), spec=SPEC)
    assert span.video_seek_s == span.audio_seek_s == 0


def test_a_file_is_entered_at_the_time_of_a_frame() -> None:
    (span,) = plan_spans([100.03], info=FILM, spec=SPEC)
    assert span.video_seek_s == pytest.approx(99.0) and span.video_seek_s in FILM.frame_times_s
