"""What every test may use."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

pytest_plugins = ("tests.fast",)
REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of golden files and real clips beside the checkout."""
    path = REPOSITORY.parent / "shared"
    if not path.is_dir():
        pytest.skip(f"no {path}: golden files and real clips are not in a user's checkout")
    return path


@pytest.fixture(scope="session")
def golden_files() -> Path:
    """What original implementations compute, small enough to be in the checkout (tests/golden/README.md)."""
    return REPOSITORY / "tests" / "golden"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> str:
    """The GPU's name as torch has it; its convolutions keep all of float32, so that CPU and GPU compare."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    return "cuda"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that start Ray or run for long have more time: a loaded machine is slow, not wrong."""
    for item in items:
        if item.get_closest_marker("ray") or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(900))
