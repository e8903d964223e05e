import pytest

from syncflow.autoencoders.spans import chunk_lengths, frame_spans
from syncflow.errors import UserError


def spans(num_frames: int) -> list[tuple[int, int]]:
    return frame_spans(num_frames, frames_per_chunk=17, stride=4)


def test_the_nine_spans_of_two_seconds():
    expected = [(0, 0), (1, 4), (5, 8), (9, 12), (13, 16), (17, 19), (20, 23), (24, 27), (28, 31)]
    assert spans(32) == expected


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (4, 1), (5, 2), (17, 5), (18, 6), (32, 9), (34, 10)])
def test_known_numbers_of_latent_frames(frames: int, latents: int):
    assert len(spans(frames)) == latents


@pytest.mark.parametrize("num_frames", range(1, 41))
def test_spans_cover_every_frame_once_and_in_order(num_frames: int):
    assert [frame for first, last in spans(num_frames) for frame in range(first, last + 1)] == list(
        range(num_frames)
    )
    assert sum(chunk_lengths(num_frames, frames_per_chunk=17)) == num_frames


@pytest.mark.parametrize("num_frames", range(1, 41))
def test_no_span_crosses_a_chunk(num_frames: int):
    assert all(first // 17 == last // 17 for first, last in spans(num_frames))


def test_no_frames_are_refused():
    with pytest.raises(UserError, match="0 frames"):
        spans(0)
