"""A small clip of noise and small models, for the tests that need any."""

from pathlib import Path

import numpy as np
import pytest

from syncflow.media import write_clip
from tests.precompute_case import write_weights


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    frames = np.random.default_rng(0).integers(0, 256, (48, 64, 64, 3), dtype=np.uint8)
    audio = np.random.default_rng(1).normal(0, 0.1, 144_000).astype(np.float32)
    write_clip(path, frames=frames, audio=audio, fps=16, sample_rate=48_000)
    return path


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both VAEs, small and of random weights; no test writes into it."""
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder)
    return folder
