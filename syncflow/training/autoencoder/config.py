"""Settings of `pipelines/train_autoencoder.py`."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from syncflow.autoencoders.config import AudioVAEConfig, VideoVAEConfig
from syncflow.config import Config, Role
from syncflow.places import Place, StoreUri, store_of
from syncflow.records import ClipSpec
from syncflow.training.autoencoder.adversarial_config import AdversarialConfig
from syncflow.training.engine_config import OptimizerConfig


class AudioObjectiveConfig(Config):
    """Losses of the audio VAE."""

    l1_weight: float = 20.0
    """Weight of the L1 distance of waveforms in the audio VAE's loss."""
    mse_weight: float = 200.0
    """Weight of the squared distance of waveforms; with L1 alone the decoder stays at silence, the median of
    a waveform."""
    mel_weight: float = 2.0
    """Weight of the multi-scale mel distance in the audio VAE's loss."""
    kl_weight: float = 1e-4
    """Weight of the KL term of the audio VAE; too large a weight empties the latents."""
    segment_samples: int = 48_000
    """Length of an audio training segment, samples."""
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
    """Weight of the squared distance of the changes from frame to frame: few pixels move, and they count for
    little otherwise."""
    kl_weight: float = 3e-5
    """Weight of the KL term of the video VAE."""
    perceptual: Path | None = None
    """Folder of a transformers backbone (ResNet, ConvNeXt ...) in whose features frames are compared too;
    none: pixels alone."""
    perceptual_weight: float = Field(default=0.1, ge=0)
    """Weight of the distance in the backbone's features."""
    frames_share: float = Field(default=0.5, ge=0, le=1)
    """Share of the steps, the first ones, in which the 2-D part alone is trained, on single frames."""
    temporal_share: float = Field(default=0.3, ge=0, le=1)
    """Share of the steps, after `frames_share`, in which the temporal part alone is trained; then both
    are."""
    decoder_only: bool = False
    """Train the decoders alone, in pixels, for all steps: the latents stay the same, bit for bit, so that
    models trained on them still fit. For an autoencoder of `initialise_from`."""
    later_rate: float = Field(default=1.0, gt=0)
    """Learning rate once the temporal part trains, as a share of `optimizer.lr`: that part is deeper, and its
    first weights are easily lost."""
    frames_per_step: int = Field(default=8, ge=1)
    """Single frames per clip of a batch while the 2-D part alone is trained."""
    segment_frames: int = Field(default=32, ge=1)
    """Length of a video training segment, frames, once the temporal part trains."""
    vary: bool = False
    """Whether training frames are mirrored, zoomed and recoloured: for small sets of clips."""


class AutoencoderTrainConfig(Config):
    """One autoencoder, trained on the audio or the frames of a folder of clips."""

    kind: Literal["audio", "video"]
    """Which autoencoder is trained: `audio` or `video`."""
    clips: Annotated[Path, Role.WORK]
    """Folder of training clips, in any container that ffmpeg reads; or a list of files (.txt, one path per
    line, as list_clips.py writes it). All of them are used."""
    held_out: Annotated[Path, Role.WORK]
    """Folder, or list, of held-out clips on which the result is measured."""
    output: Annotated[Path, Role.WORK]
    """Folder for weights, resolved.yaml, the decoded cache and the resume state."""
    initialise_from: Place = ""
    """First weights: the folder of a saved autoencoder; for video also Open-Sora v1.2's folder or hub id
    (hpcai-tech/OpenSora-VAE-v1.2). Its sizes must be those of `audio` or `video`. Empty: new weights."""
    audio: AudioVAEConfig = AudioVAEConfig()
    """Sizes of the audio VAE."""
    video: VideoVAEConfig = VideoVAEConfig()
    """Sizes of the video VAE."""
    audio_objective: AudioObjectiveConfig = AudioObjectiveConfig()
    """Losses and segments of the audio VAE."""
    video_objective: VideoObjectiveConfig = VideoObjectiveConfig()
    """Losses, segments and order of training of the video VAE."""
    adversarial: AdversarialConfig = AdversarialConfig()
    """Adversarial training of the audio VAE."""
    clip: ClipSpec = ClipSpec()
    """Size, frame rate and sample rate of the training windows, and the length of those that are cached."""
    windows_per_clip: int = Field(default=2, ge=1)
    """Largest number of non-overlapping windows that are cached per clip."""
    steps: int = Field(default=100_000, ge=1)
    """Number of updates of the weights."""
    batch_size: Annotated[int, Role.WORK] = Field(default=8, ge=1)
    """Training segments per batch and worker."""
    optimizer: OptimizerConfig = OptimizerConfig(
        lr=3e-4, betas=(0.8, 0.99), weight_decay=0.0, warmup_steps=200, decay="cosine"
    )
    """AdamW and its learning rate."""
    statistics_windows: int = Field(default=1024, ge=1)
    """Training windows over which mean and deviation of the latents are measured at the end."""
    ema_decay: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the averaged weights, which are what is saved."""
    bf16: Annotated[bool, Role.ROUNDING] = False
    """Whether the forward pass computes matrix products in bfloat16 (autocast)."""
    workers: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """Ray Train workers; one GPU each where there are GPUs."""
    max_failures: Annotated[int, Role.WORK] = Field(default=2, ge=0)
    """How often a failed worker group is started again, from its last checkpoint."""
    stall_minutes: Annotated[float, Role.WORK] = Field(default=20, ge=0)
    """Minutes without a step after which a worker ends, and leaves the stack of its threads in `stalled` in
    the output folder; the other workers end too, and all start again. 0: they wait without end."""
    checkpoint_every: Annotated[int, Role.WORK] = Field(default=500, ge=1)
    """Steps between two states from which a run resumes."""
    log_every: Annotated[int, Role.WORK] = Field(default=50, ge=1)
    """Steps between two lines of progress."""
    validate_every: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Steps between two validations on held-out windows, a multiple of checkpoint_every; 0: none."""
    validation_windows: Annotated[int, Role.WORK] = Field(default=16, ge=1)
    """Held-out windows per validation."""
    validation_samples: Annotated[int, Role.WORK] = Field(default=4, ge=0)
    """Validation windows that are written as images (and audio files) and sent to MLflow."""
    seed: int = 0
    """Seed of the weights, the segments and the posterior draws."""
    allow_change: Annotated[tuple[str, ...], Role.WORK] = ()
    """Settings, by name, in which a resumed run may differ from its beginning."""
    experiment: Annotated[str, Role.WORK] = "syncflow"
    """MLflow experiment in which the run is filed."""
    tracking_uri: Annotated[StoreUri, Role.WORK] = ""
    """MLflow's store or server; empty takes mlflow.db beside `output`, `none` tracks nothing."""

    @property
    def tracking(self) -> str:
        """MLflow's URI; empty when nothing is tracked."""
        return store_of(self.tracking_uri, beside=self.output.resolve().parent)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.adversarial.enabled and self.kind == "video":
            raise ValueError("adversarial.enabled: there are discriminators of audio only; set it to false")
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
