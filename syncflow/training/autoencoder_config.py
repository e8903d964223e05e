"""Settings of `pipelines/train_autoencoder.py`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from syncflow.autoencoders.config import AudioVAEConfig, VideoVAEConfig
from syncflow.config import Config, Role
from syncflow.places import Place, StoreUri, store_of
from syncflow.records import ClipSpec
from syncflow.training.adversarial_config import AdversarialConfig
from syncflow.training.config import OptimizerConfig


class AudioObjectiveConfig(Config):
    """Losses of the audio VAE."""

    l1_weight: float = 20.0
    """Weight of the L1 distance of the waveforms."""
    mse_weight: float = 200.0
    """Weight of the squared distance of the waveforms: L1 alone rests at silence, the median of sound."""
    mel_weight: float = 2.0
    """Weight of the multi-scale mel distance."""
    kl_weight: float = 1e-4
    """Weight of the KL term; too much makes the latent empty."""
    segment_samples: int = 48_000
    """Length of a training segment, samples."""
    level_db: tuple[float, float] = (-45.0, 0.0)
    """Quietest and loudest peak of a training window, dB of full scale, between which its level is drawn.
    Precompute encodes recordings at their own levels, so those of the dataset should lie between."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.level_db[0] <= self.level_db[1] <= 0:
            raise ValueError(f"level_db {self.level_db}: expected the quietest first, neither above 0")
        return self


class VideoObjectiveConfig(Config):
    """Losses of the video VAE, and the order in which its parts are trained."""

    l1_weight: float = 1.0
    """Weight of the L1 distance of pixels in [-1, 1]."""
    mse_weight: float = 1.0
    """Weight of the squared distance of pixels in [-1, 1]."""
    motion_weight: float = Field(default=0.0, ge=0)
    """Weight of the squared distance of the changes from frame to frame: what moves is few pixels, and counts
    for little otherwise."""
    kl_weight: float = 3e-5
    """Weight of the KL term."""
    perceptual: Path | None = None
    """Folder of a backbone of transformers (ResNet, ConvNeXt ...) in whose features pictures are compared
    too; none: pixels alone."""
    perceptual_weight: float = Field(default=0.1, ge=0)
    """Weight of the distance in the backbone's features."""
    frames_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the steps, first, in which the 2-D part alone is trained, on single frames."""
    temporal_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the steps, next, in which the temporal part alone is trained; then both."""
    decoder_only: bool = False
    """Train the decoders alone, in pixels, for all steps: latents stay as they are, bit for bit, so that what
    was trained on them still fits. For an autoencoder of `initialise_from`."""
    later_rate: float = Field(default=1.0, gt=0)
    """Learning rate once the temporal part trains, as a share of the optimizer's: it is deeper, and its first
    weights are easily undone."""
    frames_per_step: int = Field(default=8, ge=1)
    """Single frames of a batch in the first share, for each clip of the batch."""
    segment_frames: int = Field(default=32, ge=1)
    """Frames of a training segment in the later shares."""
    vary: bool = False
    """Mirror, zoom and recolour the training pictures: for small sets of clips."""


class AutoencoderTrainConfig(Config):
    """One autoencoder, trained on the sound or the pictures of a folder of clips."""

    kind: Literal["audio", "video"]
    """Which autoencoder."""
    clips: Annotated[Path, Role.WORK]
    """Folder of training clips, in any container that ffmpeg reads; or a list of files (.txt, a path a
    line, as list_clips.py writes it). All of them are used."""
    held_out: Annotated[Path, Role.WORK]
    """Folder, or list, of other clips, on which the result is measured."""
    output: Annotated[Path, Role.WORK]
    """Folder for weights, resolved.yaml, the decoded cache and the resume state."""
    initialise_from: Place = ""
    """First weights: a saved autoencoder's folder; of video also Open-Sora v1.2's folder or hub id
    (hpcai-tech/OpenSora-VAE-v1.2). Its sizes must be those of `audio` or `video`. Empty: new ones."""
    audio: AudioVAEConfig = AudioVAEConfig()
    video: VideoVAEConfig = VideoVAEConfig()
    audio_objective: AudioObjectiveConfig = AudioObjectiveConfig()
    video_objective: VideoObjectiveConfig = VideoObjectiveConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    clip: ClipSpec = ClipSpec()
    """Picture size, frame rate and sample rate; its length is that of the cached clips' windows."""
    windows_per_clip: int = Field(default=2, ge=1)
    """Non-overlapping windows that are cached of each clip, at most."""
    steps: int = Field(default=100_000, ge=1)
    """Updates."""
    batch_size: Annotated[int, Role.WORK] = Field(default=8, ge=1)
    """Segments of a batch, for each worker."""
    optimizer: OptimizerConfig = OptimizerConfig(
        lr=3e-4, betas=(0.8, 0.99), weight_decay=0.0, warmup_steps=200, decay="cosine"
    )
    """AdamW."""
    statistics_windows: int = Field(default=1024, ge=1)
    """Training windows over which mean and deviation of the latents are measured at the end."""
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the averaged weights, which are what is saved."""
    bf16: Annotated[bool, Role.ROUNDING] = False
    """bfloat16 autocast in the forward pass."""
    workers: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """Ray Train workers."""
    max_failures: Annotated[int, Role.WORK] = Field(default=2, ge=0)
    """How often a failed worker group is started again, from its last checkpoint."""
    stall_minutes: Annotated[float, Role.WORK] = Field(default=20, ge=0)
    """A worker that makes no step for so long ends, and leaves the stack of its threads in `stalled` in the
    output folder; the others do too, and are started again. 0: they wait for ever."""
    checkpoint_every: Annotated[int, Role.WORK] = Field(default=500, ge=1)
    """Steps between two states from which a run resumes."""
    log_every: Annotated[int, Role.WORK] = Field(default=50, ge=1)
    """Steps between two lines of progress."""
    validate_every: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Steps between two validations on held-out windows, a multiple of checkpoint_every; 0: none."""
    validation_windows: Annotated[int, Role.WORK] = Field(default=16, ge=1)
    """Held-out windows of a validation."""
    validation_samples: Annotated[int, Role.WORK] = Field(default=4, ge=0)
    """Of these, how many are written as pictures (and sounds) and sent to MLflow."""
    seed: int = 0
    """Seed of the weights, the segments and the posterior draws."""
    allow_change: Annotated[tuple[str, ...], Role.WORK] = ()
    """Settings, by name, in which a resumed run may differ from its beginning."""
    experiment: Annotated[str, Role.WORK] = "syncflow"
    """MLflow experiment."""
    tracking_uri: Annotated[StoreUri, Role.WORK] = ""
    """MLflow's store or server; empty takes mlflow.db beside `output`, `none` tracks nothing."""

    @property
    def tracking(self) -> str:
        """MLflow's URI; empty when nothing is tracked."""
        return store_of(self.tracking_uri, beside=self.output.resolve().parent)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.adversarial.enabled and self.kind == "video":
            raise ValueError("adversarial.enabled: there are discriminators of sound only; set it to false")
        if self.video_objective.decoder_only and not self.initialise_from:
            raise ValueError(
                "video_objective.decoder_only: new weights have no encoder to keep; set initialise_from"
            )
        if self.validate_every % self.checkpoint_every:
            raise ValueError(
                f"validate_every {self.validate_every}: must be a multiple of checkpoint_every "
                f"({self.checkpoint_every}), whose averaged weights it measures"
            )
        return self
