import sys
from subprocess import run

import pytest

from syncflow.autoencoders.config import VideoVAEConfig
from syncflow.config import validate
from syncflow.errors import UserError


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"latent_channels": 8}, "one number for each of 8 latent channels"),
        ({"temporal_downsample": (True, True)}, "one value less"),
        ({"spatial_block_channels": (12, 24)}, "multiples of spatial_norm_groups"),
        ({"temporal_filters": 24}, "multiple of temporal_norm_groups"),
        ({"frames_per_batch": 0}, "must be 1 or more"),
        ({"spatial_block_chanels": (32,)}, "did you mean 'spatial_block_channels'"),
    ],
)
def test_settings_that_no_vae_can_have_are_refused_in_one_line(values: dict[str, object], told: str):
    with pytest.raises(UserError, match=told) as caught:
        validate(VideoVAEConfig, values, source="preset")
    assert "\n" not in str(caught.value)


def test_settings_and_spans_import_without_torch():
    modules = "syncflow.autoencoders.config, syncflow.autoencoders.spans"
    code = f"import sys, {modules}; assert 'torch' not in sys.modules"
    assert run([sys.executable, "-c", code], check=False).returncode == 0
