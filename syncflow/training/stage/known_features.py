"""Features of finished videos, each computed once: what a frozen tower gives does not change.

Where every video is finished (`flow.time.clean_video` 1) and a window keeps its latents, the features depend
on the window, its prompt and whether that is dropped, and on nothing that is drawn in a step.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from syncflow.records import LatentBatch, TextBatch
from syncflow.training.stage.transfer import padded

GIB = 1 << 30
Key = tuple[int, bool]  # the window, and whether its prompt is dropped
See = Callable[[Tensor, TextBatch], tuple[Tensor, ...]]


class KnownFeatures:
    """Features that were computed before, in the memory of the device that trains.

    A window's are computed alone and with a prompt padded by its own length, so that they are the same
    whatever shares its batch, and a run that goes on has those of an unbroken one.

    Args:
        see: a tower's features of video latents `b c t h w` under prompts, one `b t p e` a layer.
        longest: tokens of the longest prompt.
        gb: memory, GiB; when it is full, the windows that are not in it are computed each time.
    """

    def __init__(self, see: See, *, longest: int, gb: float) -> None:
        self.see, self.longest = see, longest
        self.free = int(gb * GIB)  # bytes
        self.computed = 0  # windows, each time counted
        self.kept: dict[Key, Tensor] = {}  # layers t p e

    def __call__(self, latents: Tensor, text: TextBatch, *, batch: LatentBatch) -> tuple[Tensor, ...]:
        """One `b t p e` a layer.

        Args:
            latents: finished videos, on the device that trains.
            text: their prompts, there too.
            batch: the same samples on the CPU, where what they are is read without waiting.
        """
        assert batch.window is not None, "samples of a dataset"
        keys = list(zip(batch.window.tolist(), batch.text.dropped.tolist(), strict=True))
        lengths = batch.text.mask.sum(1).tolist()
        found = [
            self.kept[key] if key in self.kept else self._compute(key, latents, text, row, length)
            for row, (key, length) in enumerate(zip(keys, lengths, strict=True))
        ]
        return torch.stack(found, 1).unbind(0)

    def _compute(self, key: Key, latents: Tensor, text: TextBatch, row: int, length: int) -> Tensor:
        one, until = slice(row, row + 1), slice(max(1, length))
        alone = TextBatch(
            tokens=text.tokens[one, until], mask=text.mask[one, until], dropped=text.dropped[one]
        )
        layers = self.see(latents[one], padded(alone, longest=self.longest))
        made = torch.stack([layer[0] for layer in layers])
        self.computed += 1
        if made.nbytes <= self.free:
            self.free -= made.nbytes
            self.kept[key] = made
        return made
