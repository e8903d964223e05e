"""What each autoencoder is trained towards: a module whose forward gives the losses of a batch."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.training.autoencoder.config import AudioObjectiveConfig, VideoObjectiveConfig
from syncflow.training.autoencoder.losses import MultiScaleMelLoss
from syncflow.training.autoencoder.perceptual import PerceptualDistance

Part = Literal["frames", "temporal", "all"]


@dataclass(frozen=True, kw_only=True)
class Segments:
    """A batch of audio `b m` in [-1, 1] or video `b c f h w` in [-1, 1]."""

    data: Tensor
    generator: torch.Generator  # of the posterior draw
    part: Part = "all"  # of the video VAE, which is being trained


class AudioObjective(nn.Module):
    """Distances of waveforms and of their mel spectra, and KL (Section 3.1; after EnCodec)."""

    def __init__(self, vae: AudioVAE, config: AudioObjectiveConfig) -> None:
        super().__init__()
        self.vae, self.settings = vae, config
        self.mel = MultiScaleMelLoss(sample_rate=vae.sample_rate)

    def forward(self, batch: Segments) -> dict[str, Tensor]:
        made, posterior = self.vae(batch.data, batch.generator)
        l1 = (made - batch.data).abs().mean()
        mel = self.mel(made, batch.data)
        mse = (made - batch.data).square().mean()
        kl = posterior.kl().mean()
        s = self.settings
        loss = s.l1_weight * l1 + s.mse_weight * mse + s.mel_weight * mel + s.kl_weight * kl
        return {"loss": loss, "l1": l1, "mse": mse, "mel": mel, "kl": kl}


class VideoObjective(nn.Module):
    """Distances of frames and KL, of the part that the batch names: Open-Sora trained in this order."""

    def __init__(self, vae: VideoVAE, config: VideoObjectiveConfig) -> None:
        super().__init__()
        self.vae, self.settings = vae, config
        self.perceptual = None if config.perceptual is None else PerceptualDistance(config.perceptual)

    def forward(self, batch: Segments) -> dict[str, Tensor]:
        for module, parts in (
            (self.vae.spatial, ("frames", "all")),
            (self.vae.temporal, ("temporal", "all")),
        ):
            module.requires_grad_(batch.part in parts)
        if self.settings.decoder_only:
            for module in self.vae.encoders():
                module.requires_grad_(False)
        if batch.part == "temporal":
            return self._temporal(batch)
        made, kl = self._frames(batch) if batch.part == "frames" else self._clips(batch)
        l1 = (made - batch.data).abs().mean()
        mse = (made - batch.data).square().mean()
        s = self.settings
        loss = s.l1_weight * l1 + s.mse_weight * mse + s.kl_weight * kl
        losses = {"l1": l1, "mse": mse, "kl": kl}
        if s.motion_weight and batch.part == "all":
            losses["motion"] = (made.diff(dim=2) - batch.data.diff(dim=2)).square().mean()
            loss = loss + s.motion_weight * losses["motion"]
        if self.perceptual is not None:
            frames, real = (clip.transpose(1, 2).flatten(0, 1) for clip in (made, batch.data))  # (b f) 3 h w
            losses["perceptual"] = self.perceptual(frames, real)
            loss = loss + s.perceptual_weight * losses["perceptual"]
        return {"loss": loss, **losses}

    def _clips(self, batch: Segments) -> tuple[Tensor, Tensor]:
        """Both parts, in pixels."""
        made, posterior = self.vae(batch.data, batch.generator)
        return made, posterior.kl().mean()

    def _frames(self, batch: Segments) -> tuple[Tensor, Tensor]:
        """The 2-D part alone, in pixels."""
        b, _, f = batch.data.shape[:3]
        frames = batch.data.transpose(1, 2).flatten(0, 1)  # (b f) c h w
        posterior = self.vae.spatial.encode(frames).latent_dist  # type: ignore[union-attr]
        noise = torch.randn(posterior.mean.shape, generator=batch.generator).to(posterior.mean)
        made = self.vae.spatial.decode(posterior.mean + posterior.std * noise).sample  # type: ignore[union-attr]
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        return made.unflatten(0, (b, f)).transpose(1, 2), kl

    def _temporal(self, batch: Segments) -> dict[str, Tensor]:
        """The temporal part alone, in the 2-D part's latents: no video is decoded, so steps are cheap."""
        with torch.no_grad():
            target = self.vae.encode_frames(batch.data)
        posterior = self.vae.posterior_of_frames(target)
        raw = posterior.sample(batch.generator)
        made = self.vae.frames_from_latents(raw, num_frames=target.shape[2])
        latent_mse = (made - target).square().mean() / target.var()
        kl = posterior.kl().mean()
        loss = latent_mse + self.settings.kl_weight * kl
        losses = {"latent_mse": latent_mse, "kl": kl}
        if self.settings.motion_weight and target.shape[2] > 1:
            change = target.diff(dim=2)
            losses["motion"] = (made.diff(dim=2) - change).square().mean() / change.var()
            loss = loss + self.settings.motion_weight * losses["motion"]
        return {"loss": loss, **losses}
