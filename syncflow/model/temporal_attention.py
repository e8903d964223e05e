"""Attention of many short sequences that lie side by side: each patch over the frames of a clip.

A clip has 9 latent frames, and a GPU's attention kernels compute in tiles of 128 rows. So several patches
share a tile there: one sequence, in which a mask keeps each patch to itself.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from syncflow.model.short_attention import attend

TILE = 128  # rows of queries that GPU kernels take at a time
LONGEST = 16  # positions that the kernel of ours takes (`temporal_kernel.py`)


def attend_over_time(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention along `n` of `b n g h d`, the `g` sequences and the heads each for themselves; as long."""
    if query.device.type == "cuda":
        group = group_size(query.shape[1], query.shape[2])
        if group > 1:
            return grouped(query, key, value, group=group)
    return plain(query, key, value)


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The `g` sequences join the heads, so that queries and keys need no transposed copy."""
    g = query.shape[2]
    q, k, v = (each.flatten(2, 3).transpose(1, 2) for each in (query, key, value))  # b (g h) n d
    mixed = attend(q, k, v)
    return mixed.transpose(1, 2).unflatten(2, (g, -1))


def grouped(query: Tensor, key: Tensor, value: Tensor, *, group: int | None = None) -> Tensor:
    """As `plain`; `group` of the sequences (a divisor of `g`) share a tile under a mask."""
    n, g = query.shape[1:3]
    group = group_size(n, g) if group is None else group
    together = (
        each.unflatten(2, (-1, group)).permute(0, 2, 4, 3, 1, 5).flatten(0, 1).flatten(2, 3)
        for each in (query, key, value)
    )  # (b s) h (group n) d
    mask = _block_mask if torch.compiler.is_compiling() else _cached_block_mask
    mixed = F.scaled_dot_product_attention(*together, attn_mask=mask(group, n, query.device))
    apart = mixed.unflatten(2, (group, n)).unflatten(0, (-1, g // group))  # b s h group n d
    return apart.permute(0, 4, 1, 3, 2, 5).flatten(2, 3)


def group_size(n: int, g: int) -> int:
    """How many of `g` sequences of length `n` share a tile: the most that fit and divide `g`."""
    for size in range(TILE // n, 1, -1):
        if g % size == 0:
            return size
    return 1


def _block_mask(group: int, n: int, device: torch.device) -> Tensor:
    """Who may attend to whom, bool `(group n) (group n)`."""
    owner = torch.arange(group, device=device).repeat_interleave(n, output_size=group * n)
    return owner[:, None] == owner


_cached_block_mask = lru_cache(maxsize=16)(_block_mask)
