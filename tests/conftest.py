"""What every test may use."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("DS_ACCELERATOR", "cpu")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest

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


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests that start Ray or run for long have more time: a loaded machine is slow, not wrong.

    In several processes (`make test`) those that start Ray stay in one, and of the others a file stays
    together, and so shares its fixtures. The long ones begin first.
    """
    for item in items:
        if item.get_closest_marker("ray") or item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(900))
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            file = item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group("ray" if item.get_closest_marker("ray") else file))
        items.sort(key=lambda item: ("ray" not in item.keywords, "slow" not in item.keywords))
