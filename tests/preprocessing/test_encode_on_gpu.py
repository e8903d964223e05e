"""Latents that a GPU encodes are the CPU's up to rounding."""

from pathlib import Path

import numpy as np
import pytest

from preprocessing.config import EncodeConfig
from preprocessing.encode import EncodeStep
from preprocessing.load_encoders import load_encoders
from syncflow.records import EncodedClip
from tests.precompute_case import write_weights
from tests.preprocessing.test_encode import SPEC, TEXT, clip

pytestmark = pytest.mark.gpu


def test_a_gpu_encodes_what_the_cpu_encodes(gpu: str, tmp_path: Path) -> None:
    write_weights(tmp_path)
    found = []
    for device in ("cpu", gpu):
        config = EncodeConfig(
            video_vae=str(tmp_path / "video_vae"),
            audio_vae=str(tmp_path / "audio_vae"),
            text=TEXT,
            device=device,  # type: ignore[arg-type]
        )
        encoders = load_encoders(config)
        assert encoders.device.type == device
        (encoded,) = EncodeStep(encoders, config, spec=SPEC, recipe="r")([clip("a")])
        assert isinstance(encoded, EncodedClip)
        found.append(encoded)
    for name in ("video_mean", "video_logvar", "audio_mean", "audio_logvar"):
        one, other = (np.stack([getattr(row, name) for row in each.rows]) for each in found)
        assert np.allclose(one, other, atol=5e-3, rtol=5e-3), name
    assert np.allclose(found[0].texts[0].tokens, found[1].texts[0].tokens, atol=2e-3)
