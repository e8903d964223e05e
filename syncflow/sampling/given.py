"""Video or audio that a caller gives, as latents, and which of them are kept (Section 5)."""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError
from syncflow.flow.latents import present
from syncflow.pixels import frames_to_video
from syncflow.records import AVLatents, ClipSpec
from syncflow.sampling.checks import check_latents
from syncflow.sampling.spans import Keep, kept

Frames = np.ndarray | Tensor | Sequence[np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Given:
    """Latents of the clip's own shape; what is not kept of them may be edited."""

    latents: AVLatents  # float32; None: that modality is not given
    keep: AVLatents  # bool, true where kept: `1 1 t 1 1` and `1 n 1`; None: nothing of it is kept
    covers: bool = True  # whether what is given is as long as the clip

    @property
    def batch(self) -> int | None:
        """Number of clips that are given; None without any."""
        parts = present(self.latents)
        return parts[0].shape[0] if parts else None

    @property
    def holds_video(self) -> bool:
        """Whether all of the video is kept: video to audio."""
        return self.keep.video is not None and bool(self.keep.video.all())

    @property
    def holds_audio(self) -> bool:
        """Whether all of the audio is kept."""
        return self.keep.audio is not None and bool(self.keep.audio.all())

    def with_video(self, video: Tensor) -> "Given":
        """The same with the whole video `video` (`b c t h w`), which is kept."""
        keep = torch.ones(1, 1, video.shape[2], 1, 1, dtype=torch.bool, device=video.device)
        return replace(
            self,
            latents=AVLatents(video=video, audio=self.latents.audio),
            keep=AVLatents(video=keep, audio=self.keep.audio),
        )

    def repeated(self, batch: int) -> "Given":
        """For `batch` clips, several in turn of each one given."""
        if self.batch in (None, batch):
            return self
        times = batch // self.batch

        def repeat(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.repeat_interleave(times, dim=0)

        latents = AVLatents(video=repeat(self.latents.video), audio=repeat(self.latents.audio))
        return replace(self, latents=latents)


@dataclass(frozen=True, kw_only=True)
class GivenEncoder:
    """The autoencoders' encoders; what is given may be shorter than the clip."""

    video_vae: VideoVAE
    audio_vae: AudioVAE
    device: torch.device
    before: Callable[[torch.nn.Module], None] = lambda part: None  # called with a part that is to run

    def encode(
        self, video: Frames | None, audio: np.ndarray | Tensor | None, spec: ClipSpec, keep: tuple[Keep, Keep]
    ) -> Given:
        """Modes of the posteriors, and what of them is kept (`keep`: of the video, of the audio).

        Raises:
            UserError: types, shapes, lengths or spans that do not fit the clip `spec` or each other.
        """
        video_latents, video_s = (None, 0.0) if video is None else self._video(video, spec)
        audio_latents, audio_s = (None, 0.0) if audio is None else self._audio(audio, spec)
        if (
            video_latents is not None
            and audio_latents is not None
            and len(video_latents) != len(audio_latents)
        ):
            raise UserError(
                f"audio: {len(audio_latents)} waveforms for {len(video_latents)} videos; give one per video"
            )
        frames = [
            (first / spec.fps, (last + 1) / spec.fps)
            for first, last in self.video_vae.frame_spans(spec.num_frames)
        ]
        edges = [*range(0, spec.num_samples, self.audio_vae.hop), spec.num_samples]
        samples = [(a / spec.sample_rate, b / spec.sample_rate) for a, b in itertools.pairwise(edges)]

        def mask(
            latents: Tensor | None, bounds: list, given_s: float, kind: int, shape: tuple
        ) -> Tensor | None:
            if latents is None:
                return None
            name = ("keep_video", "keep_audio")[kind]
            found = kept(keep[kind], bounds, given_s=given_s, name=name)
            return torch.tensor(found, device=self.device).view(shape) if any(found) else None

        return Given(
            latents=AVLatents(video=video_latents, audio=audio_latents),
            keep=AVLatents(
                video=mask(video_latents, frames, video_s, 0, (1, 1, -1, 1, 1)),
                audio=mask(audio_latents, samples, audio_s, 1, (1, -1, 1)),
            ),
            covers=all(
                seconds == spec.seconds
                for part, seconds in ((video, video_s), (audio, audio_s))
                if part is not None
            ),
        )

    def _video(self, video: Frames, spec: ClipSpec) -> tuple[Tensor, float]:
        """Latents `b c t h w`, and how many seconds of the clip are given."""
        if are_latents(video):
            check_latents("video", video, shape=self.video_vae.latent_shape(spec), batch=None)
            return video.to(self.device, torch.float32), spec.seconds
        pixels = frames_to_video(video)  # b c f h w
        frames = pixels.shape[2]
        if frames > spec.num_frames:
            raise UserError(f"video: {frames} frames for a clip of {spec.num_frames}; give those of the clip")
        self.before(self.video_vae)
        # the last frame goes on: a latent frame of the given part sees no cut
        rest = pixels[:, :, -1:].expand(-1, -1, spec.num_frames - frames, -1, -1)
        pixels = torch.cat([pixels, rest], dim=2)
        modes = [self.video_vae.encode(clip[None].to(self.device)).mode for clip in pixels]
        return torch.cat(modes), spec.seconds if frames == spec.num_frames else frames / spec.fps

    def _audio(self, audio: np.ndarray | Tensor, spec: ClipSpec) -> tuple[Tensor, float]:
        """Latents `b n d`, and how many seconds of the clip are given."""
        waveform = torch.as_tensor(audio)
        if not waveform.is_floating_point() or waveform.ndim not in (1, 2, 3):
            raise UserError(
                f"audio: got {waveform.dtype}{list(waveform.shape)}; expected float samples m or b m in "
                "[-1, 1], or latents b n d"
            )
        if waveform.ndim == 3:
            check_latents("audio", waveform, shape=self.audio_vae.latent_shape(spec), batch=None)
            return waveform.to(self.device, torch.float32), spec.seconds
        waveform = (waveform[None] if waveform.ndim == 1 else waveform).float()
        samples = waveform.shape[1]
        if not 1 <= samples <= spec.num_samples:
            raise UserError(f"audio: {samples} samples for a clip of {spec.num_samples}; give 1 to that many")
        self.before(self.audio_vae)
        whole = torch.nn.functional.pad(waveform, (0, spec.num_samples - samples))
        modes = [self.audio_vae.encode(each[None].to(self.device)).mode for each in whole]
        return torch.cat(modes), spec.seconds if samples == spec.num_samples else samples / spec.sample_rate


def are_latents(video: Frames) -> TypeGuard[Tensor]:
    """Whether a given video is latents: frames are whole numbers."""
    return isinstance(video, Tensor) and video.is_floating_point()


def check_keeps(given: Given, *, makes: Collection[str], strength: float) -> None:
    """Raises UserError where nothing is left to make, or where there is too little to edit.

    Args:
        makes: the modalities that are asked for.
    """
    held = {"video": given.holds_video, "audio": given.holds_audio}
    if all(held[name] for name in makes):
        named = " and ".join(sorted(makes, reverse=True))
        raise UserError(f"keep: all of the {named} is kept, so nothing is left to make; keep a part, or none")
    if strength < 1 and not given.covers:
        raise UserError(
            f"strength {strength:g}: what is given is shorter than the clip; give all of it, "
            "or leave strength at 1"
        )
