"""Settings of the flow: times, coupling and loss in training; solver and guidance in sampling."""

from typing import Literal

from pydantic import Field, model_validator

from syncflow.config import Config


class TimeConfig(Config):
    """The law of the flow time t in training (Section 3.1: uniform)."""

    distribution: Literal["uniform", "logit_normal"] = "uniform"
    """Distribution of flow times before `shift`; Open-Sora v1.2 was trained with logit_normal."""
    logit_mean: float = 0.0
    """Mean of logit(t) under `distribution: logit_normal`."""
    logit_std: float = Field(default=1.0, gt=0)
    """Deviation of logit(t) under `distribution: logit_normal`."""
    shift: Literal["none", "resolution"] = "none"
    """`resolution` moves times towards noise for larger clips, as Open-Sora v1.2 does."""
    clean_video: float = Field(default=0.0, ge=0, le=1)
    """Stages audio and joint: share of the samples whose video is finished (t = 1) whatever the audio's time.
    At equal times (the paper) a small video is too noisy to time audio by while the audio is still open. In
    stage joint these samples have no video to predict, and the videos of the others count for them."""


class CouplingConfig(Config):
    """Which noise meets which data within a mini-batch (Section 3.1, mini-batch optimal transport)."""

    method: Literal["none", "ot", "c2ot"] = "ot"
    """`none`: noise as drawn; `ot`: optimal transport within the batch; `c2ot`: optimal transport that also
    respects the prompts."""
    scope: Literal["batch", "update"] = "batch"
    """Samples that exchange noise: those of one worker's forward pass (`batch`), or of all workers and passes
    of an update (`update`), which costs an exchange of the latents between workers."""
    score: Literal["both", "video", "audio"] = "both"
    """Modality whose transport cost decides; the noise of both moves along. `video` in stage 2 keeps the
    distribution of noise that the frozen video tower was trained with."""
    video_weight: float = Field(default=1.0, ge=0)
    """Weight of the video's squared distance in the transport cost."""
    audio_weight: float = Field(default=1.0, ge=0)
    """Weight of the audio's squared distance in the transport cost."""
    target_ratio: float = Field(default=0.01, gt=0, lt=1)
    """`c2ot`: share of all (noise, data) pairs that the weight of the prompts leaves cheaper than as
    drawn."""


class LossConfig(Config):
    """Mean squared error on the velocity, summed over the modalities that a stage scores."""

    video_weight: float = Field(default=1.0, ge=0)
    """Weight of the video's mean squared error."""
    audio_weight: float = Field(default=1.0, ge=0)
    """Weight of the audio's mean squared error."""
    time_buckets: int = Field(default=10, ge=1)
    """Number of equal parts of [0, 1] whose mean losses are logged."""


class FlowConfig(Config):
    """All that training needs of the flow."""

    time: TimeConfig = TimeConfig()
    """How flow times are drawn."""
    coupling: CouplingConfig = CouplingConfig()
    """Which noise goes with which sample."""
    loss: LossConfig = LossConfig()
    """Weights of the flow-matching loss."""
    audio_draws: int = Field(default=1, ge=1)
    """Audio noises per sample that share one pass of the video tower, its noise and its flow time. In stage
    2, where the video tower is frozen, a further one costs the audio tower's part alone."""


class SolverConfig(Config):
    """How the ordinary differential equation is solved, from noise (t = 0) to data (t = 1)."""

    steps: int = Field(default=50, ge=1)
    """Number of solver steps from noise (t = 0) to data (t = 1); the paper uses 50."""
    method: Literal["euler", "midpoint", "heun", "ab2"] = "euler"
    """Integration method: `euler` and `ab2` (Adams-Bashforth of order 2) evaluate the model once per step,
    `midpoint` and `heun` twice."""
    spacing: Literal["uniform", "cosine", "shifted"] = "uniform"
    """Spacing of the steps in flow time: `uniform`; `cosine`, denser at both ends; or `shifted` by
    `shift`."""
    shift: float = Field(default=1.0, gt=0)
    """Shift of `spacing: shifted`; above 1 more of the steps are near noise."""


class GuidanceConfig(Config):
    """Classifier-free guidance, equation (3): u + w (u_s - u)."""

    scale: float = Field(default=6.0, ge=0, allow_inf_nan=False)
    """Guidance weight w of equation (3) for the video, and for the audio unless `audio_scale` is set."""
    audio_scale: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    """Guidance weight w of equation (3) for the audio; none takes `scale`."""
    start: float = Field(default=0.0, ge=0, le=1)
    """Flow time from which guidance acts; before it the plain conditional velocity is followed."""
    end: float = Field(default=1.0, ge=0, le=1)
    """Flow time up to which guidance acts; after it the plain conditional velocity is followed."""

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
