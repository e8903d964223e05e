import numpy as np

from syncflow.evaluation.sync import NOTHING_HAPPENS, sync_quality
from syncflow.records import ClipSpec

SPEC = ClipSpec(height=32, width=32)


def clip(sound_s: float | None) -> tuple[np.ndarray, np.ndarray]:
    """The picture changes at 1 s; a click of noise sounds at `sound_s`."""
    frames = np.zeros((32, 32, 32, 3), dtype=np.uint8)
    frames[16:] = 200
    audio = np.zeros(96_000, dtype=np.float32)
    if sound_s is not None:
        start = round(sound_s * 48_000)
        audio[start : start + 4800] = np.random.default_rng(0).uniform(-0.5, 0.5, 4800)
    return frames, audio


def test_a_sound_nearer_to_its_motion_is_better_and_a_far_or_absent_one_worse() -> None:
    near, late, far, silent = (sync_quality(*clip(s), SPEC) for s in (0.97, 1.03, 1.6, None))
    assert near > late > far
    assert silent <= far
    still = np.zeros((32, 32, 32, 3), dtype=np.uint8)
    assert sync_quality(still, np.zeros(96_000, dtype=np.float32), SPEC) == NOTHING_HAPPENS
