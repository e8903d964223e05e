"""One Ray for all tests of a module, and pipelines called without an interpreter."""

import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra.executors.local_cluster import cluster


@pytest.fixture(scope="module")
def ray_of_two() -> Iterator[None]:
    """A private Ray that offers two CPUs, with a folder of its own; none idles beside other modules' Ray."""
    with cluster(num_cpus=2, log_to_driver=False):
        yield


@pytest.fixture
def run_pipeline(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """`run_pipeline("generate.py", "--prompt", "rain")`: its `main` in this process; the exit status."""

    def call(name: str, *flags: object) -> int:
        path = repository / "pipelines" / name
        monkeypatch.setattr(sys, "argv", [str(path), *map(str, flags)])
        return runpy.run_path(str(path))["main"]()

    return call


@pytest.fixture(scope="session")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One SQLite store for all tests: its first opening takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"
