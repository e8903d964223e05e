"""Neural codecs: waveforms to codes of several codebooks and back.

Two kinds: an EnCodec of transformers (the paper's), and this project's audio VAE with a residual vector
quantiser fitted to its latents, for the miniature. Both give the same kind of codes.
"""

import json
import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from scipy import signal
from torch import Tensor, nn

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import download, load_vae
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.noise import keyed_generator
from syncflow.pretrained import load_whole

QUANTISER = "quantiser.safetensors"
ITERATIONS = 20  # of k-means


DEFAULT_ENCODEC = "facebook/encodec_32khz"


class Codec(Protocol):
    """Codes int64 `b k n` of mono waveforms float32 `b m`, and back."""

    sample_rate: int
    """Of its waveforms, Hz."""
    code_rate: float
    """Codes a second, Hz."""
    num_codebooks: int
    codebook_size: int
    sha256: str
    """Hash of the weights, the quantiser's among them."""

    def encode(self, audio: Tensor) -> Tensor: ...

    def decode(self, codes: Tensor, *, num_samples: int) -> Tensor: ...


class EncodecCodec:
    """An EncodecModel of transformers."""

    def __init__(self, model: Any, *, num_codebooks: int) -> None:
        config = model.config
        if config.audio_channels != 1 or config.normalize:
            raise UserError(
                f"EnCodec of {config.audio_channels} channels, normalize {config.normalize}: expected mono "
                "without normalisation, as facebook/encodec_32khz"
            )
        if num_codebooks > config.num_quantizers:
            raise UserError(
                f"codec.num_codebooks {num_codebooks}: EnCodec has {config.num_quantizers}; ask for fewer"
            )
        self.model, self.num_codebooks = model, num_codebooks
        self.sample_rate, self.codebook_size = config.sampling_rate, config.codebook_size
        self.hop = math.prod(config.upsampling_ratios)
        self.code_rate = self.sample_rate / self.hop
        self.sha256 = tensors_sha256(model.state_dict())

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        hidden = self.model.encoder(audio.unsqueeze(1).to(self.model.device))  # b 1 m -> b d n
        codes = self.model.quantizer.encode(hidden)  # k b n
        return codes[: self.num_codebooks].transpose(0, 1).cpu()

    @torch.inference_mode()
    def decode(self, codes: Tensor, *, num_samples: int) -> Tensor:
        hidden = self.model.quantizer.decode(codes.transpose(0, 1).to(self.model.device))
        return self.model.decoder(hidden).squeeze(1)[:, :num_samples].float().cpu()


class LatentCodec(nn.Module):
    """The audio VAE with a residual vector quantiser on its latents.

    Args:
        vae: the audio VAE.
        codebooks: `k v d`.
    """

    codebooks: Tensor

    def __init__(self, vae: AudioVAE, codebooks: Tensor) -> None:
        super().__init__()
        self.vae = vae
        self.register_buffer("codebooks", codebooks.float())
        self.num_codebooks, self.codebook_size = codebooks.shape[:2]
        self.sample_rate = vae.sample_rate
        self.code_rate = vae.sample_rate / vae.hop
        self.sha256 = tensors_sha256({**vae.state_dict(), "codebooks": self.codebooks})

    @torch.inference_mode()
    def encode(self, audio: Tensor) -> Tensor:
        where = self.codebooks.device
        return quantise(self.vae.encode(audio.to(where)).mode, self.codebooks).cpu()

    @torch.inference_mode()
    def decode(self, codes: Tensor, *, num_samples: int) -> Tensor:
        latents = dequantise(codes.to(self.codebooks.device), self.codebooks)
        return self.vae.decode(latents, num_samples=num_samples).cpu()

    def save(self, folder: Path) -> None:
        """Write the VAE and the quantiser."""
        self.vae.save_pretrained(folder)
        save_file({"codebooks": self.codebooks.cpu().contiguous()}, folder / QUANTISER)


