"""First weights of the temporal part of a video VAE: principal components of pairs of frames, and back.

Where the frames are halved, two frames of c signals become the most telling of their 2 c sums and
differences; where they are doubled, the same components make them again. So what changes within the frames
of a latent is there before the first step.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from syncflow.autoencoders.temporal_vae import CausalConv3d, DoubleFrames, HalveFrames, Level
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.training.autoencoder.first_weights.linear_path import Link, at, clear, set_linear_path

FIRST_LOGVAR = -8.0  # a posterior far narrower than the latents, so that the decoders learn to look


def initialise_temporal(vae: VideoVAE, frame_latents: Tensor) -> None:
    """Fit the temporal part to frame latents `b c f h w` of clips in motion.

    Raises:
        UserError: more signals than a group norm has room for (too many groups or too narrow a level).
    """
    temporal, channels, scaling = vae.temporal, vae.latent_channels, vae.spatial_scaling
    same, encoder, decoder = torch.eye(channels), temporal.encoder, temporal.decoder
    halves = [layer.conv for layer in encoder.modules() if isinstance(layer, HalveFrames)]
    pairs = list(
        _pairs(frame_latents / scaling, [conv.out_channels - 1 for conv in halves[:-1]] + [channels])
    )
    set_linear_path(
        [
            _link(encoder.conv_in, same / scaling),
            *_encoder_links(list(encoder.levels), pairs, channels),  # type: ignore[arg-type]
        ],
        norm=encoder.norm_out,
        out=encoder.conv_out.conv,
        kernel=at(encoder.conv_out.conv, torch.eye(2 * channels, channels), (0, 0, 0)),
    )
    for layer in (temporal.to_moments.conv, temporal.from_latent.conv):
        clear(layer)
        assert layer.bias is not None
        layer.weight[:channels, :channels, 0, 0, 0] = same
        layer.bias[channels:] = FIRST_LOGVAR  # none of the second layer
    set_linear_path(
        [
            _link(decoder.conv_in, same),
            *_decoder_links(list(reversed(decoder.levels)), pairs[::-1], channels),  # type: ignore[arg-type]
        ],
        norm=decoder.norm_out,
        out=decoder.conv_out.conv,
        kernel=at(decoder.conv_out.conv, scaling * same, (2, 1, 1)),
    )


def _pairs(signals: Tensor, rooms: list[int]) -> Iterator[Tensor]:
    """For each halving the components `o r c` of r = 2 frames, as orthonormal rows, at most its room."""
    for room in rooms:
        both = torch.stack((signals[:, :, 0::2], signals[:, :, 1::2]), dim=1)  # b r c f h w
        samples = both.flatten(3).permute(0, 3, 1, 2).flatten(0, 1).flatten(1)  # (b f h w) (r c)
        _, vectors = torch.linalg.eigh(samples.T @ samples / len(samples))
        pair = vectors.flip(1).T[:room].unflatten(1, (2, -1))
        yield pair
        signals = torch.einsum("orc,brcfhw->bofhw", pair, both)


def _encoder_links(levels: list[Level], pairs: list[Tensor], signals: int) -> Iterator[Link]:
    remaining = iter(pairs)
    for level in levels:
        yield from _skip(level, signals)
        if isinstance(level.resample, HalveFrames):
            pair, conv = next(remaining), level.resample.conv
            side = conv.kernel_size[1] // 2
            kernel = sum(at(conv, pair[:, frame], (1 + frame, side, side)) for frame in range(2))
            yield Link(conv=conv, kernel=kernel)  # type: ignore[arg-type]
            signals = len(pair)


def _decoder_links(levels: list[Level], pairs: list[Tensor], signals: int) -> Iterator[Link]:
    remaining = iter(pairs)
    for level in levels:
        yield from _skip(level, signals)
        if isinstance(level.resample, DoubleFrames):
            pair, conv = next(remaining), level.resample.conv
            signals, side = pair.shape[2], conv.kernel_size[1] // 2
            present = conv.kernel_size[0] - 1
            frames = [at(conv, pair[:, frame].T, (present, side, side)) for frame in range(2)]  # o c ...
            yield Link(conv=conv, kernel=torch.stack(frames, dim=1), repeats=2)


def _skip(level: Level, signals: int) -> Iterator[Link]:
    """The projection beside the first residual block of a level, where its width changes."""
    skip = level.blocks[0].skip  # type: ignore[union-attr]
    if isinstance(skip, CausalConv3d):
        yield _link(skip, torch.eye(signals))


def _link(layer: CausalConv3d, matrix: Tensor) -> Link:
    """The present frame alone."""
    side = layer.conv.kernel_size[1] // 2
    present = layer.conv.kernel_size[0] - 1
    return Link(conv=layer.conv, kernel=at(layer.conv, matrix, (present, side, side)))
