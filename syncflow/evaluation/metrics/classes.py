"""Metrics of class logits `clip class`: KL divergence of pairs, inception score of a set."""

from typing import Literal

import numpy as np
from scipy import special

Activation = Literal["softmax", "sigmoid"]
Direction = Literal["target_from_generated", "generated_from_target"]

SPLITS = 10  # of the inception score
SPLIT_SEED = 2020


def kl_divergence(
    target: np.ndarray,
    generated: np.ndarray,
    *,
    activation: Activation = "softmax",
    direction: Direction = "target_from_generated",
    epsilon: float = 0.0,
) -> np.ndarray:
    """KL divergence of each pair of clips, summed over classes: `clip`, nats.

    Args:
        target: logits of the reference clips `clip class`.
        generated: logits of the generated clips, in the same order.
        activation: how logits become probabilities; `sigmoid` sums over independent labels.
        direction: `target_from_generated` is KL(target || generated), which papers report.
        epsilon: added to both probabilities inside the logarithm; AudioLDM's and audiocraft's code add
            1e-6, which lowers the result by about 0.3 %.

    Raises:
        ValueError: the shapes differ.
    """
    if target.shape != generated.shape or target.ndim != 2:
        raise ValueError(f"logits: expected two equal `clip class`, got {target.shape} and {generated.shape}")
    first, second = (target, generated) if direction == "target_from_generated" else (generated, target)
    p, log_p = _probabilities(first, activation)
    q, log_q = _probabilities(second, activation)
    if epsilon:
        log_p, log_q = np.log(p + epsilon), np.log(q + epsilon)
        return np.asarray((special.xlogy(p, p) - p * log_q).sum(1))
    return np.asarray((p * (log_p - log_q)).sum(1))


def inception_score(logits: np.ndarray, *, splits: int = SPLITS) -> tuple[float, float]:
    """exp(mean KL(p(class | clip) || p(class))): mean and deviation over `splits` parts of the set.

    Raises:
        ValueError: fewer clips than parts.
    """
    if len(logits) < splits:
        raise ValueError(f"inception score: {len(logits)} clips are fewer than its {splits} parts")
    order = np.random.RandomState(SPLIT_SEED).permutation(len(logits))
    p, log_p = _probabilities(logits[order], "softmax")
    scores = []
    for part in range(splits):
        rows = slice(part * len(p) // splits, (part + 1) * len(p) // splits)
        divergence = (p[rows] * (log_p[rows] - np.log(p[rows].mean(0, keepdims=True)))).sum(1)
        scores.append(np.exp(divergence.mean()))
    return float(np.mean(scores)), float(np.std(scores))


def _probabilities(logits: np.ndarray, activation: Activation) -> tuple[np.ndarray, np.ndarray]:
    wide = logits.astype(np.float64)
    if activation == "softmax":
        return special.softmax(wide, axis=1), special.log_softmax(wide, axis=1)
    return special.expit(wide), special.log_expit(wide)
