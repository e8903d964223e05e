"""I3D: the originals' pixels and logits, its epsilon, and too few frames refused."""

from pathlib import Path

import numpy as np
import pytest
import torch

from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.extractors.i3d import EPSILON, I3D, I3DExtractor, I3DSettings, preprocess
from syncflow.evaluation.extractors.weight_files import with_weights
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
