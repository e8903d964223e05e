"""Distances, divergences, scores and intervals: golden values of other projects' code, and their laws."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torchmetrics.image.fid import FrechetInceptionDistance

from syncflow.evaluation.metrics.classes import inception_score, kl_divergence
from syncflow.evaluation.metrics.distances import (
    frechet_distance,
    gaussian_kernel_distance,
    median_squared_distance,
    polynomial_kernel_distance,
)
from syncflow.evaluation.metrics.interval import (
    centred_interval,
    draw_counts,
    mean_interval,
    resampled_distance,
)
from syncflow.evaluation.metrics.similarity import avh_score, cosine, javis_score

Golden = tuple[dict[str, np.ndarray], dict[str, Any]]


def read(folder: Path) -> Golden:
    return load_file(folder / "io.safetensors"), json.loads((folder / "values.json").read_text())


@pytest.fixture(scope="module")
def golden(golden_files: Path) -> Golden:
    """Two pairs of sets."""
    return read(golden_files / "frechet_a")


@pytest.fixture(scope="module")
def all_golden(shared: Path) -> Golden:
    """Those and another pair, and class probabilities, which are too large for the checkout."""
    return read(shared / "golden" / "frechet_a")


@pytest.mark.parametrize(("case", "files"), [("well", "golden"), ("few", "golden"), ("relu", "all_golden")])
def test_frechet_and_polynomial_kernel_equal_the_other_codes(
    case: str, files: str, request: pytest.FixtureRequest
) -> None:
    arrays, values = request.getfixturevalue(files)
    sets = arrays[f"{case}.reference"], arrays[f"{case}.generated"]
    relative = 2e-8 if case == "few" else 1e-10  # their matrix roots differ by as much among themselves
    for code in ("frechet_audio_distance", "av_benchmark_fd", "stylegan_v_fvd", "videogpt_fvd"):
        assert frechet_distance(*sets) == pytest.approx(values[case][code], rel=relative)
    assert polynomial_kernel_distance(*sets) == pytest.approx(values[case]["mm_diffusion_kvd"], rel=1e-5)


def test_a_set_is_at_no_frechet_distance_from_itself(golden: Golden) -> None:
    arrays, _ = golden
    same = arrays["well.reference"]
    assert abs(frechet_distance(same, same)) < 1e-9


def test_kl_of_pairs_equals_the_other_codes(all_golden: Golden) -> None:
    arrays, values = all_golden
    pair = arrays["kl.logits_target"], arrays["kl.logits_generated"]
    theirs = values["kl"]
    exact, padded = kl_divergence(*pair).mean(), kl_divergence(*pair, epsilon=1e-6).mean()
    assert exact == pytest.approx(theirs["av_benchmark"]["kl_softmax"], rel=1e-5)
    assert padded == pytest.approx(theirs["audioldm_eval"]["kullback_leibler_divergence_softmax"], rel=1e-5)
    back = kl_divergence(*pair, epsilon=1e-6, direction="generated_from_target").mean()
    assert back == pytest.approx(theirs["audiocraft_kld_qp"], rel=1e-5)


def test_inception_score_equals_the_other_code(all_golden: Golden) -> None:
    arrays, values = all_golden
    mean, deviation = inception_score(arrays["kl.logits_generated"])
    assert mean == pytest.approx(values["inception_score"]["inception_score_mean"], rel=1e-6)
    assert deviation == pytest.approx(values["inception_score"]["inception_score_std"], rel=1e-5)


def test_frechet_equals_torchmetrics_streaming_one() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(60, 12)), generator.normal(0.5, 2.0, size=(50, 12))

    class Features(torch.nn.Module):
        num_features = 12

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features

    theirs = FrechetInceptionDistance(feature=Features(), normalize=True, input_img_size=(1, 1, 1))
    theirs.set_dtype(torch.float64)
    for features, real in ((first, True), (second, False)):
        for part in np.array_split(features, 3):
            theirs.update(torch.from_numpy(part), real=real)
    assert frechet_distance(first, second) == pytest.approx(float(theirs.compute()), rel=1e-6)


def test_frechet_of_two_gaussians_is_the_closed_form() -> None:
    """Of features that are independent: squared difference of means, plus that of deviations."""
    generator = np.random.default_rng(1)
    features = generator.normal(size=(400, 3))
    features = np.linalg.qr(features - features.mean(0))[0] * np.sqrt(399)  # unit covariance exactly
    moved = features * [1.0, 2.0, 3.0] + [1.0, 0.0, -2.0]
    assert frechet_distance(features, moved) == pytest.approx(5.0 + 0 + 1 + 4, rel=1e-9)


def slow_mmd(x: np.ndarray, y: np.ndarray, variance: float) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-np.square(a - b).sum() / (2 * variance)))

    xx = np.mean([k(a, b) for i, a in enumerate(x) for j, b in enumerate(x) if i != j])
    yy = np.mean([k(a, b) for i, a in enumerate(y) for j, b in enumerate(y) if i != j])
    return float(1000 * (xx + yy - 2 * np.mean([k(a, b) for a in x for b in y])))


def test_gaussian_kernel_distance_is_its_definition_and_draws_are_of_the_drawn_clips(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("syncflow.evaluation.metrics.distances.BLOCK", 4)
    generator = np.random.default_rng(2)
    x, y = generator.normal(size=(11, 3)), generator.normal(1.0, size=(9, 3))
    variance = median_squared_distance(x)
    keep_x, keep_y = np.ones((1, 11)), np.ones((1, 9))
    keep_x[0, :3] = keep_y[0, 5:] = 0
    values = gaussian_kernel_distance(x, y, weights=(keep_x, keep_y))
    assert values[0] == pytest.approx(slow_mmd(x, y, variance))
    assert values[1] == pytest.approx(slow_mmd(x[3:], y[:5], variance))


def test_kernel_distance_of_one_distribution_is_about_zero_where_frechet_has_a_floor() -> None:
    generator = np.random.default_rng(3)
    kernel, frechet = [], []
    for _ in range(20):
        x, y = generator.normal(size=(2, 40, 16))
        kernel.append(float(gaussian_kernel_distance(x, y)[0]))
        frechet.append(frechet_distance(x, y))
    assert abs(np.mean(kernel)) < 3 * np.std(kernel) / np.sqrt(20)
    assert min(frechet) > 2.0


@pytest.mark.parametrize("bad", ["one clip", "other width", "not finite"])
def test_features_that_cannot_be_compared_are_refused(bad: str) -> None:
    x, y = np.zeros((4, 3)), np.zeros((4, 3))
    y = {"one clip": y[:1], "other width": np.zeros((4, 2)), "not finite": np.full((4, 3), np.nan)}[bad]
    for distance in (frechet_distance, gaussian_kernel_distance, polynomial_kernel_distance):
        with pytest.raises(ValueError, match="features"):
            distance(x, y)


def test_a_cosine_ignores_lengths() -> None:
    a = np.array([[3.0, 0.0], [1.0, 1.0]])
    assert cosine(a, 20 * a) == pytest.approx([1.0, 1.0])
    assert cosine(a, np.array([[0.0, 1.0], [1.0, -1.0]])) == pytest.approx([0.0, 0.0])


def test_javis_score_is_the_mean_of_the_lowest_two_fifths() -> None:
    audio = np.array([1.0, 0.0])
    angles = np.arccos([0.9, 0.1, 0.5, 0.3, 0.7])
    frames = np.stack([np.cos(angles), np.sin(angles)], 1)
    assert avh_score(frames, audio) == pytest.approx(0.5)
    assert javis_score([(frames, audio), (frames[:1].repeat(5, 0), audio)]) == pytest.approx(
        ((0.1 + 0.3) / 2 + 0.9) / 2
    )
    with pytest.raises(ValueError, match="at least 3"):
        javis_score([(frames[:2], audio)])


def test_an_interval_of_a_mean_covers_it_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    covered = 0
    for trial in range(300):
        estimate = mean_interval(generator.normal(size=40), seed=trial, draws=200)
        covered += estimate.low <= 0.0 <= estimate.high
    assert 0.90 < covered / 300 < 0.98


def test_undefined_clips_are_left_out_of_a_mean() -> None:
    assert mean_interval(np.array([1.0, np.nan, 3.0])).value == 2.0
    assert np.isnan(mean_interval(np.array([np.nan])).value)


def test_a_distances_interval_lies_around_it() -> None:
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(50, 4)), generator.normal(1.0, size=(50, 4))
    value = frechet_distance(x, y)
    estimate = centred_interval(value, resampled_distance(frechet_distance, x, y, seed=0, draws=100))
    assert estimate.low < value < estimate.high
    assert (draw_counts(50, draws=7, seed=0).sum(1) == 50).all()
