"""CaptionedClip -> EncodedClip: the moments of both posteriors, and the captions' embeddings."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from preprocessing.config import EncodeConfig
from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.moments import Moments
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.data.parquet.schema import fingerprint
from syncflow.hashing import caption_key
from syncflow.pixels import scaled
from syncflow.records import CaptionedClip, ClipSpec, Dropped, EncodedClip, LatentRow, TextEmbedding
from syncflow.text import TextEncoder


@dataclass(frozen=True, kw_only=True)
class Encoders:
    """The three models of a dataset, in eval mode, on one device."""

    video_vae: VideoVAE
    audio_vae: AudioVAE
    text: TextEncoder

    @property
    def device(self) -> torch.device:
        return self.text.device


class UnusableLatentsError(Exception):
    """The moments of a clip cannot be stored: `reason` says why."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


def row_fingerprint(row: LatentRow, *, recipe: str) -> LatentRow:
    """The row with the hash of all that made it (`syncflow.data.parquet.schema.fingerprint`)."""
    return dataclasses.replace(row, fingerprint=fingerprint(row, recipe=recipe))


class EncodeStep:
    """Encodes every window of a clip; the windows of one clip form the batches.

    A clip is never batched with another: the last bits of a latent depend on the batch, and so they are
    the same however the clips are spread over workers and restarts.

    Args:
        encoders: the models.
        config: batch size and the range that latents must keep.
        spec: what a window is.
        recipe: hash of all that makes a row but its source.
    """

    def __init__(self, encoders: Encoders, config: EncodeConfig, *, spec: ClipSpec, recipe: str) -> None:
        self.encoders, self.config, self.spec, self.recipe = encoders, config, spec, recipe
        self.video_shape = encoders.video_vae.latent_shape(spec)
        self.audio_shape = encoders.audio_vae.latent_shape(spec)
        self._embeddings: dict[str, TextEmbedding] = {}

    def __call__(self, batch: list[CaptionedClip]) -> list[EncodedClip | Dropped]:
        return [self._encode(captioned) for captioned in batch]

    def _encode(self, captioned: CaptionedClip) -> EncodedClip | Dropped:
        try:
            rows = self._rows(captioned)
        except UnusableLatentsError as error:
            ref = captioned.clip.ref
            return Dropped(ref=ref, kind="failed", reason=error.reason, detail=error.detail)
        captions = dict.fromkeys(captioned.captions)
        return EncodedClip(
            ref=captioned.clip.ref,
            rows=tuple(rows),
            texts=tuple(self.embedding(caption) for caption in captions),
        )

    def _rows(self, captioned: CaptionedClip) -> list[LatentRow]:
        clip = captioned.clip
        frames = np.stack([window.frames for window in clip.windows])  # k f h w c
        audio = np.stack([window.audio for window in clip.windows])  # k m
        video_moments = self._moments("video", frames, shape=self.video_shape)
        audio_moments = self._moments("audio", audio, shape=self.audio_shape)
        rows = [
            LatentRow(
                dataset=clip.ref.dataset,
                clip_id=clip.ref.clip_id,
                window=window.index,
                start_s=window.start_s,
                split=clip.ref.split,
                caption=captioned.captions[k],
                caption_key=caption_key(captioned.captions[k]),
                caption_source=captioned.caption_source,
                source_sha256=clip.source_sha256,
                fingerprint="",
                scores=clip.scores[k],
                video_mean=video_moments[0][k],
                video_logvar=video_moments[1][k],
                audio_mean=audio_moments[0][k],
                audio_logvar=audio_moments[1][k],
            )
            for k, window in enumerate(clip.windows)
        ]
        return [row_fingerprint(row, recipe=self.recipe) for row in rows]

    def _moments(
        self, name: str, windows: np.ndarray, *, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and log-variance of all windows, float16, checked."""
        encode = self._encode_video if name == "video" else self._encode_audio
        parts = [
            encode(torch.from_numpy(windows[start : start + self.config.batch]))
            for start in range(0, len(windows), self.config.batch)
        ]
        mean = torch.cat([part.mean for part in parts]).float().cpu()
        logvar = torch.cat([part.logvar for part in parts]).float().cpu()
        assert tuple(mean.shape[1:]) == shape, f"{name}: {list(mean.shape[1:])}, latent_shape says {shape}"
        if not (mean.isfinite().all() and logvar.isfinite().all()):
            raise UnusableLatentsError("nonfinite_latents", f"the {name} autoencoder gives NaN or Inf")
        largest = {"mean": mean.abs().max().item(), "deviation": (logvar.max() / 2).exp().item()}
        for what, value in largest.items():
            if value > self.config.max_latent:
                detail = f"largest {name} {what} is {value:.4g}, over {self.config.max_latent:g}"
                raise UnusableLatentsError("huge_latents", detail)
        return mean.to(torch.float16).numpy(), logvar.to(torch.float16).numpy()

    @torch.inference_mode()
    def _encode_video(self, frames: Tensor) -> Moments:
        """Moments `b c t h w` of uint8 frames `b f h w c`."""
        return self.encoders.video_vae.encode(scaled(frames.to(self.encoders.device)))  # b c f h w

    @torch.inference_mode()
    def _encode_audio(self, audio: Tensor) -> Moments:
        """Moments `b n d` of float32 samples `b m`."""
        return self.encoders.audio_vae.encode(
            audio.to(self.encoders.device), sample_rate=self.spec.sample_rate
        )

    def embedding(self, caption: str) -> TextEmbedding:
        """The text encoder's output for a caption."""
        key = caption_key(caption)
        if key not in self._embeddings:
            if len(self._embeddings) >= 1024:  # labels repeat; written captions do not
                self._embeddings.clear()
            tokens = self.encoders.text.encode([caption])[0]
            self._embeddings[key] = TextEmbedding(key=key, caption=caption, tokens=tokens)
        return self._embeddings[key]
