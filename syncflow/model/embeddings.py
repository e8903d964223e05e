"""What enters the towers: scalars, patches with their positions, and text."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from syncflow.errors import UserError
from syncflow.model.attention import FeedForward

FREQUENCIES = 128  # of a scalar's sinusoid


def sinusoid(values: Tensor, frequencies: Tensor) -> tuple[Tensor, Tensor]:
    """Sine and cosine, float32, of each value (`n`) times each frequency (`k`): two of `n k`."""
    angles = values.float()[:, None] * frequencies
    return angles.sin(), angles.cos()


def timestep(t: Tensor) -> Tensor:
    """Flow time as the number that the towers embed: Open-Sora's, 1000 at noise and 0 at data."""
    return 1000.0 * (1 - t.to(torch.promote_types(t.dtype, torch.float32)))


def _geometric(count: int, device: torch.device) -> Tensor:
    return torch.exp(torch.arange(count, device=device, dtype=torch.float32) * (-math.log(10_000.0) / count))


class ScalarEmbedding(nn.Module):
    """A number a sample (`b`) -> `b e`: its sinusoid in float32, then linear, SiLU, linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.expand = nn.Linear(2 * FREQUENCIES, width)
        self.contract = nn.Linear(width, width)

    def forward(self, values: Tensor) -> Tensor:
        sin, cos = sinusoid(values, _geometric(FREQUENCIES, values.device))
        features = torch.cat((cos, sin), dim=-1).to(self.expand.weight.dtype)
        return self.contract(F.silu(self.expand(features)))


def patch_positions(rows: int, columns: int, width: int, *, scale: float, device: torch.device) -> Tensor:
    """Fixed 2-D positions of a grid of patches, float32 `(rows columns) width`.

    The grid is stretched to a square of side `round(sqrt(rows * columns))` and divided by `scale`
    (the frame's side in pixels over the size that positions were learned at), so that other
    resolutions and aspects see the range of positions that the weights know. The column's sines
    and cosines come first, then the row's.
    """
    side = round(math.sqrt(rows * columns))
    frequencies = _geometric(width // 4, device)
    axes = [
        torch.cat(sinusoid(torch.arange(count, device=device) / scale * (side / count), frequencies), dim=-1)
        for count in (rows, columns)
    ]
    row = axes[0][:, None].expand(rows, columns, -1)
    column = axes[1][None].expand(rows, columns, -1)
    return torch.cat((column, row), dim=-1).flatten(0, 1)


class TextEmbedding(nn.Module):
    """The text encoder's tokens -> `b l e`; the null prompt stands in for dropped prompts.

    `null_prompt` is a buffer of random numbers in the text encoder's space, as in Open-Sora: what is
    learned is how the towers read it. It takes a prompt's place under that prompt's own mask.
    """

    null_prompt: Tensor

    def __init__(self, text_dim: int, width: int, *, max_tokens: int) -> None:
        super().__init__()
        self.register_buffer("null_prompt", torch.zeros(max_tokens, text_dim))
        self.project = FeedForward(text_dim, hidden=width, out=width)

    def forward(self, tokens: Tensor, dropped: Tensor) -> Tensor:
        """`tokens` `b l e` and `dropped` bool `b`.

        Raises:
            UserError: a prompt longer than the null prompt, or tokens of another width.
        """
        length, text_dim = self.null_prompt.shape
        if tokens.shape[1] > length or tokens.shape[2] != text_dim:
            raise UserError(
                f"text tokens {list(tokens.shape)}: expected at most {length} tokens of width {text_dim}; "
                "encode with the model's text encoder, truncated to max_text_tokens"
            )
        tokens = tokens.to(self.null_prompt.dtype)
        tokens = torch.where(dropped[:, None, None], self.null_prompt[: tokens.shape[1]], tokens)
        return self.project(tokens)


def patchify(latents: Tensor, patch_size: tuple[int, int, int]) -> Tensor:
    """`b c t h w` -> `b t' h' w' (c pt ph pw)`; zeros on the far sides make up whole patches."""
    sizes = list(zip(latents.shape[2:], patch_size, strict=True))
    padding = [(-size) % patch for size, patch in sizes]
    if any(padding):
        latents = F.pad(latents, (0, padding[2], 0, padding[1], 0, padding[0]))
    b, c = latents.shape[:2]
    split = [part for size, patch in sizes for part in (-(-size // patch), patch)]
    return latents.reshape(b, c, *split).permute(0, 2, 4, 6, 1, 3, 5, 7).flatten(4)


def unpatchify(patches: Tensor, patch_size: tuple[int, int, int], size: tuple[int, int, int]) -> Tensor:
    """`b t' h' w' (pt ph pw c)` -> `b c t h w`, cut to `size`. (Not `patchify`'s order of channels.)

    Args:
        patches: one row a token.
    """
    b, t, h, w = patches.shape[:4]
    split = patches.unflatten(-1, (*patch_size, -1)).permute(0, 7, 1, 4, 2, 5, 3, 6)
    whole = split.reshape(b, -1, t * patch_size[0], h * patch_size[1], w * patch_size[2])
    return whole[:, :, : size[0], : size[1], : size[2]]
