"""What is minimised: the cross-entropy of each code, averaged over codebooks."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from syncflow.foleygen.dataset import CodeBatch
from syncflow.foleygen.delay_pattern import logits_of_codes, to_sequence
from syncflow.foleygen.model import FoleyGen
from syncflow.training.distributed import device
from syncflow.training.finite import Metrics


class CodeObjective(nn.Module):
    """Scalars of a batch: `loss` and the share of codes that are the most probable ones (`accuracy`).

    Evaluation also gives `loss_mismatched`, where each clip is told the frames of another: as long as it
    equals `loss`, the model makes nothing of the frames.
    """

    def __init__(self, model: FoleyGen) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: CodeBatch) -> Metrics:
        where = device()
        codes, features, dropped = batch.codes.to(where), batch.features.to(where), batch.dropped.to(where)
        logits = self._logits(codes, features, dropped)
        metrics = {
            "loss": batch.weight * cross_entropy(logits, codes),
            "accuracy": (logits.argmax(-1) == codes).float().mean(),
        }
        if not self.training and len(codes) > 1:
            other = self._logits(codes, features.roll(1, dims=0), dropped)
            metrics["loss_mismatched"] = batch.weight * cross_entropy(other, codes)
        return metrics

    def _logits(self, codes: Tensor, features: Tensor, dropped: Tensor) -> Tensor:
        """Of the codes: `b k n v`."""
        sequence = to_sequence(codes, special=self.model.special)
        return logits_of_codes(self.model(sequence[:, :, :-1], features, dropped))


def cross_entropy(logits: Tensor, codes: Tensor) -> Tensor:
    """Of logits `b k n v` and codes `b k n`, in nats; every codebook counts the same."""
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(logits.float().flatten(0, 2), codes.flatten())
