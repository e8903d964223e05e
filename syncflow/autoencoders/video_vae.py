"""The video VAE, of Open-Sora v1.2's form: each frame through a 2-D VAE, then chunks of frames through time.

Section 4, Setup Details: 4 times fewer frames and 8 times fewer rows and columns. 32 frames are 9 latent
frames (how chunks make that: `spans.py`); `latent_shape` and `frame_spans` are the owners of these numbers.
"""

from collections.abc import Sequence

import torch
from diffusers import AutoencoderKL
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from syncflow.autoencoders.moments import Moments, check_statistics, split_moments
from syncflow.autoencoders.spans import chunk_lengths, frame_spans, frame_times
from syncflow.autoencoders.temporal_vae import TemporalVAE, TimePadding
from syncflow.errors import UserError
from syncflow.records import ClipSpec, FrameTimes


class VideoVAE(ModelMixin, ConfigMixin):
    """Frames to normalised latents and back; build it with `VideoVAE(**VideoVAEConfig().model_dump())`.

    Video is `b c f h w` with 3 channels in [-1, 1], any number of frames from one up, rows and columns
    divisible by `spatial_stride`; latents are `b c t h w`. Weights may be of any dtype; moments and decoded
    video are float32. `frames_per_batch` bounds the memory of the 2-D part and may be set at any time.
    """

    @register_to_config
    def __init__(
        self,
        *,
        latent_channels: int,
        spatial_block_channels: Sequence[int],
        spatial_layers_per_block: int,
        spatial_norm_groups: int,
        spatial_scaling: float,
        temporal_filters: int,
        temporal_multipliers: Sequence[int],
        temporal_downsample: Sequence[bool],
        temporal_res_blocks: int,
        temporal_norm_groups: int,
        frames_per_chunk: int,
        frames_per_batch: int,
        shift: Sequence[float],
        scale: Sequence[float],
        time_padding: TimePadding = "zeros",
    ) -> None:
        super().__init__()
        levels = len(spatial_block_channels)
        self.spatial_stride = 2 ** (levels - 1)
        self.latent_channels = latent_channels
        self.spatial_scaling = spatial_scaling
        self.frames_per_chunk = frames_per_chunk
        self.frames_per_batch = frames_per_batch
        self.spatial = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * levels,  # type: ignore[arg-type]
            up_block_types=("UpDecoderBlock2D",) * levels,  # type: ignore[arg-type]
            block_out_channels=tuple(spatial_block_channels),  # type: ignore[arg-type]
            layers_per_block=spatial_layers_per_block,
            latent_channels=latent_channels,
            norm_num_groups=spatial_norm_groups,
        )
        self.temporal = TemporalVAE(
            channels=latent_channels,
            filters=temporal_filters,
            multipliers=temporal_multipliers,
            downsample=temporal_downsample,
            res_blocks=temporal_res_blocks,
            groups=temporal_norm_groups,
            time_padding=time_padding,
        )
        per_channel = (1, latent_channels, 1, 1, 1)
        self.register_buffer("latent_mean", torch.tensor(tuple(shift)).reshape(per_channel))
        self.register_buffer("latent_std", torch.tensor(tuple(scale)).reshape(per_channel))

    def frame_spans(self, num_frames: int) -> list[tuple[int, int]]:
        """`(first, last)` pixel frame of each latent frame, both included."""
        stride = self.temporal.stride
        return frame_spans(num_frames, frames_per_chunk=self.frames_per_chunk, stride=stride)

    def frame_times(self, spec: ClipSpec) -> FrameTimes:
        """Start and end of each latent frame of a window, seconds."""
        return frame_times(self.frame_spans(spec.num_frames), fps=spec.fps)

    def latent_shape(self, spec: ClipSpec) -> tuple[int, int, int, int]:
        """`(c, t, h, w)` of a window.

        Raises:
            UserError: rows or columns not divisible by the spatial stride, or no frames.
        """
        self._check_size(spec.height, spec.width)
        rows, columns = spec.height // self.spatial_stride, spec.width // self.spatial_stride
        return self.latent_channels, len(self.frame_spans(spec.num_frames)), rows, columns

    def encode(self, video: Tensor) -> Moments:
        """Moments `b c t h w` of the normalised latents of a video `b c f h w`; differentiable.

        The 2-D posterior is taken at its mode, so that what is random is all in these moments.

        Raises:
            UserError: not `b 3 f h w`, no frames, a size that the stride does not divide, NaN or infinity.
        """
        return self.posterior(video).normalised(shift=self.latent_mean.float(), scale=self.latent_std.float())

    def posterior(self, video: Tensor) -> Moments:
        """As `encode`, before normalising: what the KL term of training holds near N(0, 1)."""
        self._check_video(video)
        return self.posterior_of_frames(self.encode_frames(video))

    def decode(self, latents: Tensor, *, num_frames: int) -> Tensor:
        """Video `b c f h w` with exactly `num_frames` frames from normalised latents; differentiable.

        Raises:
            UserError: the latents are not `b c t h w`, or not the number that `num_frames` needs.
        """
        expected = (self.latent_channels, len(self.frame_spans(num_frames)))
        if latents.ndim != 5 or tuple(latents.shape[1:3]) != expected:
            raise UserError(
                f"video latents {list(latents.shape)}: expected [batch, {expected[0]}, {expected[1]}, rows, "
                f"columns] for {num_frames} frames; give the num_frames that was encoded"
            )
        raw = latents.float() * self.latent_std.float() + self.latent_mean.float()
        return self.decode_frames(self.frames_from_latents(raw, num_frames=num_frames))

    def encode_frames(self, video: Tensor) -> Tensor:
        """The 2-D part alone: `b 3 f h w` to scaled frame latents `b c f h/8 w/8` (posterior's mode)."""
        frames = video.transpose(1, 2).flatten(0, 1).to(self.latent_mean.dtype)  # b 3 f h w -> (b f) 3 h w
        posteriors = (self.spatial.encode(part, return_dict=False)[0] for part in self._slices(frames))
        latents = torch.cat([posterior.mode() for posterior in posteriors]) * self.spatial_scaling
        return latents.unflatten(0, (video.shape[0], -1)).transpose(1, 2)  # (b f) c h w -> b c f h w

    def decode_frames(self, frame_latents: Tensor) -> Tensor:
        """The 2-D part alone: scaled frame latents `b c f h/8 w/8` to video `b 3 f h w`."""
        latents = frame_latents.transpose(1, 2).flatten(0, 1) / self.spatial_scaling
        decode = self.spatial.decode
        slices = [decode(part, return_dict=False)[0].float() for part in self._slices(latents)]  # type: ignore
        return torch.cat(slices).unflatten(0, (frame_latents.shape[0], -1)).transpose(1, 2)

    def posterior_of_frames(self, frame_latents: Tensor) -> Moments:
        """The temporal part alone: frame latents `b c f h w` to raw moments `b c t h w`."""
        lengths = chunk_lengths(frame_latents.shape[2], frames_per_chunk=self.frames_per_chunk)
        chunks = frame_latents.split(lengths, dim=2)
        return split_moments(torch.cat([self.temporal.encode(chunk) for chunk in chunks], dim=2), dim=1)

    def frames_from_latents(self, raw: Tensor, *, num_frames: int) -> Tensor:
        """The temporal part alone: raw latents `b c t h w` to frame latents `b c f h w`."""
        lengths = chunk_lengths(num_frames, frames_per_chunk=self.frames_per_chunk)
        chunks = raw.to(self.latent_mean.dtype).split(
            [-(-length // self.temporal.stride) for length in lengths], dim=2
        )
        pairs = zip(chunks, lengths, strict=True)
        return torch.cat([self.temporal.decode(chunk, num_frames=length) for chunk, length in pairs], dim=2)

    def encoders(self) -> tuple[nn.Module, ...]:
        """The modules that make the posterior; all others only decode."""
        spatial, temporal = self.spatial, self.temporal
        return spatial.encoder, spatial.quant_conv, temporal.encoder, temporal.to_moments  # type: ignore[return-value]

    def forward(self, video: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Moments]:
        """Reconstruction `b c f h w` and the raw posterior; drawn, or without a generator its mode."""
        posterior = self.posterior(video)
        raw = posterior.mode if generator is None else posterior.sample(generator)
        return self.decode_frames(self.frames_from_latents(raw, num_frames=video.shape[2])), posterior

    @torch.no_grad()
    def set_statistics(self, *, mean: Tensor, std: Tensor) -> None:
        """Set what normalising uses: measured mean and deviation `c` of the raw latents of a dataset.

        Raises:
            UserError: the wrong shape, a NaN, or a deviation that is not above zero.
        """
        check_statistics("video", mean=mean, std=std, width=self.latent_channels)
        self.latent_mean.copy_(mean.reshape(self.latent_mean.shape))
        self.latent_std.copy_(std.reshape(self.latent_std.shape))

    def _slices(self, frames: Tensor) -> tuple[Tensor, ...]:
        return frames.split(self.frames_per_batch)

    def _check_video(self, video: Tensor) -> None:
        if video.ndim != 5 or video.shape[1] != 3 or video.shape[2] == 0:
            raise UserError(
                f"video {list(video.shape)}: expected [batch, 3, frames, rows, columns], frames >= 1"
            )
        self._check_size(video.shape[3], video.shape[4])
        if not video.isfinite().all():
            raise UserError(f"video {list(video.shape)}: has NaN or infinite pixels; drop or repair the clip")

    def _check_size(self, height: int, width: int) -> None:
        stride = self.spatial_stride
        if height % stride or width % stride or not (height and width):
            raise UserError(
                f"frames of {height} x {width} pixels: expected multiples of {stride}; crop or resize them"
            )
