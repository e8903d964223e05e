"""Distances between two sets of features: Frechet, and two kernel distances; with bootstrap draws.

Features are `clip feature`, any float type; everything is computed in float64. A Frechet distance is biased
upward by few clips (its floor is printed beside it); the kernel distances are not.
"""

from collections.abc import Callable, Iterator

import numpy as np

BLOCK = 512  # rows of a kernel matrix that are in memory at once
BANDWIDTH_CLIPS = 4000  # reference clips of which the bandwidth's median is taken
KERNEL_SCALE = 1000.0  # of the Gaussian kernel distance, as it is reported


def frechet_distance(reference: np.ndarray, generated: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 sqrt(S1 S2)) with covariances over N - 1.

    The trace of sqrt(S1 S2) is the sum of the singular values of A1 A2^T, where S = A^T A: exact also where
    there are fewer clips than features, and without a matrix square root.

    Raises:
        ValueError: fewer than two clips, other widths, or a number that is not finite.
    """
    _check(reference, generated)
    first, second = _centred(reference), _centred(generated)
    shift = reference.astype(np.float64).mean(0) - generated.astype(np.float64).mean(0)
    cross = np.linalg.svd(_factor(first) @ _factor(second).T, compute_uv=False).sum()
    return float(shift @ shift + np.square(first).sum() + np.square(second).sum() - 2.0 * cross)


def polynomial_kernel_distance(reference: np.ndarray, generated: np.ndarray) -> float:
    """Unbiased MMD^2 with k(x, y) = (x.y / d + 1)^3 on raw features: the KVD of other projects."""
    return float(_mmd(reference, generated, _polynomial, None)[0])


def gaussian_kernel_distance(
    reference: np.ndarray, generated: np.ndarray, *, weights: tuple[np.ndarray, np.ndarray] | None = None
) -> np.ndarray:
    """1000 x unbiased MMD^2 with k = exp(-|x - y|^2 / (2 s^2)), s^2 the reference's median squared distance.

    Args:
        weights: how often each reference and each generated clip was drawn, `draw clip` each; a clip is
            never paired with itself, so that drawing with replacement adds no bias.

    Returns:
        The distance of the sets as they are, then one a draw: `1 + draw`.
    """
    _check(reference, generated)
    variance = median_squared_distance(reference)

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.exp(-_squared_distances(x, y) / (2.0 * variance))

    return KERNEL_SCALE * _mmd(reference, generated, kernel, weights)


def median_squared_distance(features: np.ndarray) -> float:
    """Median of |x - y|^2 over pairs of different clips; of evenly spread clips where there are many."""
    chosen = features[:: max(1, -(-len(features) // BANDWIDTH_CLIPS))].astype(np.float64)
    distances = _squared_distances(chosen, chosen)[np.triu_indices(len(chosen), k=1)]
    return float(max(np.median(distances), np.finfo(np.float64).tiny))


def _mmd(
    x: np.ndarray,
    y: np.ndarray,
    kernel: Callable[[np.ndarray, np.ndarray], np.ndarray],
    weights: tuple[np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    _check(x, y)
    x, y = x.astype(np.float64), y.astype(np.float64)
    drawn = weights or (np.zeros((0, len(x))), np.zeros((0, len(y))))
    u = np.vstack([np.ones((1, len(x))), drawn[0]])  # draw clip
    v = np.vstack([np.ones((1, len(y))), drawn[1]])
    with np.errstate(invalid="ignore"):  # a draw that holds one clip only has no pairs: NaN
        return _mmd_of_draws(x, y, u, v, kernel)


def _mmd_of_draws(
    x: np.ndarray,
    y: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    kernel: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> np.ndarray:
    within_x = _weighted_sum(x, x, u, u, kernel, same=True) / (u.sum(1) ** 2 - np.square(u).sum(1))
    within_y = _weighted_sum(y, y, v, v, kernel, same=True) / (v.sum(1) ** 2 - np.square(v).sum(1))
    across = _weighted_sum(x, y, u, v, kernel, same=False) / (u.sum(1) * v.sum(1))
    return within_x + within_y - 2.0 * across


def _weighted_sum(
    x: np.ndarray,
    y: np.ndarray,
    u: np.ndarray,
    v: np.ndarray,
    kernel: Callable[[np.ndarray, np.ndarray], np.ndarray],
    *,
    same: bool,
) -> np.ndarray:
    """Sum over i, j of u_i k(x_i, y_j) v_j for each draw, without i = j where x is y; in blocks of rows."""
    total = np.zeros(len(u))
    for rows in _blocks(len(x)):
        values = kernel(x[rows], y)
        if same:
            values[np.arange(rows.stop - rows.start), np.arange(rows.start, rows.stop)] = 0.0
        total += np.einsum("bi,ib->b", u[:, rows], values @ v.T)
    return total


def _blocks(length: int) -> Iterator[slice]:
    for start in range(0, length, BLOCK):
        yield slice(start, min(start + BLOCK, length))


def _polynomial(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def _squared_distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.square(x).sum(1)[:, None] + np.square(y).sum(1)[None] - 2.0 * (x @ y.T), 0.0)


def _centred(features: np.ndarray) -> np.ndarray:
    wide = features.astype(np.float64)
    return (wide - wide.mean(0)) / np.sqrt(len(wide) - 1)


def _factor(matrix: np.ndarray) -> np.ndarray:
    """A matrix of at most `features` rows with the same A^T A."""
    if matrix.shape[0] <= matrix.shape[1]:
        return matrix
    return np.asarray(np.linalg.qr(matrix, mode="r"))


def _check(reference: np.ndarray, generated: np.ndarray) -> None:
    for name, features in (("reference", reference), ("generated", generated)):
        if features.ndim != 2 or len(features) < 2:
            raise ValueError(f"{name} features: expected at least 2 clips x features, got {features.shape}")
        if not np.isfinite(features).all():
            raise ValueError(f"{name} features: not finite")
    if reference.shape[1] != generated.shape[1]:
        raise ValueError(
            f"features: {reference.shape[1]} numbers a reference clip, {generated.shape[1]} a generated one"
        )
