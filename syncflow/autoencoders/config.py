"""Settings of the two autoencoders; the defaults are the large models."""

from typing import Annotated, Literal, Self

import pydantic

from syncflow.config import Config, Role


class VideoVAEConfig(Config):
    """The video VAE of Open-Sora v1.2: frames through a 2-D VAE, then time through a causal 3-D one."""

    latent_channels: int = 4
    """Channels of the video VAE's latents."""
    spatial_block_channels: tuple[int, ...] = (128, 256, 512, 512)
    """Channels of each level of the 2-D VAE; each level after the first halves rows and columns."""
    spatial_layers_per_block: int = 2
    """Residual layers per level of the 2-D encoder (its decoder has one more)."""
    spatial_norm_groups: int = 32
    """Groups of the 2-D VAE's group norms."""
    spatial_scaling: float = 0.18215
    """Factor by which the 2-D latents are multiplied before the temporal VAE."""
    temporal_filters: int = 128
    """Base width of the temporal VAE."""
    temporal_multipliers: tuple[int, ...] = (1, 2, 2, 4)
    """Width of each level of the temporal VAE, in multiples of its base width."""
    temporal_downsample: tuple[bool, ...] = (False, True, True)
    """Whether each transition between two levels of the temporal VAE halves the number of frames."""
    temporal_res_blocks: int = 4
    """Residual blocks per level of the temporal VAE."""
    temporal_norm_groups: int = 32
    """Groups of the temporal VAE's group norms."""
    time_padding: Literal["zeros", "first"] = "zeros"
    """What precedes the first frame of a chunk: `zeros`, as in Open-Sora, or the `first` frame again, which
    gives the first latent frame the statistics of the others."""
    frames_per_chunk: int = 17
    """Frames per chunk: the temporal VAE encodes a clip in chunks that do not depend on each other."""
    frames_per_batch: Annotated[int, Role.ROUNDING] = 4
    """Frames that the 2-D VAE computes at once: fewer take less memory, the result is the same."""
    shift: tuple[float, ...] = (-0.10, 0.34, 0.27, 0.98)
    """Mean of each latent channel, which normalising subtracts."""
    scale: tuple[float, ...] = (3.85, 2.32, 2.33, 3.06)
    """Deviation of each latent channel, by which normalising divides."""

    @pydantic.model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.shift) != self.latent_channels or len(self.scale) != self.latent_channels:
            raise ValueError(
                f"shift and scale need one number for each of {self.latent_channels} latent channels"
            )
        if len(self.temporal_downsample) != len(self.temporal_multipliers) - 1:
            raise ValueError("temporal_downsample needs one value less than temporal_multipliers")
        if any(channels % self.spatial_norm_groups for channels in self.spatial_block_channels):
            raise ValueError("spatial_block_channels must be multiples of spatial_norm_groups")
        if any(self.temporal_filters * m % self.temporal_norm_groups for m in self.temporal_multipliers):
            raise ValueError(
                "temporal_filters times each multiplier must be a multiple of temporal_norm_groups"
            )
        if self.frames_per_chunk < 1 or self.frames_per_batch < 1:
            raise ValueError("frames_per_chunk and frames_per_batch must be 1 or more")
        return self


class AudioVAEConfig(Config):
    """The 48 kHz mono audio VAE: EnCodec's SEANet with a Gaussian latent in place of the quantiser."""

    sample_rate: int = 48_000
    """Sample rate of the audio VAE, Hz."""
    latent_dim: int = 128
    """Width of the audio VAE's latents."""
    upsampling_ratios: tuple[int, ...] = (8, 5, 4, 6)
    """Strides of the decoder, coarsest first; their product is the number of samples per latent (960: 50
    Hz)."""
    num_filters: int = 32
    """Channels at the full sample rate; each stride doubles them."""
    hidden_size: int = 128
    """Width between SEANet and the latent."""
    num_residual_layers: int = 1
    """Residual blocks before each stride."""
    num_lstm_layers: int = 2
    """LSTM layers at the coarsest rate; 0 leaves the LSTM out."""
    kernel_size: int = 7
    """Kernel of the first and last convolutions of encoder and decoder, samples (or latents)."""
    norm_type: Literal["weight_norm", "time_group_norm"] = "weight_norm"
    """Normalisation of the convolutions; weight norm depends on no other time, which keeps timing local."""
    causal: bool = False
    """Causal convolutions (for streaming); otherwise padding is symmetric."""
    pad_mode: Literal["reflect", "constant"] = "reflect"
    """How convolutions pad the ends of a clip."""
