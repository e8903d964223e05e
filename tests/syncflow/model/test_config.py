import subprocess
import sys

import pytest

from syncflow.config import load_config, validate
from syncflow.errors import UserError
from syncflow.model.config import DualDiTConfig, InspectConfig


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"video": {"hidden_size": 1142}}, "video hidden_size 1142 with 16 heads"),
        ({"video": {"depth": 27}}, "video.depth 27 and audio.depth 28"),
        ({"adaptor": {"kind": "none"}, "audio": {"hidden_size": 768}}, "adaptor.kind none"),
        ({"adaptor": {"kind": "none", "tokens": 4}}, "adaptor.tokens 4 with kind none"),
        ({"audio": {"contxt": "text"}}, "did you mean 'audio.context'"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(values: dict, said: str):
    with pytest.raises(UserError, match=said) as caught:
        validate(DualDiTConfig, values, source="preset")
    assert "\n" not in str(caught.value)


def test_the_large_presets_are_the_papers_numbers(repository):
    for preset in ("vggsound", "greatest_hits"):
        config = load_config(InspectConfig, repository / "pipelines/configs" / preset / "model.yaml")
        assert config == InspectConfig()


def test_the_tiny_preset_is_tiny(repository):
    config = load_config(InspectConfig, repository / "pipelines/configs/tiny/inspect.yaml")
    assert (config.model.video.depth, config.model.video.hidden_size, config.model.video.num_heads) == (
        4,
        128,
        4,
    )


def test_settings_that_older_versions_saved_are_read_without_their_frame_spans():
    assert DualDiTConfig(frame_spans=[[0, 0], [1, 4]]) == DualDiTConfig()  # type: ignore[call-arg]


def test_settings_load_no_torch():
    code = "import sys, syncflow.model.config; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
