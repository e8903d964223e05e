"""The audio VAE: EnCodec's SEANet, and a normalised Gaussian latent instead of a quantiser.

Section 4, Setup Details: 48 kHz, 960 samples a latent (50 Hz). One latent is the Gaussian of `d`
numbers; 2 s of audio (96,000 samples) are exactly 100 of them.
"""

import math
from collections.abc import Sequence

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized
from transformers.models.encodec.configuration_encodec import EncodecConfig
from transformers.models.encodec.modeling_encodec import EncodecDecoder, EncodecEncoder, EncodecLSTM

from syncflow.autoencoders.moments import Moments, check_statistics, split_moments
from syncflow.errors import UserError
from syncflow.records import ClipSpec

INITIAL_LOGVAR = -6.0
INPUT_GAIN = 8.0  # of the first layer, undone by the last: audio is soft, and layers like unit variance
RESIDUAL_GAIN = 0.5


class AudioVAE(ModelMixin, ConfigMixin):
    """Mono audio to normalised latents and back; build it with `AudioVAE(**AudioVAEConfig().model_dump())`.

    Audio `b m` is any length from one sample up, in [-1, 1], at `config.sample_rate`; latents are `b n d`
    with `n = ceil(m / 960)`. Weights may be of any dtype; moments and decoded audio are float32.
    """

    @register_to_config
    def __init__(
        self,
        *,
        sample_rate: int,
        latent_dim: int,
        upsampling_ratios: Sequence[int],
        num_filters: int,
        hidden_size: int,
        num_residual_layers: int,
        num_lstm_layers: int,
        kernel_size: int,
        norm_type: str,
        causal: bool,
        pad_mode: str,
    ) -> None:
        super().__init__()
        self.sample_rate = sample_rate
        self.latent_dim = latent_dim
        self.hop = math.prod(upsampling_ratios)
        seanet = EncodecConfig(
            sampling_rate=sample_rate,
            audio_channels=1,
            hidden_size=hidden_size,
            num_filters=num_filters,
            num_residual_layers=num_residual_layers,
            upsampling_ratios=list(upsampling_ratios),
            norm_type=norm_type,
            kernel_size=kernel_size,
            last_kernel_size=kernel_size,
            use_causal_conv=causal,
            pad_mode=pad_mode,
            num_lstm_layers=max(1, num_lstm_layers),
        )
        self.encoder = EncodecEncoder(seanet)
        self.decoder = EncodecDecoder(seanet)
        if num_lstm_layers == 0:
            _leave_out_lstm(self.encoder)
            _leave_out_lstm(self.decoder)
        self.to_moments = nn.Conv1d(hidden_size, 2 * latent_dim, kernel_size=1)
        self.from_latent = nn.Conv1d(latent_dim, hidden_size, kernel_size=1)
        self.register_buffer("latent_mean", torch.zeros(latent_dim))
        self.register_buffer("latent_std", torch.ones(latent_dim))
        self._initialise()

    @torch.no_grad()
    def _initialise(self) -> None:
        """Every convolution keeps the variance of its input, without a bias; the posterior starts narrow.

        Torch's own weights shrink what depends on the audio at each of some twenty layers, until only biases
        are left: the decoder then learns to do without the latent, and never finds it again.
        """
        last = len(self.decoder.layers) - 1
        ends = {"encoder.layers.0.conv": INPUT_GAIN, f"decoder.layers.{last}.conv": 1.0 / INPUT_GAIN}
        for name, layer in self.named_modules():
            if isinstance(layer, nn.Conv1d | nn.ConvTranspose1d):
                stride = layer.stride[0] if isinstance(layer, nn.ConvTranspose1d) else 1
                fan_in = layer.in_channels * layer.kernel_size[0] / stride
                gain = RESIDUAL_GAIN if ".block.3." in name else ends.get(name, 1.0)  # .3: a branch's last
                layer.weight = _assignable(layer, torch.randn(layer.weight.shape) * gain / math.sqrt(fan_in))
                if layer.bias is not None:
                    layer.bias.zero_()
        self.to_moments.weight[self.latent_dim :] *= 0.1
        assert self.to_moments.bias is not None
        self.to_moments.bias[self.latent_dim :] = INITIAL_LOGVAR

    def latent_shape(self, spec: ClipSpec) -> tuple[int, int]:
        """`(n, d)` of a window.

        Raises:
            UserError: the window's sample rate is not this VAE's.
        """
        self._check_rate(spec.sample_rate)
        return math.ceil(spec.num_samples / self.hop), self.latent_dim

    def encode(self, audio: Tensor, *, sample_rate: int | None = None) -> Moments:
        """Moments `b n d` of the normalised latents of audio `b m`; differentiable.

        Raises:
            UserError: not `b m`, no samples, NaN or infinity, or a `sample_rate` that is not this VAE's.
        """
        raw = self.posterior(audio, sample_rate=sample_rate)
        return raw.normalised(shift=self.latent_mean.float(), scale=self.latent_std.float())

    def posterior(self, audio: Tensor, *, sample_rate: int | None = None) -> Moments:
        """As `encode`, before normalising: what the KL term of training holds near N(0, 1)."""
        if sample_rate is not None:
            self._check_rate(sample_rate)
        _check_audio(audio)
        num_samples = audio.shape[1]
        padded = F.pad(audio, (0, -num_samples % self.hop)).to(self.to_moments.weight.dtype)
        hidden = self.encoder(padded.unsqueeze(1))  # b 1 m -> b hidden n
        return split_moments(self.to_moments(hidden).transpose(1, 2), dim=2)  # b n 2d

    def decode(self, latents: Tensor, *, num_samples: int) -> Tensor:
        """Audio `b m` with exactly `num_samples` samples from normalised latents `b n d`; differentiable.

        Raises:
            UserError: the latents are not `b n d`, or not the number that `num_samples` needs.
        """
        expected = (math.ceil(num_samples / self.hop), self.latent_dim)
        if num_samples < 1 or latents.ndim != 3 or tuple(latents.shape[1:]) != expected:
            raise UserError(
                f"audio latents {list(latents.shape)}: expected [batch, {expected[0]}, {expected[1]}] for "
                f"{num_samples} samples; give the num_samples that was encoded"
            )
        raw = latents.float() * self.latent_std.float() + self.latent_mean.float()
        hidden = self.from_latent(raw.to(self.from_latent.weight.dtype).transpose(1, 2))
        return self.decoder(hidden).squeeze(1)[:, :num_samples].float()  # b 1 m -> b m

    def forward(self, audio: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Moments]:
        """Reconstruction `b m` and the raw posterior; drawn, or without a generator its mode."""
        posterior = self.posterior(audio)
        raw = posterior.mode if generator is None else posterior.sample(generator)
        latents = (raw - self.latent_mean.float()) / self.latent_std.float()
        return self.decode(latents, num_samples=audio.shape[1]), posterior

    @torch.no_grad()
    def set_statistics(self, *, mean: Tensor, std: Tensor) -> None:
        """Set what normalising uses: measured mean and deviation `d` of the raw latents of a dataset.

        Raises:
            UserError: the wrong shape, a NaN, or a deviation that is not above zero.
        """
        check_statistics("audio", mean=mean, std=std, width=self.latent_dim)
        self.latent_mean.copy_(mean)
        self.latent_std.copy_(std)

    def _check_rate(self, sample_rate: int) -> None:
        if sample_rate != self.sample_rate:
            raise UserError(
                f"sample rate {sample_rate} Hz: the audio VAE expects {self.sample_rate}; "
                "resample first (syncflow.media.decode_audio does) or load a VAE of that rate"
            )


def _check_audio(audio: Tensor) -> None:
    if audio.ndim != 2 or audio.shape[1] == 0:
        raise UserError(
            f"audio {list(audio.shape)}: expected mono [batch, samples] with one sample or more; "
            "average the channels of stereo audio first"
        )
    if not audio.isfinite().all():
        raise UserError(f"audio {list(audio.shape)}: has NaN or infinite samples; drop or repair the clip")


def _assignable(layer: nn.Module, weight: Tensor) -> Tensor:
    """What setting `layer.weight` takes: a tensor where weight norm sorts it into parts, else a parameter."""
    return weight if is_parametrized(layer, "weight") else nn.Parameter(weight)


def _leave_out_lstm(seanet: EncodecEncoder | EncodecDecoder) -> None:
    kept = (nn.Identity() if isinstance(layer, EncodecLSTM) else layer for layer in seanet.layers)
    seanet.layers = nn.ModuleList(kept)
