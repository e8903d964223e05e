"""One Ray head for the tests that submit jobs to it."""

from collections.abc import Iterator

import pytest

from tests.infra.ray_head import ray_head


@pytest.fixture(scope="package")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client of a head on loopback; it may still be starting."""
    with ray_head(tmp_path_factory.mktemp("head"), cpus=4) as environment:
        yield environment
