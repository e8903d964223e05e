"""The whitening of the video tower's features, measured once, before stage audio's first step.

The features of a trained tower have much in common: half of their energy is the same for every clip and
frame, and most of the rest tells clips apart rather than the moments of one. Gradient descent is slow to find
in them what says when a thing happens; in whitened features it is as large as anything else.

    <output>/audio/whitening.safetensors     what was measured; a resumed run takes it from here
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from syncflow.errors import UserError
from syncflow.files import replacing
from syncflow.model.adaptor import AttentionAdaptor, Whitening
from syncflow.model.dual_dit import DualDiT
from syncflow.records import LatentBatch
from syncflow.training.distributed import barrier, rank
from syncflow.training.stage.objective import FlowObjective

FILE = "whitening.safetensors"


def whiten(objective: FlowObjective, batches: Iterable[LatentBatch], *, folder: Path, resumed: bool) -> None:
    """Set the whitening of every adaptor: measured on `batches`, or as the run's beginning left it.

    The first worker measures, and all read its file. Collective.

    Raises:
        UserError: a resumed run without its file.
    """
    path = folder / FILE
    if rank() == 0 and not resumed:
        with replacing(path) as temporary:
            save_file(measure(objective, batches), temporary)
    barrier()
    if not path.is_file():
        raise UserError(f"{path}: missing, though the run has states; put it back, or remove {folder}")
    load_whitening(objective.model, folder)


def load_whitening(model: DualDiT, folder: Path) -> None:
    """Set the whitening of every adaptor to what lies in the stage's folder."""
    found = load_file(folder / FILE)
    for number, adaptor in enumerate(model.adaptors):
        assert isinstance(adaptor, AttentionAdaptor)
        adaptor.whiten.load_state_dict(
            {name: found[f"{number}.{name}"] for name in adaptor.whiten.state_dict()}
        )


@torch.no_grad()
def measure(objective: FlowObjective, batches: Iterable[LatentBatch]) -> dict[str, Tensor]:
    """State of each adaptor's whitening, `<layer>.<name>`, from frames noised as in training."""
    count, sums, products = 0, [], []
    for batch in batches:
        layers = [layer.flatten(0, 2).double() for layer in objective.features(batch)]  # n e
        count += len(layers[0])
        sums = _added(sums, [layer.sum(0) for layer in layers])
        products = _added(products, [layer.mT @ layer for layer in layers])
    return {
        f"{number}.{name}": tensor.cpu()
        for number, (total, product) in enumerate(zip(sums, products, strict=True))
        for name, tensor in Whitening.of(total / count, product / count).state_dict().items()
    }


def _added(sums: list[Tensor], more: list[Tensor]) -> list[Tensor]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else more
