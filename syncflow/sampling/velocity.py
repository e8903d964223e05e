"""The dual DiT as guidance calls it, for one clip's size: both towers, or the audio under a given video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from syncflow.flow.latents import per_sample, present, send
from syncflow.model.dual_dit import AdaptedFeatures, DualDiT, DualText
from syncflow.model.text import PreparedText
from syncflow.model.video_tower import VideoOutput
from syncflow.records import AVLatents, ClipSpec, FrameTimes


@dataclass(frozen=True, kw_only=True)
class ClipVelocity:
    """Velocities of video and audio of clips of one size (a `TextVelocity`)."""

    model: DualDiT
    spec: ClipSpec
    frame_times: FrameTimes

    def __call__(self, x_t: AVLatents, t: Tensor, text: DualText) -> AVLatents:
        spec, t = self.spec, send(t, present(x_t)[0].device)
        return self.model(
            x_t, t, text, fps=spec.fps, height=spec.height, width=spec.width, frame_times=self.frame_times
        )


class ReusedVideo:
    """As `ClipVelocity`, with the video tower run at every `every`-th evaluation only (a `TextVelocity`).

    Its velocity and its features change slowly with the flow time, so those of the last run serve in
    between; the audio tower runs every time. At 1 nothing is reused.
    """

    def __init__(self, clip: ClipVelocity, *, every: int) -> None:
        self.clip, self.every = clip, every
        self.calls = 0
        self.text: DualText | None = None
        self.found: VideoOutput | None = None

    def __call__(self, x_t: AVLatents, t: Tensor, text: DualText) -> AVLatents:
        if x_t.video is None:
            return self.clip(x_t, t, text)
        t = send(t, x_t.video.device)
        if self.found is None or self.text is not text or self.calls % self.every == 0:
            spec = self.clip.spec
            size = {"fps": spec.fps, "height": spec.height, "width": spec.width}
            self.text, self.calls = text, 0
            self.found = self.clip.model.video(x_t.video, t, text, **size)
        self.calls += 1
        audio = None
        if x_t.audio is not None:
            times = self.clip.frame_times
            audio = self.clip.model.audio(x_t.audio, t, text, self.found.features, frame_times=times)
        return AVLatents(video=self.found.velocity, audio=audio)


@dataclass(frozen=True, kw_only=True)
class GivenVideo:
    """A whole given video on its noised path (Section 5), or as it is whatever the audio's flow time."""

    x_0: Tensor  # noise, b c t h w
    x_1: Tensor  # its latents
    clean: bool = False

    def time(self, t: float) -> float:
        """Its own flow time when the audio is at `t`."""
        return 1.0 if self.clean else t

    def at(self, t: Tensor) -> Tensor:
        """(1 - t) x_0 + t x_1 at its own times `b`."""
        time = per_sample(t, self.x_1).to(self.x_1.dtype)
        return (1 - time) * self.x_0 + time * self.x_1


class AudioVelocity:
    """Velocity of the audio alone, under the features of a given video (a `TextVelocity`).

    The features and what the adaptors make of them do not depend on the audio, so those of several coming
    flow times are computed in one forward of the video tower and of each adaptor, and those of a time that
    is asked for twice only once.
    """

    def __init__(
        self,
        clip: ClipVelocity,
        video: GivenVideo,
        *,
        times: Sequence[float],
        per_batch: int,
        alike: Callable[[float], object],
    ) -> None:
        """`times` are the solver's, rising; `per_batch` of them at most share a forward, and only those
        for which `alike` is the same (guidance acts at both, or at neither)."""
        self.clip, self.video, self.per_batch, self.alike = clip, video, per_batch, alike
        self.times = torch.tensor(times, dtype=torch.float32).tolist()  # as the solver hands them over
        self.known: dict[float, AdaptedFeatures] = {}
        self.text: DualText | None = None  # whose features `known` holds

    def __call__(self, x_t: AVLatents, t: Tensor, text: DualText) -> AVLatents:
        assert x_t.audio is not None, "the audio is what is made"
        tower, there = self.clip.model.audio_tower, send(t, x_t.audio.device)
        if not tower.reads_video:
            audio = self.clip.model.audio(x_t.audio, there, text, None, frame_times=self.clip.frame_times)
            return AVLatents(video=None, audio=audio)
        copies = len(x_t.audio) // len(self.video.x_1)
        adapted = self._adapted(float(t[0]), text, copies=copies)
        audio = tower(
            x_t.audio, there, video=adapted.layers, video_positions=adapted.positions, text=text.audio
        )
        return AVLatents(video=None, audio=audio)

    def _adapted(self, t: float, text: DualText, *, copies: int) -> AdaptedFeatures:
        """What the audio layers read of the video when the audio is at time `t`."""
        if text is not self.text:
            self.text, self.known = text, {}
        own = self.video.time(t)
        if own not in self.known:
            later = [each for each in self.times if each > t and self.alike(each) == self.alike(t)]
            times = list(dict.fromkeys(self.video.time(each) for each in [t, *later[: self.per_batch - 1]]))
            self.known = self._compute(times, text, copies=copies)
        return self.known[own]

    def _compute(self, times: list[float], text: DualText, *, copies: int) -> dict[float, AdaptedFeatures]:
        batch, device = len(self.video.x_1), self.video.x_1.device
        each = [torch.full((batch,), t, device=device) for t in times]
        spec, model = self.clip.spec, self.clip.model
        found = model.video(
            torch.cat([self.video.at(t) for t in each for _ in range(copies)]),
            torch.cat([t for t in each for _ in range(copies)]),
            DualText(video=_tiled(text.video, len(times)), audio=None),
            fps=spec.fps,
            height=spec.height,
            width=spec.width,
        ).features
        adapted = model.adapt(found, frame_times=self.clip.frame_times)
        parts = zip(*(layer.chunk(len(times)) for layer in adapted.layers), strict=True)
        return {t: AdaptedFeatures(layers, adapted.positions) for t, layers in zip(times, parts, strict=True)}


def _tiled(text: PreparedText, times: int) -> PreparedText:
    """The whole batch of prompts, `times` times; without keys and values, of which memory holds one set."""
    if times == 1:
        return text
    mask = None if text.mask is None else text.mask.repeat(times, 1, 1, 1)
    return PreparedText(text.tokens.repeat(times, 1, 1), mask)
