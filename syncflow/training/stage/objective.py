"""What is minimised: the flow-matching loss of a stage (equation 1) over the parts that it trains."""

import math
from contextlib import nullcontext
from typing import Self

import torch
from torch import Tensor, nn

from syncflow.flow.config import FlowConfig
from syncflow.flow.latents import rows_like, send
from syncflow.flow.loss import FlowLoss, bucket_means, flow_loss
from syncflow.flow.noise import keyed_noise, keyed_uniform
from syncflow.flow.path import sample_path
from syncflow.flow.time_sampling import sample_times, shift_ratio, video_times
from syncflow.model.attention import as_they_are
from syncflow.model.dual_dit import DualDiT
from syncflow.model.video_tower import VideoOutput
from syncflow.noise import keyed_generator
from syncflow.records import AVLatents, ClipSpec, FrameTimes, LatentBatch, PathSample, TextBatch
from syncflow.training.finite import Metrics
from syncflow.training.schedule import adamw
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.known_features import KnownFeatures
from syncflow.training.stage.stages import Stage, freeze
from syncflow.training.stage.transfer import move


class FlowObjective(nn.Module):
    """Scalars of a batch: `loss`, `loss_video`, `loss_audio`, those by time, and the coupling's gain.

    Evaluation also gives `loss_audio_mismatched`, where the audio is predicted from another sample's
    picture: as long as it equals `loss_audio`, the audio tower does not listen to the video tower.

    Only the trained parts are its submodules. The frozen ones are called, and never saved, sharded or
    handed to an optimizer, so no engine can change, drop or forget them.

    In training mode noise and times are drawn by (seed, sample index). In evaluation mode the times are a
    grid (sample i has the middle of time bucket i), and the noise is fixed.
    With `flow.audio_draws` K a sample of training has K audio noises under one pass of the video tower.

    Args:
        model: both towers and the adaptors.
        stage: which parts train, and which modalities are scored.
        flow: the path, its times, the coupling and the loss.
        spec: the window of the dataset.
        frame_times: the dataset's `frame_times`, which place the video features in time.
        seed: of noise and times.
        features_gb: memory for features of finished videos that are computed once, GiB (`KnownFeatures`); 0
            where the tower trains, or a window's latents or flow time are drawn anew.
    """

    def __init__(
        self,
        model: DualDiT,
        *,
        stage: Stage,
        flow: FlowConfig,
        spec: ClipSpec,
        frame_times: FrameTimes,
        seed: int,
        features_gb: float = 0.0,
    ) -> None:
        super().__init__()
        freeze(model, stage)
        self.trained = nn.ModuleDict({part: getattr(model, part) for part in stage.trains})
        self._outside = (model,)  # in a tuple: not a submodule
        self.stage, self.flow, self.spec, self.seed = stage, flow, spec, seed
        self.frame_times = frame_times
        self.needs_video = "video" in stage.scores or model.audio_tower.reads_video
        self.needs_audio = "audio" in stage.scores
        self.clean_video = flow.time.clean_video if self.needs_audio else 0.0
        longest = model.video_tower.config.max_text_tokens
        self.known = (
            KnownFeatures(self._see_finished, longest=longest, gb=features_gb) if features_gb else None
        )
        self.drops = any(isinstance(each, nn.Dropout) and each.p > 0 for each in model.modules())  # a LoRA's
        self.train()  # weights that were read from a file come in evaluation mode

    @property
    def model(self) -> DualDiT:
        return self._outside[0]

    @property
    def device(self) -> torch.device:
        return next(self.trained.parameters()).device

    def train(self, mode: bool = True) -> Self:
        """As torch's, for the frozen parts too: in training no tower looks whether a mask hides nothing."""
        self.model.train(mode)
        return super().train(mode)

    def histories(self) -> list[nn.Module]:
        """Trained parts by the stage that first trains them: the video tower; adaptors and audio tower."""
        groups = ("video_tower",), ("adaptors", "audio_tower")
        found = [[self.trained[part] for part in group if part in self.trained] for group in groups]
        return [nn.ModuleList(parts) for parts in found if parts]

    def forward(self, batch: LatentBatch) -> Metrics:
        if not (self.training and self.drops):
            return self._forward(batch)
        key = keyed_generator("dropout", self.seed, int(batch.index[0])).initial_seed()
        with torch.random.fork_rng():
            torch.manual_seed(key)
            return self._forward(batch)

    def _forward(self, batch: LatentBatch) -> Metrics:
        given, batch = batch, move(batch, self.device)
        path = self.draw(batch)
        features = None
        if self.known is not None:
            assert batch.latents.video is not None, "a tower that sees is given videos"
            features = self.known(batch.latents.video, batch.text, batch=given)
        predicted = self.velocities(path, batch.text, features=features)
        shares = (path.video_t == path.t) / (1 - self.clean_video) if "video" in self.stage.scores else None
        loss = flow_loss(
            predicted,
            path.velocity,
            scores=self.stage.scores,
            config=self.flow.loss,
            video_shares=shares,
        )
        metrics = {
            "loss": batch.weight * loss.total,
            "coupling_gain": torch.tensor(batch.coupling_gain),
            **self._by_modality(loss, path.t, shares, batch.weight),
        }
        return metrics if self.training else metrics | self._mismatched(path, batch)

    def fault(self, metrics: Metrics, batch: LatentBatch) -> str:
        """Names the samples of `batch` where its loss is not finite; else empty. It waits for the device."""
        loss = metrics["loss"].item()
        return "" if math.isfinite(loss) else f"samples {batch.index.tolist()} have loss {loss}"

    def data(self, batch: LatentBatch) -> AVLatents:
        """The modalities of the batch that the stage's model is given."""
        return AVLatents(
            video=batch.latents.video if self.needs_video else None,
            audio=batch.latents.audio if self.needs_audio else None,
        )

    def draw(self, batch: LatentBatch) -> PathSample:
        """Points on the paths from noise to the batch."""
        x_1, draws = self.data(batch), self.flow.audio_draws if self.training else 1
        x_0 = batch.noise
        if x_0 is None:
            x_0 = keyed_noise(x_1, seed=self.seed, index=batch.noise_index, audio_draws=draws)
        t = self._times(batch)
        uniform = keyed_uniform(stream="clean_video", seed=self.seed, index=batch.index)
        video_t = video_times(t, uniform, clean=self.clean_video)
        return sample_path(x_1, x_0, send(t, batch.device), send(video_t, batch.device))

    def _times(self, batch: LatentBatch) -> Tensor:
        if not self.training:
            buckets = self.flow.loss.time_buckets
            return ((batch.index % buckets + 0.5) / buckets).float()
        uniform = keyed_uniform(stream="time", seed=self.seed, index=batch.index)
        frames = self.spec.num_frames if self.needs_video else 1
        ratio = shift_ratio(height=self.spec.height, width=self.spec.width, num_frames=frames)
        return sample_times(uniform, config=self.flow.time, ratio=ratio)

    def velocities(
        self, path: PathSample, text: TextBatch, *, features: tuple[Tensor, ...] | None = None
    ) -> AVLatents:
        """What the model predicts; a frozen video tower builds no graph, and does not run for `features`."""
        x_t, t = path.x_t, path.t
        seen = None
        if x_t.video is not None and features is None:
            seen = self._see(x_t.video, path.video_t, text)
            features = seen.features
        velocity = None if seen is None else seen.velocity
        if x_t.audio is None:
            return AVLatents(video=velocity, audio=None)
        times = rows_like(t, x_t.audio)
        heard = self.model.audio(x_t.audio, times, text, features, frame_times=self.frame_times)
        return AVLatents(video=velocity, audio=heard)

    def features(self, batch: LatentBatch) -> tuple[Tensor, ...]:
        """What the adaptors are given for the frames of a batch, noised: one `b t p e` a layer."""
        batch = move(batch, self.device)
        path = self.draw(batch)
        assert path.x_t.video is not None
        return self._see(path.x_t.video, path.video_t, batch.text).features

    def _see(self, x_t: Tensor, t: Tensor, text: TextBatch) -> VideoOutput:
        size = {"height": self.spec.height, "width": self.spec.width}
        trains, held = "video_tower" in self.stage.trains, self.model.video_tower.dtype == torch.bfloat16
        # a frozen tower that is held in bfloat16 computes without autocast, as in sampling
        as_it_is = as_they_are(x_t) if held else nullcontext()
        with torch.set_grad_enabled(torch.is_grad_enabled() and trains), as_it_is:
            return self.model.video(x_t, t, text, fps=float(self.spec.fps), **size)

    def _see_finished(self, x_1: Tensor, text: TextBatch) -> tuple[Tensor, ...]:
        return self._see(x_1, torch.ones(len(x_1), device=x_1.device), text).features

    def _mismatched(self, path: PathSample, batch: LatentBatch) -> Metrics:
        """The audio loss with the next sample's video (and the prompt of it), noised to the same time.

        A worker with one sample has no other video: it reports NaN, but calls the towers as the others
        do, for under ZeRO-3 each call gathers weights from all workers.
        """
        latents = batch.latents.video
        if not self.needs_audio or not self.model.audio_tower.reads_video:
            return {}
        audio, target = path.x_t.audio, path.velocity.audio
        assert latents is not None and audio is not None and target is not None
        x_1, text = AVLatents(video=latents.roll(1, 0), audio=None), batch.text
        x_0 = keyed_noise(x_1, seed=self.seed, index=batch.index)
        picture = sample_path(x_1, x_0, path.video_t).x_t.video
        assert picture is not None
        seen = self._see(
            picture,
            path.video_t,
            TextBatch(
                tokens=text.tokens.roll(1, 0), mask=text.mask.roll(1, 0), dropped=text.dropped.roll(1, 0)
            ),
        )
        heard = self.model.audio(audio, path.t, text, seen.features, frame_times=self.frame_times)
        each = (heard.float() - target.float()).square().flatten(1).mean(1)
        if len(each) < 2:
            each = torch.full_like(each, torch.nan)
        return self._of_times("loss_audio_mismatched", each, path.t, batch.weight)

    def _by_modality(self, loss: FlowLoss, t: Tensor, shares: Tensor | None, weight: float) -> Metrics:
        metrics: Metrics = {}
        if loss.video is not None and shares is not None:
            metrics |= self._of_times("loss_video", loss.video, t, weight, counted=shares > 0)
            metrics["loss_video"] = weight * (loss.video * shares).mean()
        if loss.audio is not None:
            metrics |= self._of_times("loss_audio", loss.audio, rows_like(t, loss.audio), weight)
        return metrics

    def _of_times(
        self, name: str, each: Tensor, t: Tensor, weight: float, *, counted: Tensor | None = None
    ) -> Metrics:
        means = bucket_means(each, t, buckets=self.flow.loss.time_buckets, counted=counted).means
        return {
            name: weight * each.mean(),
            **{f"{name}_by_time/{bucket}": mean for bucket, mean in enumerate(means)},
        }


def stage_adamw(objective: FlowObjective, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW over the parts that the stage trains, each at its rate."""
    histories = objective.histories()
    first = config.video_lr_share if config.stage == "joint" else 1.0
    return adamw(*histories, config=config.optimizer, shares=[first, 1.0][: len(histories)])
