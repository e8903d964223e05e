"""The causal 3-D part of Open-Sora v1.2's video VAE: latents of frames to fewer latents in time.

No output looks at a later frame but for the group norms, whose statistics are of the whole chunk.
Rows and columns keep their size. Names of modules are ours; `open_sora_vae.py` knows the foreign ones.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TimePadding = Literal["zeros", "first"]


def pad_start(x: Tensor, frames: int, *, padding: TimePadding) -> Tensor:
    """`b c f h w` with `frames` more before the first one: zeros, or the first one again.

    Args:
        padding: what stands before the first frame.
    """
    if not frames:
        return x
    if padding == "first":
        return torch.cat((x[:, :, :1].expand(-1, -1, frames, -1, -1), x), dim=2)
    return F.pad(x, (0, 0, 0, 0, frames, 0))


class CausalConv3d(nn.Module):
    """Convolution over `b c f h w`, padded at the start in time, and with zeros all round in space.

    `time_padding` is what stands before the first frame; `TemporalVAE` sets it on all of its layers.

    Args:
        time_stride: frames that become one.
        bias: whether the convolution has one.
    """

    time_padding: TimePadding = "zeros"

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel: int, time_stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        side = kernel // 2
        self.past = kernel - time_stride
        self.conv = nn.Conv3d(
            in_channels, out_channels, kernel, stride=(time_stride, 1, 1), padding=(0, side, side), bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(pad_start(x, self.past, padding=self.time_padding))


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, onto a skip that is projected where the width changes."""

    def __init__(self, in_channels: int, out_channels: int, *, groups: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(groups, in_channels)
        self.conv_in = CausalConv3d(in_channels, out_channels, kernel=3, bias=False)
        self.norm_out = nn.GroupNorm(groups, out_channels)
        self.conv_out = CausalConv3d(out_channels, out_channels, kernel=3, bias=False)
        same = in_channels == out_channels
        self.skip = nn.Identity() if same else CausalConv3d(in_channels, out_channels, kernel=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv_in(F.silu(self.norm_in(x)))
        return self.skip(x) + self.conv_out(F.silu(self.norm_out(hidden)))


class HalveFrames(CausalConv3d):
    """`b c f h w -> b c f/2 h w`."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, kernel=3, time_stride=2)


class DoubleFrames(CausalConv3d):
    """`b c f h w -> b c 2f h w`: twice the channels, the pairs of which become neighbouring frames."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 2 * channels, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        pairs = super().forward(x).unflatten(1, (-1, 2))  # b 2c f h w -> b c 2 f h w
        return pairs.transpose(2, 3).flatten(2, 3)  # b c f 2 h w -> b c 2f h w


def _blocks(in_channels: int, out_channels: int, *, count: int, groups: int) -> nn.Sequential:
    widths = [in_channels] + [out_channels] * count
    return nn.Sequential(*(ResidualBlock(before, after, groups=groups) for before, after in pairwise(widths)))


class Level(nn.Module):
    """Residual blocks of one width, then a change of frame rate (or none)."""

    def __init__(self, blocks: nn.Sequential, resample: nn.Module) -> None:
        super().__init__()
        self.blocks = blocks
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        return self.resample(self.blocks(x))


class TemporalEncoder(nn.Module):
    """Frame latents `b c f h w` to features `b c t h w`.

    Args:
        halves: for each level, whether it halves the number of frames.
        res_blocks: residual blocks of a level.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        halves: Sequence[bool],
        res_blocks: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.conv_in = CausalConv3d(in_channels, widths[0], kernel=3, bias=False)
        self.levels = nn.ModuleList()
        for before, width, halve in zip([widths[0], *widths], widths, [*halves, False], strict=False):
            blocks = _blocks(before, width, count=res_blocks, groups=groups)
            self.levels.append(Level(blocks, HalveFrames(width) if halve else nn.Identity()))
        self.mid = _blocks(widths[-1], widths[-1], count=res_blocks, groups=groups)
        self.norm_out = nn.GroupNorm(groups, widths[-1])
        self.conv_out = CausalConv3d(widths[-1], out_channels, kernel=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.levels:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class TemporalDecoder(nn.Module):
    """Latents `b c t h w` to frame latents `b c f h w`; `levels[i]` mirrors the encoder's level i.

    Args:
        doubles: for each level, whether it doubles the number of frames.
        res_blocks: residual blocks of a level.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        out_channels: int,
        widths: Sequence[int],
        doubles: Sequence[bool],
        res_blocks: int,
        groups: int,
    ) -> None:
        super().__init__()
        self.conv_in = CausalConv3d(in_channels, widths[-1], kernel=3)
        self.mid = _blocks(widths[-1], widths[-1], count=res_blocks, groups=groups)
        self.levels = nn.ModuleList()
        for width, before, double in zip(widths, [*widths[1:], widths[-1]], [False, *doubles], strict=False):
            blocks = _blocks(before, width, count=res_blocks, groups=groups)
            self.levels.append(Level(blocks, DoubleFrames(width) if double else nn.Identity()))
        self.norm_out = nn.GroupNorm(groups, widths[0])
        self.conv_out = CausalConv3d(widths[0], out_channels, kernel=3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.levels):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class TemporalVAE(nn.Module):
    """One chunk at a time: `encode` gives means and log-variances along the channels, `decode` frames.

    Args:
        multipliers: width of each level, in multiples of `filters`.
        downsample: for each level, whether it halves the number of frames.
        res_blocks: residual blocks of a level.
    """

    def __init__(
        self,
        *,
        channels: int,
        filters: int,
        multipliers: Sequence[int],
        downsample: Sequence[bool],
        res_blocks: int,
        groups: int,
        time_padding: TimePadding = "zeros",
    ) -> None:
        super().__init__()
        assert len(downsample) == len(multipliers) - 1, (downsample, multipliers)
        widths = [filters * multiplier for multiplier in multipliers]
        self.stride = 2 ** sum(downsample)
        self.encoder = TemporalEncoder(
            in_channels=channels,
            out_channels=2 * channels,
            widths=widths,
            halves=downsample,
            res_blocks=res_blocks,
            groups=groups,
        )
        self.to_moments = CausalConv3d(2 * channels, 2 * channels, kernel=1)
        self.from_latent = CausalConv3d(channels, channels, kernel=1)
        self.decoder = TemporalDecoder(
            in_channels=channels,
            out_channels=channels,
            widths=widths,
            doubles=downsample,
            res_blocks=res_blocks,
            groups=groups,
        )
        self.time_padding: TimePadding = time_padding
        for layer in self.modules():
            if isinstance(layer, CausalConv3d):
                layer.time_padding = time_padding

    def encode(self, frames: Tensor) -> Tensor:
        """`b c f h w -> b 2c t h w`; padding before the first frame makes f a multiple of the stride."""
        lacking = -frames.shape[2] % self.stride
        return self.to_moments(self.encoder(pad_start(frames, lacking, padding=self.time_padding)))

    def decode(self, latents: Tensor, *, num_frames: int) -> Tensor:
        """`b c t h w -> b c f h w` with `num_frames` frames: those that stand for the padding are cut."""
        frames = self.decoder(self.from_latent(latents))
        return frames[:, :, frames.shape[2] - num_frames :]
