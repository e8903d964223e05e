"""The small pipeline of the sampling tests."""

from tests.syncflow.sampling.conftest import other_pipeline, pipeline, saved, text_config, text_to_audio

__all__ = ["other_pipeline", "pipeline", "saved", "text_config", "text_to_audio"]
