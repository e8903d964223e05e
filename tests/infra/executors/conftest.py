"""One Ray for all tests of the executors."""

from collections.abc import Iterator

import pytest

from infra.executors.local_cluster import cluster


@pytest.fixture(scope="package")
def ray_of_two() -> Iterator[None]:
    """A private Ray that offers two CPUs: each start of one takes ten seconds."""
    with cluster(num_cpus=2, log_to_driver=False):
        yield
