"""Mean squared error between velocities (equation 1), kept per sample so that it can be logged by time."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from syncflow.flow.config import LossConfig
from syncflow.records import AVLatents

Modality = Literal["video", "audio"]


@dataclass(frozen=True, kw_only=True)
class FlowLoss:
    total: Tensor  # scalar, float32: what is minimised
    video: Tensor | None  # b, float32: unweighted, detached; None where not scored
    audio: Tensor | None  # b k, likewise: one a draw of audio noise, those of a sample together


@dataclass(frozen=True, kw_only=True)
class BucketMeans:
    sums: Tensor  # k, float64: of the losses whose time falls in the bucket
    counts: Tensor  # k, float64; add sums and counts over batches and ranks, then divide

    @property
    def means(self) -> Tensor:
        """Mean loss a bucket, `k`; NaN where nothing fell."""
        return self.sums / self.counts


def flow_loss(
    predicted: AVLatents,
    target: AVLatents,
    *,
    scores: Collection[Modality],
    config: LossConfig,
    video_shares: Tensor | None = None,
) -> FlowLoss:
    """The loss of predicted velocities against x_1 - x_0, over the modalities that a stage `scores`.

    Each modality's error is the mean over its elements, in float32 whatever the dtype of the model,
    and the total is the weighted sum of the batch means. `video_shares` (b) says how much each sample's
    video counts in its mean, 1 for all without it.
    """
    assert scores, "a stage scores at least one modality"

    def error(name: Modality) -> Tensor | None:
        if name not in scores:
            return None
        ours, theirs = getattr(predicted, name), getattr(target, name)
        assert ours is not None and theirs is not None, f"{name} is scored but absent: {predicted}, {target}"
        assert ours.shape == theirs.shape, f"{name}: {list(ours.shape)} against {list(theirs.shape)}"
        return (ours.float() - theirs.float()).square().flatten(1).mean(1)

    video, audio = error("video"), error("audio")
    counted = video if video is None or video_shares is None else video * video_shares
    weighted = [(config.video_weight, counted), (config.audio_weight, audio)]
    total = torch.stack([weight * part.mean() for weight, part in weighted if part is not None]).sum()
    return FlowLoss(
        total=total,
        video=None if video is None else video.detach(),
        audio=None if audio is None else audio.detach(),
    )


def bucket_means(losses: Tensor, t: Tensor, *, buckets: int, counted: Tensor | None = None) -> BucketMeans:
    """Losses `b` gathered by their times `t` (b) into equal parts of [0, 1].

    `counted` (bool b) leaves out the others. Nothing here waits for a GPU: no number is looked at.

    Args:
        losses: of each sample, `b`.
        buckets: number of equal parts.
    """
    index = (t.detach().double() * buckets).long().clamp(0, buckets - 1)
    each = losses.detach().double()
    ones = torch.ones_like(each)
    if counted is not None:
        each, ones = (torch.where(counted, values, 0.0) for values in (each, ones))
    sums, counts = each.new_zeros(2, buckets).index_add_(1, index, torch.stack((each, ones)))
    return BucketMeans(sums=sums, counts=counts)
