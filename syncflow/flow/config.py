"""Settings of the flow: times, coupling and loss in training; solver and guidance in sampling."""

from typing import Literal

from pydantic import Field, model_validator

from syncflow.config import Config


class TimeConfig(Config):
    """The law of the flow time t in training (Section 3.1: uniform)."""

    distribution: Literal["uniform", "logit_normal"] = "uniform"
    """Law of t before the shift; Open-Sora v1.2 was trained with logit_normal."""
    logit_mean: float = 0.0
    """Mean of logit(t), for logit_normal."""
    logit_std: float = Field(default=1.0, gt=0)
    """Deviation of logit(t), for logit_normal."""
    shift: Literal["none", "resolution"] = "none"
    """`resolution` moves times towards noise for larger clips, as Open-Sora v1.2 does."""
    clean_video: float = Field(default=0.0, ge=0, le=1)
    """Stages audio and joint: share of the samples whose picture is finished (t = 1) whatever the sound's
    time. At equal times (the paper) a small picture is too noisy to time a sound by while the sound is open,
    and later the sound itself tells; little teaches the tower to listen then. In stage joint these samples
    have no picture to predict, and the pictures of the others count for them."""


class CouplingConfig(Config):
    """Which noise meets which data within a mini-batch (Section 3.1, mini-batch optimal transport)."""

    method: Literal["none", "ot", "c2ot"] = "ot"
    """none: as drawn; ot: least transport; c2ot: least transport that also respects the conditions."""
    scope: Literal["batch", "update"] = "batch"
    """Samples that exchange noise: those of one worker's forward pass (`batch_size`), or all of an update,
    whatever the number of workers; that costs an exchange of the latents between them."""
    score: Literal["both", "video", "audio"] = "both"
    """The modality whose transport decides; the noise of both moves along. `video` in stage 2 keeps the
    law that the frozen video tower was trained on."""
    video_weight: float = Field(default=1.0, ge=0)
    """Weight of the video's squared distance in the cost."""
    audio_weight: float = Field(default=1.0, ge=0)
    """Weight of the audio's squared distance in the cost."""
    target_ratio: float = Field(default=0.01, gt=0, lt=1)
    """c2ot: share of all (noise, data) pairs that the condition's weight leaves cheaper than as drawn."""


class LossConfig(Config):
    """Mean squared error on the velocity, summed over the modalities that a stage scores."""

    video_weight: float = Field(default=1.0, ge=0)
    """Weight of the video's mean squared error."""
    audio_weight: float = Field(default=1.0, ge=0)
    """Weight of the audio's mean squared error."""
    time_buckets: int = Field(default=10, ge=1)
    """Equal parts of [0, 1] whose mean losses are logged."""


class FlowConfig(Config):
    """All that training needs of the flow."""

    time: TimeConfig = TimeConfig()
    coupling: CouplingConfig = CouplingConfig()
    loss: LossConfig = LossConfig()
    audio_draws: int = Field(default=1, ge=1)
    """Draws of audio noise that one pass of the video tower serves; they share its noise and time. In
    stage 2, where the video tower is frozen, a further draw costs the audio tower's part alone."""


class SolverConfig(Config):
    """How the ordinary differential equation is solved, from noise (t = 0) to data (t = 1)."""

    steps: int = Field(default=50, ge=1)
    """Steps from noise to data (Section 4: 50)."""
    method: Literal["euler", "midpoint", "heun", "ab2"] = "euler"
    """euler and ab2 (Adams-Bashforth 2) evaluate the model once a step, midpoint and heun twice."""
    spacing: Literal["uniform", "cosine", "shifted"] = "uniform"
    """Where the steps lie: equal; denser at both ends; or by `shift`."""
    shift: float = Field(default=1.0, gt=0)
    """For `shifted`: above 1 spends more of the steps near noise."""


class GuidanceConfig(Config):
    """Classifier-free guidance, equation (3): u + w (u_s - u)."""

    scale: float = Field(default=6.0, ge=0, allow_inf_nan=False)
    """w of the video, and of the audio unless it has its own."""
    audio_scale: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """w of the audio; None takes `scale`."""
    start: float = Field(default=0.0, ge=0, le=1)
    """Guidance acts from this flow time on; before it the plain conditional velocity is followed."""
    end: float = Field(default=1.0, ge=0, le=1)
    """Guidance acts up to this flow time."""

    @model_validator(mode="after")
    def _ordered(self) -> "GuidanceConfig":
        if self.start > self.end:
            raise ValueError(f"start {self.start} is after end {self.end}; give start <= end")
        return self

    @property
    def scale_of_audio(self) -> float:
        return self.scale if self.audio_scale is None else self.audio_scale

    def acts_at(self, t: float) -> bool:
        """Whether guidance acts at flow time `t`."""
        return self.start <= t <= self.end
