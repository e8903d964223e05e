"""First weights of a video VAE that is to be trained from nothing: a linear transform codec.

torch's own weights shrink what depends on the video at each layer, and random ones of the right size mix
it up in 30 of them; both need thousands of steps to learn what a linear transform gives at once. So the
residual branches begin at zero, and what is left, a chain of strided and up-sampling convolutions, is made a
principal-component codec of random images that have the spectrum of natural ones, and of pairs of frames
of random clips. The branches then learn what a linear codec misses. Published weights need none of it.
"""

import math
from itertools import pairwise
from typing import Any

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional as F

from syncflow.autoencoders.temporal_vae import ResidualBlock
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.training.autoencoder.first_weights.linear_path import Link, at, clear, set_linear_path
from syncflow.training.autoencoder.first_weights.random_clips import (
    FRAME_DEVIATION,
    random_clips,
    random_images,
)
from syncflow.training.autoencoder.first_weights.temporal import FIRST_LOGVAR, initialise_temporal

BRANCH_GAIN = 1.4  # of the first convolution of a residual branch, behind a SiLU
MOST_SIGNALS = 48  # channels of a level that the linear codec uses
PATCHES = 30_000  # of frames, to which a decoder's layer is fitted


@torch.no_grad()
def initialise_video_vae(vae: VideoVAE, generator: torch.Generator) -> None:
    """Make both parts linear codecs: of frames, and of the frames of a clip.

    Raises:
        UserError: more signals than a group norm has room for (too many groups or too narrow a level).
    """
    for name, layer in vae.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            gain = BRANCH_GAIN if name.endswith(("conv1", "conv_in.conv")) else 1.0
            layer.weight.normal_(0.0, gain / math.sqrt(layer.weight[0].numel()), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
    for name, layer in vae.named_modules():
        if isinstance(layer, ResidualBlock):
            clear(layer.conv_out.conv)
        elif name.endswith(("to_out.0", "conv2")):
            clear(layer)
    images = random_images(generator)
    _initialise_spatial(vae.spatial, images, generator)  # type: ignore[arg-type]
    initialise_temporal(vae, vae.encode_frames(random_clips(generator)))


def _initialise_spatial(vae: AutoencoderKL, images: Tensor, generator: torch.Generator) -> None:
    channels: int = vae.config["latent_channels"]
    levels = _initialise_encoder(vae, images, channels)
    for layer in (vae.quant_conv, vae.post_quant_conv):
        assert layer is not None and layer.bias is not None
        clear(layer)
        layer.weight[:channels, :channels, 0, 0] = torch.eye(channels)
        layer.bias[channels:] = FIRST_LOGVAR  # none of the second layer
    _initialise_decoder(vae, levels, channels, generator)


def _initialise_encoder(vae: AutoencoderKL, images: Tensor, channels: int) -> list[Tensor]:
    """The signals of each level, `i c h w`, finest first; those of the last are the latents."""
    encoder, levels = vae.encoder, [images]
    links = [Link(conv=encoder.conv_in, kernel=at(encoder.conv_in, torch.eye(3), (1, 1)))]
    blocks: list[Any] = list(encoder.down_blocks)
    for block, following in pairwise(blocks):
        down, last = block.downsamplers[0].conv, following is blocks[-1]
        count = channels if last else min(MOST_SIGNALS, down.out_channels, 4 * levels[-1].shape[1])
        kernel = F.pad(_components(levels[-1], count, scaled=last), (0, 1, 0, 1))
        levels.append(F.conv2d(F.pad(levels[-1], (0, 1, 0, 1)), kernel, stride=2))
        links += [Link(conv=down, kernel=kernel), *_shortcut(following, count)]
    out = torch.eye(2 * channels, channels)  # mean; no log-variance
    last_layer = encoder.conv_out
    set_linear_path(links, norm=encoder.conv_norm_out, out=last_layer, kernel=at(last_layer, out, (1, 1)))
    return levels


def _initialise_decoder(
    vae: AutoencoderKL, levels: list[Tensor], channels: int, generator: torch.Generator
) -> None:
    decoder, made = vae.decoder, levels[-1]
    links = [Link(conv=decoder.conv_in, kernel=at(decoder.conv_in, torch.eye(channels), (1, 1)))]
    blocks: list[Any] = list(decoder.up_blocks)
    for (block, following), wanted in zip(pairwise(blocks), levels[-2::-1], strict=True):
        up, width = block.upsamplers[0].conv, following.resnets[0].conv1.out_channels
        enlarged = F.interpolate(made, scale_factor=2.0, mode="nearest")
        kernel = _fitted(enlarged, wanted[:, : min(up.out_channels, width)], generator)
        if following is blocks[-1]:
            kernel /= FRAME_DEVIATION
        made = F.conv2d(enlarged, kernel, padding=1)
        links += [Link(conv=up, kernel=kernel), *_shortcut(following, len(kernel))]
    out = at(decoder.conv_out, FRAME_DEVIATION * torch.eye(3), (1, 1))
    set_linear_path(links, norm=decoder.conv_norm_out, out=decoder.conv_out, kernel=out)  # type: ignore[arg-type]


def _shortcut(block: Any, signals: int) -> list[Link]:
    """The convolution beside the first residual branch of a block, where its width changes."""
    conv = block.resnets[0].conv_shortcut
    return [] if conv is None else [Link(conv=conv, kernel=at(conv, torch.eye(signals), (0, 0)))]


def _components(signals: Tensor, count: int, *, scaled: bool) -> Tensor:
    """Kernel `o c 2 2` of the first principal components of blocks of 2 x 2.

    `scaled`: all by one factor, so that the first has unit deviation. An error of any of them is then worth
    the same in pixels, which is how the temporal part weighs them.
    """
    patches = F.unfold(signals, 2, stride=2).transpose(1, 2).flatten(0, 1)
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    kernel = vectors.flip(1)[:, :count].T.unflatten(1, (-1, 2, 2))
    return kernel / values[-1].sqrt() if scaled else kernel


def _fitted(enlarged: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """Kernel `o c 3 3` that makes the wanted signals of the enlarged ones, by least squares."""
    inputs = F.unfold(enlarged, 3, padding=1).transpose(1, 2).flatten(0, 1)
    outputs = wanted.flatten(2).transpose(1, 2).flatten(0, 1)
    chosen = torch.randperm(len(inputs), generator=generator)[:PATCHES]
    inputs, outputs = inputs[chosen], outputs[chosen]
    square = inputs.T @ inputs
    ridge = 1e-4 * square.diagonal().mean() * torch.eye(len(square))
    return torch.linalg.solve(square + ridge, inputs.T @ outputs).T.unflatten(1, (-1, 3, 3))
