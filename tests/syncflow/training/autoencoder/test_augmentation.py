"""Varied pictures: keyed by the generator, alike over time, and still pictures."""

import numpy as np
import torch

from syncflow.training.autoencoder.augmentation import vary


def frames(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (3, 16, 24, 3), dtype=np.uint8)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_generator_decides() -> None:
    assert np.array_equal(vary(frames(), drawn(1)), vary(frames(), drawn(1)))
    assert not np.array_equal(vary(frames(), drawn(1)), vary(frames(), drawn(2)))


def test_shape_and_type_stay() -> None:
    varied = vary(frames(), drawn(0))
    assert varied.shape == (3, 16, 24, 3) and varied.dtype == np.uint8


def test_all_frames_of_a_clip_change_alike() -> None:
    still = np.repeat(frames()[:1], 4, axis=0)
    for seed in range(8):
        varied = vary(still, drawn(seed))
        assert all(np.array_equal(varied[0], frame) for frame in varied)


def test_one_background_becomes_many() -> None:
    plain = np.full((1, 8, 8, 3), (90, 120, 150), dtype=np.uint8)
    colours = {tuple(vary(plain, drawn(seed))[0, 0, 0]) for seed in range(50)}
    assert len(colours) > 45


def test_the_original_is_left_alone() -> None:
    original, copy = frames(), frames()
    vary(original, drawn(0))
    assert np.array_equal(original, copy)
