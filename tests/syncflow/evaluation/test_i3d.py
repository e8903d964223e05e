"""I3D: the originals' pixels and logits, its epsilon, TorchScript by its hash, too few frames refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from syncflow.errors import UserError
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.extractors.i3d import EPSILON, I3D, I3DExtractor, I3DSettings, preprocess
from syncflow.evaluation.extractors.weight_files import MissingWeightsError, with_weights
from syncflow.hashing import file_sha256
from tests.syncflow.evaluation.golden_weights import close, golden, made_weights

CASES = ("square32", "wide17", "tall10")


@pytest.fixture(scope="module")
def weights(shared: Path) -> dict[str, torch.Tensor]:
    _, keys = golden(shared, "i3d_a")
    return made_weights(next(iter(keys.values())), gain=2**0.5)


@pytest.mark.parametrize("case", CASES)
def test_pixels_equal_the_originals(shared: Path, case: str) -> None:
    arrays, _ = golden(shared, "i3d_a")
    video = preprocess(arrays[f"{case}.frames"])
    close(video[:, :2, 100:116, 96:112], arrays[f"{case}.preprocessed_patch"], tolerance=1e-5)
    close(video.mean((2, 3)), arrays[f"{case}.preprocessed_mean_c_t"], tolerance=1e-5)


@pytest.mark.parametrize(
    "case",
    ["tall10", *(pytest.param(case, marks=pytest.mark.slow) for case in ("square32", "wide17"))],
)
def test_logits_equal_the_originals_with_either_epsilon(
    shared: Path, weights: dict[str, torch.Tensor], case: str
) -> None:
    arrays, _ = golden(shared, "i3d_a")
    clip = DecodedMedia(frames=arrays[f"{case}.frames"], fps=16)
    video = preprocess(clip.video)[None]
    with torch.inference_mode():
        model = with_weights(lambda: I3D(epsilon=1e-3), weights, source="made")
        features = model.features(video)
        close(features, arrays[f"{case}.features_eps1e-3"])
        close(model.logits(features).flatten(2), arrays[f"{case}.logits_eps1e-3"])
    settings = I3DSettings(checkpoint="i3d_pretrained_400")
    pretrained = with_weights(lambda: I3D(epsilon=EPSILON[settings.checkpoint]), weights, source="made")
    with torch.inference_mode():  # the golden stem is of this family
        close(pretrained.Conv3d_1a_7x7(video).mean((2, 3, 4)), arrays[f"{case}.stem_mean"])
    extractor = I3DExtractor(pretrained, weights_sha256="x", settings=settings, device="cpu")
    (found,) = extractor([clip])
    assert not isinstance(found, Refused)
    close(found["logits"][None], arrays[f"{case}.logits_mean_eps1e-5"])


def test_the_epsilon_is_part_of_the_extractor(shared: Path, weights: dict[str, torch.Tensor]) -> None:
    """The trap: the same weights under the other family's epsilon move the logits by about a hundredth."""
    arrays, _ = golden(shared, "i3d_a")
    clip = DecodedMedia(frames=arrays["tall10.frames"], fps=16)
    logits, identities = [], []
    for checkpoint in ("i3d_pretrained_400", "rgb_imagenet"):
        model = with_weights(lambda c=checkpoint: I3D(epsilon=EPSILON[c]), weights, source="made")
        settings = I3DSettings(checkpoint=checkpoint)
        extractor = I3DExtractor(model, weights_sha256="x", settings=settings, device="cpu")
        (found,) = extractor([clip])
        assert not isinstance(found, Refused)
        logits.append(found["logits"])
        identities.append(extractor.identity)
    moved = np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max()
    assert 1e-3 < moved < 0.1 and identities[0] != identities[1]
    (short,) = extractor([DecodedMedia(frames=clip.video[:9], fps=16)])
    assert isinstance(short, Refused) and "9 frames" in short.reason


class Scripted(nn.Module):
    """What StyleGAN-V's file takes and gives; its numbers tell what it was given."""

    def forward(
        self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False
    ) -> Tensor:
        if rescale or resize or not return_features:
            raise ValueError("pixels are prepared outside, and features are wanted")
        return torch.cat([x.flatten(1)[:, :399], x.mean([1, 2, 3, 4])[:, None]], dim=1)


def script_at(folder: Path, sha256: str = "") -> I3DExtractor:
    settings = I3DSettings(checkpoint="i3d_torchscript", script_sha256=sha256)
    return Backbones(BackboneConfig(folder=folder, i3d=settings)).extractor("i3d")  # type: ignore[return-value]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_i3d_is_run_as_it_is_once_its_hash_is_named(tmp_path: Path) -> None:
    file = tmp_path / "i3d_torchscript.pt"
    with pytest.raises(MissingWeightsError, match=r"i3d_torchscript\.pt: .*put it there as it is"):
        script_at(tmp_path)
    torch.jit.script(Scripted()).save(str(file))
    sha256 = file_sha256(file)
    for named in ("", "0" * 64):
        with pytest.raises(UserError, match=rf"carries code .*set i3d\.script_sha256 to {sha256}"):
            script_at(tmp_path, named)
    extractor = script_at(tmp_path, sha256)
    frames = np.random.default_rng(0).integers(0, 256, (10, 30, 40, 3), dtype=np.uint8)
    found, short = extractor([DecodedMedia(frames=frames, fps=16), DecodedMedia(frames=frames[:9], fps=16)])
    assert not isinstance(found, Refused) and isinstance(short, Refused)
    video = preprocess(frames)
    close(found["logits"][:399], video.flatten()[:399].numpy(), tolerance=1e-6)
    assert found["logits"][399] == pytest.approx(float(video.mean()), abs=1e-5)
    assert extractor.identity["weights_sha256"] == sha256 and "script_sha256" not in extractor.identity
    file.write_bytes(b"no script")
    with pytest.raises(UserError, match="no TorchScript file"):
        script_at(tmp_path, file_sha256(file))
    torch.jit.script(nn.Identity()).save(str(file))
    with pytest.raises(UserError, match=r"its code failed.*is it StyleGAN-V's file"):
        script_at(tmp_path, file_sha256(file))([DecodedMedia(frames=frames, fps=16)])
