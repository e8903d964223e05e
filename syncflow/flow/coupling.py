"""Mini-batch optimal transport: which noise meets which data (Section 3.1).

The noise is permuted, never the data, so that every sample of the batch is used once. Row and column
norms of the squared distances are the same for every permutation, which leaves -X0 X1^T as the cost.
One permutation moves the noise of both modalities, so a pair that was drawn stays a pair.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from syncflow.flow.config import CouplingConfig
from syncflow.records import AVLatents


@dataclass(frozen=True, kw_only=True)
class Assignment:
    permutation: Tensor  # int64 b: data i takes the drawn noise [permutation[i]]
    gain: float  # share of the mean squared distance saved, 0 for none; log it


def assign(distance: Tensor, *, config: CouplingConfig, conditions: Tensor | None = None) -> Assignment:
    """The cheapest one-to-one assignment under `distance` (b b, noise i to data j, on the CPU).

    Args:
        conditions: embedded prompts, for `c2ot`.
    """
    cost = distance
    if config.method == "c2ot":
        assert conditions is not None, "c2ot needs the conditions of the batch"
        apart = condition_distances(conditions)
        cost = distance + condition_weight(distance, apart, target_ratio=config.target_ratio) * apart
    # rows are data: the assignment's columns say which noise each data sample takes
    _, columns = linear_sum_assignment(cost.T.numpy())
    order = torch.from_numpy(columns)
    before, after = distance.diagonal().mean(), distance[order, torch.arange(len(order))].mean()
    return Assignment(permutation=order, gain=float(1 - after / before) if before > 0 else 0.0)


def squared_distances(
    x_0: AVLatents,
    x_1: AVLatents,
    *,
    config: CouplingConfig,
    audio_draws: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Weighted squared distance of noise i to data j, float64; there may be fewer of one than of the other.

    The mean over its `audio_draws` where noise i has several. Products are computed in `dtype`.
    """
    weights = {"video": config.video_weight, "audio": config.audio_weight}
    names = ("video", "audio") if config.score == "both" else (config.score,)
    total = None
    for name in names:
        noise, data = getattr(x_0, name), getattr(x_1, name)
        if noise is None or data is None:
            continue
        data = data.detach().to(dtype).flatten(1)  # j z
        each = noise.detach().to(dtype).flatten(1)  # i k z, i and k together
        draws = audio_draws if name == "audio" else 1
        product = (_mean(each, draws) @ data.T).double()
        norms = _mean(_squared_norm(each), draws)[:, None] + _squared_norm(data)[None]
        part = weights[name] * (norms - 2 * product).clamp(min=0)
        total = part if total is None else total + part
    assert total is not None, f"coupling.score {config.score} needs a modality that is absent: {x_1}"
    return total


def _mean(rows: Tensor, draws: int) -> Tensor:
    """Mean over every `draws` rows; no copy of rows that are the only ones."""
    return rows if draws == 1 else rows.unflatten(0, (-1, draws)).mean(1)


def _squared_norm(rows: Tensor) -> Tensor:
    """Of each row, float64; the squares themselves are never written to memory."""
    return torch.linalg.vector_norm(rows, dim=1).double().square()


def condition_distances(conditions: Tensor) -> Tensor:
    """Cosine distance between the conditions `b k` of a batch, `b b`, float64; exactly 0 for equal ones."""
    flat = conditions.detach().double().cpu()
    unit = torch.nn.functional.normalize(flat, dim=1)
    distance = (1 - unit @ unit.T).clamp(min=0)
    equal = (flat[:, None] == flat[None]).all(-1)
    return distance.masked_fill(equal, 0.0)


def condition_weight(distance: Tensor, apart: Tensor, *, target_ratio: float) -> float:
    """Weight w of the condition term that leaves a share `target_ratio` of exchanges worth while.

    After the rule of arXiv 2503.10636: an exchange of the drawn noise j for noise i is worth while
    when distance_ij + w apart_ij < distance_jj. Each pair of unlike conditions stops being so at
    w_ij = (distance_jj - distance_ij) / apart_ij, so the weight is a quantile of these. Noise is
    thought of as drawn with the condition of the data it came with; so transport within a condition
    stays free, and across conditions it is rare, which is what keeps the prior unbiased.

    Args:
        distance: squared distances of noise and data, `b b`.
        apart: distances of the prompts, `b b`.
    """
    unlike = apart > 0
    if not bool(unlike.any()):
        return 0.0
    saved = distance.diagonal()[None] - distance
    critical = (saved[unlike] / apart[unlike]).sort(descending=True).values
    allowed = int(target_ratio * critical.numel())
    return max(0.0, float(critical[allowed]))


def pooled_conditions(tokens: Tensor, mask: Tensor) -> Tensor:
    """Mean of the valid tokens (`b l e` under the mask `b l`): `b e`, the conditions for `c2ot`."""
    weights = mask.float()
    return torch.einsum("ble,bl->be", tokens.float(), weights) / weights.sum(1, keepdim=True).clamp(min=1)