def quantise(latents: Tensor, codebooks: Tensor) -> Tensor:
    """Codes int64 `b k n` of latents `b n d`: each takes the entry nearest to what is left."""
    rest, codes = latents, []
    for entries in codebooks:
        nearest = torch.cdist(rest, entries.expand(len(rest), -1, -1)).argmin(-1)  # b n
        rest = rest - entries[nearest]
        codes.append(nearest)
    return torch.stack(codes, dim=1)


def dequantise(codes: Tensor, codebooks: Tensor) -> Tensor:
    """Latents `b n d` of codes `b k n`."""
    return torch.stack([entries[codes[:, k]] for k, entries in enumerate(codebooks)]).sum(0)


def fit_codebooks(latents: Tensor, *, num_codebooks: int, codebook_size: int, seed: int) -> Tensor:
    """Codebooks `k v d` by k-means, one after another on what the earlier ones leave of latents `n d`.

    Raises:
        UserError: there are fewer latents than a codebook has entries.
    """
    if len(latents) < codebook_size:
        raise UserError(
            f"codec.codebook_size {codebook_size}: {len(latents)} latents to fit it to; set it lower"
        )
    draw, rest, codebooks = keyed_generator("codebooks", seed), latents.float(), []
    for _ in range(num_codebooks):
        entries = rest[torch.randperm(len(rest), generator=draw)[:codebook_size]].clone()
        for _ in range(ITERATIONS):
            entries = _moved(entries, rest, draw)
        codebooks.append(entries)
        rest = rest - entries[torch.cdist(rest, entries).argmin(-1)]
    return torch.stack(codebooks)


def _moved(entries: Tensor, points: Tensor, draw: torch.Generator) -> Tensor:
    """Each entry at the mean of the points nearest to it; one without any at a point drawn anew."""
    nearest = torch.cdist(points, entries).argmin(-1)
    counts = torch.bincount(nearest, minlength=len(entries))
    sums = torch.zeros_like(entries).index_add_(0, nearest, points)
    fresh = points[torch.randint(len(points), (len(entries),), generator=draw)]
    return torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], fresh)


def load_codec(folder: str, *, num_codebooks: int, setting: str = "codec.location") -> Codec:
    """A codec from a folder: an EnCodec of transformers (or its hub id), or what `LatentCodec.save` wrote.

    Args:
        setting: the setting that names the folder, for messages.

    Raises:
        UserError: neither is there, or it does not fit.
    """
    place = Path(folder)
    if (place / QUANTISER).is_file():
        try:
            codebooks = load_file(place / QUANTISER)["codebooks"]
        except (OSError, KeyError, SafetensorError) as error:
            raise UserError(
                f"{place / QUANTISER}: cannot be read ({error}); precompute the codes again"
            ) from None
        return LatentCodec(load_vae(AudioVAE, place), codebooks).eval()
    place = place if place.is_dir() else download(folder, setting=setting)
    from transformers import EncodecModel

    try:
        kind = json.loads((place / "config.json").read_text(encoding="utf-8")).get("model_type")
        if kind != "encodec":
            raise UserError(f"{setting} {folder}: holds a {kind or 'model of another kind'}; give an EnCodec")
        model = load_whole(EncodecModel, place).eval()
    except (OSError, ValueError, SafetensorError) as error:
        told = " ".join(str(error).split())[:200]
        raise UserError(f"{setting} {folder}: cannot be loaded ({told}); copy the folder again") from None
    return EncodecCodec(model, num_codebooks=num_codebooks)


def resampled(audio: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Float32 `... m` at another rate, by a polyphase filter.

    Args:
        new_rate: Hz.
    """
    if rate == new_rate:
        return audio
    common = math.gcd(rate, new_rate)
    found = signal.resample_poly(audio.astype(np.float64), new_rate // common, rate // common, axis=-1)
    return found.astype(np.float32)
