"""First weights of a video VAE that is to be trained from nothing; published weights need none of it.

torch's own weights shrink what depends on the picture at each layer, so colour, the weakest part of it,
hardly reaches the latent: 200 steps of the tiny 2-D part end at 20.5 dB in grey, with these at 22.9.
"""

import math

import torch
from torch import nn

from syncflow.autoencoders.temporal_vae import ResidualBlock
from syncflow.autoencoders.video_vae import VideoVAE

FIRST_LOGVAR = -6.0  # a posterior far narrower than the latents, so that the decoders learn to look
LATENT_GAIN = 2.0  # brings both parts' first latents of a picture near unit deviation
BRANCH_GAINS = (1.4, 0.7)  # of the two convolutions of a residual branch, each behind a SiLU


@torch.no_grad()
def initialise_video_vae(vae: VideoVAE, generator: torch.Generator) -> None:
    """Every linear layer keeps the variance of its input, without a bias; posteriors start narrow."""
    for name, layer in vae.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d | nn.Linear):
            fan_in = math.prod(layer.weight.shape[1:])
            layer.weight.normal_(0.0, _gain(vae, name) / math.sqrt(fan_in), generator=generator)
            if layer.bias is not None:
                layer.bias.zero_()
    channels = vae.latent_channels
    for layer in (vae.spatial.quant_conv, vae.temporal.to_moments.conv):
        assert layer is not None and layer.bias is not None
        layer.weight[:channels] *= LATENT_GAIN
        layer.weight[channels:] *= 0.1
        layer.bias[channels:] = FIRST_LOGVAR
    vae.temporal.decoder.conv_out.conv.weight *= vae.spatial_scaling


def _gain(vae: VideoVAE, name: str) -> float:
    if ".resnets." in name and not name.endswith("conv_shortcut"):
        return BRANCH_GAINS[0] if name.endswith("conv1") else BRANCH_GAINS[1]
    if isinstance(vae.get_submodule(name.rsplit(".", 2)[0]), ResidualBlock):
        block_layer = name.rsplit(".", 2)[1]
        return {"conv_in": BRANCH_GAINS[0], "conv_out": BRANCH_GAINS[1]}.get(block_layer, 1.0)
    return 1.0
