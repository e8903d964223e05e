"""The delay pattern: codebook k runs k steps behind the first, so that one step predicts one code of each.

    codes     a0 a1 a2        sequence   . a0 a1 a2  .
              b0 b1 b2                   .  . b0 b1 b2        (. is the special token, `codebook_size`)

(MusicGen, arXiv 2306.05284, Section 2.2.)
"""

import torch
from torch import Tensor


def sequence_length(num_codes: int, num_codebooks: int) -> int:
    """Steps of the sequence of `num_codes` codes, the first step, all special tokens, among them."""
    return num_codes + num_codebooks


def to_sequence(codes: Tensor, *, special: int) -> Tensor:
    """Codes `b k n` to a sequence `b k s` with `s = n + k`, filled up with the token `special`."""
    b, k, n = codes.shape
    sequence = codes.new_full((b, k, sequence_length(n, k)), special)
    for codebook in range(k):
        sequence[:, codebook, 1 + codebook : 1 + codebook + n] = codes[:, codebook]
    return sequence


def from_sequence(sequence: Tensor) -> Tensor:
    """Codes `b k n` of a sequence `b k s`."""
    k = sequence.shape[1]
    n = sequence.shape[2] - k
    return torch.stack([sequence[:, c, 1 + c : 1 + c + n] for c in range(k)], dim=1)


def logits_of_codes(logits: Tensor) -> Tensor:
    """Logits `b k s-1 v` of the steps 1, 2, ... of a sequence to those of the codes, `b k n v`."""
    k = logits.shape[1]
    n = logits.shape[2] + 1 - k
    return torch.stack([logits[:, c, c : c + n] for c in range(k)], dim=1)


def holds_code(step: int, *, num_codes: int, num_codebooks: int) -> Tensor:
    """Which codebooks have a code, and no special token, at a step of the sequence: bool `k`."""
    place = step - 1 - torch.arange(num_codebooks)
    return (place >= 0) & (place < num_codes)
