"""Prompts as the blocks read them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from syncflow.model.attention import KeysValues


class PreparedText(NamedTuple):
    """Embedded prompts and the mask of their valid tokens; independent of flow time."""

    tokens: Tensor  # b l e
    mask: Tensor | None  # bool b 1 1 l; None when every token is valid
    keys_values: tuple[KeysValues, ...] | None = None  # of each block that reads them; None: made each time

    @classmethod
    def of(cls, tokens: Tensor, mask: Tensor, *, dense: bool) -> PreparedText:
        """With `dense`, a mask that hides nothing is left out: attention has faster kernels without one.

        Finding that out waits for the device, so training on one leaves it.
        """
        known = mask.device.type == "cpu" or (dense and mask.device.type != "meta")
        hides = not known or not bool(mask.all())
        return cls(tokens, mask[:, None, None] if hides else None)

    def of_block(self, number: int) -> Tensor | KeysValues:
        """What block `number` of the tower reads, in the order in which they run."""
        return self.tokens if self.keys_values is None else self.keys_values[number]
