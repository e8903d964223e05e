"""The store and the called pipelines of the tests of `infra`."""

from tests.infra.conftest import run_pipeline, uri

__all__ = ["run_pipeline", "uri"]
