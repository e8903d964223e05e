"""How batches get to the device that trains on them: through pinned memory, without waiting."""

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from syncflow.flow.latents import map_latents
from syncflow.records import LatentBatch, TextBatch

LENGTHS = (32, 64, 128)  # tokens that prompts are padded to where blocks are compiled


def move(batch: LatentBatch, device: torch.device) -> LatentBatch:
    """The batch on a device, prompts in float32; without waiting, if it lies in pinned memory.

    Its indices stay on the CPU.
    """

    def there(tensor: Tensor) -> Tensor:
        moved = tensor.to(device, non_blocking=True)
        # prompts are stored in float16: half of the bytes travel
        return moved.float() if moved.is_floating_point() else moved

    return _each(there, batch)


def pin(batch: LatentBatch) -> LatentBatch:
    """The batch in pinned memory, from which a GPU takes it while the CPU goes on; as it is without a GPU."""
    return _each(Tensor.pin_memory, batch) if torch.cuda.is_available() else batch


def few_lengths(batch: LatentBatch, *, longest: int) -> LatentBatch:
    """Prompts padded to the next of `LENGTHS`, or to the `longest`, under the mask.

    A block that is compiled for its shapes is then compiled a few times, not for every length that the
    longest prompt of a batch may have.
    """
    return dataclasses.replace(batch, text=padded(batch.text, longest=longest))


def padded(text: TextBatch, *, longest: int) -> TextBatch:
    """Prompts padded to the next of `LENGTHS`, or to the `longest`, under the mask."""
    tokens = text.tokens
    length = next((each for each in (*LENGTHS, longest) if tokens.shape[1] <= each <= longest), longest)
    missing = max(0, length - tokens.shape[1])
    return TextBatch(
        tokens=F.pad(tokens, (0, 0, 0, missing)), mask=F.pad(text.mask, (0, missing)), dropped=text.dropped
    )


def _each(function: Callable[[Tensor], Tensor], batch: LatentBatch) -> LatentBatch:
    latents, text = batch.latents, batch.text
    return dataclasses.replace(
        batch,
        latents=map_latents(function, latents),
        noise=None if batch.noise is None else map_latents(function, batch.noise),
        text=TextBatch(
            tokens=function(text.tokens), mask=function(text.mask), dropped=function(text.dropped)
        ),
    )
