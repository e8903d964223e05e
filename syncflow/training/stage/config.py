"""Settings of a training stage; the defaults are the paper's (Section 4, Setup Details)."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from syncflow.checkpoint import StageName
from syncflow.config import Config, Role
from syncflow.data.config import DataFilters
from syncflow.flow.config import FlowConfig
from syncflow.model.config import DualDiTConfig
from syncflow.places import Place, StoreUri, store_of
from syncflow.training.engine_config import EngineConfig, OptimizerConfig

LORA_LAYERS = ("query_key_value", "query", "key_value", "output", "expand", "contract")


class MachineConfig(Config):
    """The GPUs that `--plan` reckons with; the peak rate is also what MFU is a share of."""

    gpu: Annotated[str, Role.WORK] = "H100"
    """Name of the GPUs, for example H100, H200, A100, L40S."""
    peak_tflops: Annotated[float, Role.WORK] = Field(default=0, ge=0)
    """Peak rate of bfloat16 matrix products, TFLOP/s; 0: the published rate of `gpu`."""
    memory_gib: Annotated[float, Role.WORK] = Field(default=80, gt=0)
    """Memory per GPU, GiB."""
    mfu: Annotated[float, Role.WORK] = Field(default=0.0, ge=0, le=1)
    """Share of the peak rate that training is expected to reach; 0: the share that was measured for the
    stage."""


class CheckpointConfig(Config):
    """What is kept of a run, and how often."""

    every: Annotated[int, Role.WORK] = Field(default=500, ge=1)
    """Steps between the states from which a run resumes."""
    keep: Annotated[int, Role.WORK] = Field(default=3, ge=1)
    """Number of saved states; older ones are deleted."""
    weights: Annotated[Literal["ema", "raw"], Role.WORK] = "ema"
    """Weights that are handed to the next stage and to sampling: the moving average (`ema`), or the last
    step's (`raw`)."""
    average_last: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """Number of last states whose weights are averaged for the hand-over; 1 averages none."""

    @model_validator(mode="after")
    def _check(self) -> "CheckpointConfig":
        if self.average_last > self.keep:
            raise ValueError(f"average_last {self.average_last} of {self.keep} kept; raise keep")
        return self


class SamplesConfig(Config):
    """Clips that are made while a stage trains."""

    every: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Steps between two sets of clips; clips are also made at the end. 0: never."""
    count: Annotated[int, Role.WORK] = Field(default=4, ge=1)
    """Number of clips, made for the first windows of the test split."""
    steps: Annotated[int, Role.WORK] = Field(default=25, ge=1)
    """Euler steps per clip."""
    guidance: Annotated[float, Role.WORK] = Field(default=1.0, ge=0)
    """Guidance weight; 1 is the plain conditional velocity, which takes half the time."""


class LoraConfig(Config):
    """LoRA: small matrices beside frozen linear layers train in place of the stage's parts; `[lora]`."""

    rank: int = Field(default=0, ge=0)
    """Rank of the added matrices, for example 16; 0: no LoRA, the parts of the stage train themselves."""
    alpha: float = Field(default=0, ge=0)
    """What the added matrices are scaled by, over their rank; 0: the rank, that is a scale of 1."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Probability with which an input of the added matrices is dropped in training."""
    layers: tuple[str, ...] = Field(default=LORA_LAYERS, min_length=1)
    """Names of the linear layers that get them, in the parts that the stage trains: video tower (`video`),
    adaptors and audio tower (`audio`), or all (`joint`)."""


class TrainConfig(Config):
    """One stage of training: pipelines/train_stage.py."""

    stage: StageName
    """`video` trains the video tower, `audio` the audio tower and adaptors with the video tower frozen,
    `joint` everything."""
    data: Annotated[Path, Role.WORK]
    """Dataset of latents, as precompute_latents.py wrote it."""
    output: Annotated[Path, Role.WORK] = Path("out/train")
    """Folder of the whole run; the stage writes into the subfolder of its name. With several machines it must
    be on shared storage."""
    initialise_from: Annotated[Place, Role.WORK] = "auto"
    """First weights: `auto` (the checkpoint of the stage before, under the same output; nothing for
    `video`), `none`, a checkpoint folder, or an Open-Sora v1.2 folder or hub id
    (hpcai-tech/OpenSora-STDiT-v3) for the video tower; stage `audio` leaves it as it is there. A saved
    pipeline's folder, or `tiny`, for fine-tuning."""
    experiment: Annotated[str, Role.WORK] = "syncflow"
    """MLflow experiment in which the run is filed."""
    run: Annotated[str, Role.WORK] = ""
    """Name of the parent run of all stages; empty takes the name of `output`, or of the folder above where
    that is `runs`."""
    tracking_uri: Annotated[StoreUri, Role.WORK] = ""
    """MLflow's store or server; empty takes mlflow.db beside `output`, `none` tracks nothing."""
    lora: LoraConfig = LoraConfig()
    """Train a LoRA of the first weights in place of the weights themselves. The checkpoint is then the
    adapter alone, pytorch_lora_weights.safetensors, as diffusers loads it."""
    model: DualDiTConfig = DualDiTConfig()
    """Sizes of the two towers and the adaptors."""
    flow: FlowConfig = FlowConfig()
    """Flow times, coupling and loss."""
    filters: DataFilters = DataFilters()
    """Rows of the dataset to train on."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """AdamW and its learning rate."""
    engine: EngineConfig = EngineConfig()
    """What does the updates: DeepSpeed ZeRO or plain torch."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Saved states, and the checkpoint that is handed over."""
    machine: MachineConfig = MachineConfig()
    """GPUs that `plan` assumes."""
    plan: Annotated[bool, Role.WORK] = False
    """Only print what the stage needs: memory, hours, data rate, disk."""
    plan_windows: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """For `plan` while `data` is not there yet: windows to train on, to count passes; 0: not known."""
    whitening_samples: int = Field(default=1024, ge=1)
    """Stage `audio` with model.adaptor.whiten: number of samples on whose features the whitening is
    measured."""
    carry_moments: bool = False
    """`joint`: begin with the Adam moments that stage `audio` ended with, for the parts that both train; its
    states are looked for beside its checkpoint."""
    video_lr_share: float = Field(default=1.0, gt=0, le=1)
    """`joint`: learning rate of the video tower, as a share of `optimizer.lr`. Below 1 the features that the
    audio was trained on change more slowly."""
    steps: Annotated[int, Role.WORK] = Field(default=150_000, ge=1)
    """Number of updates in all, those before a resume included."""
    batch_size: Annotated[int, Role.WORK] = Field(default=16, ge=1)
    """Samples per worker in one forward pass."""
    accumulate: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """Forward passes per update."""
    workers: Annotated[int, Role.WORK] = Field(default=32, ge=1)
    """Worker processes; one GPU each where there are GPUs."""
    min_workers: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Train on with as few as these when others are lost, and with up to `workers` when they are back;
    an update keeps its samples. 0: exactly `workers`."""
    max_failures: Annotated[int, Role.WORK] = Field(default=3, ge=0)
    """How often workers that died are started again, from the last state."""
    stall_minutes: Annotated[float, Role.WORK] = Field(default=20, ge=0)
    """Minutes without a step after which a worker ends, and leaves the stack of its threads in `stalled` in
    the stage's folder; the other workers end too, and all start again. 0: they wait without end."""
    prompt_dropout: float = Field(default=0.1, ge=0, le=1)
    """Share of prompts that the null prompt replaces, for guidance."""
    ema_decay: float = Field(default=0.9999, ge=0, lt=1)
    """Decay per step of the moving average of the weights (reached slowly: (1+n)/(10+n)); 0: no average."""
    seed: int = 0
    """Seed of the first weights, the order of samples, noise, flow times and dropped prompts."""
    log_every: Annotated[int, Role.WORK] = Field(default=10, ge=1)
    """Steps between two points in MLflow and two lines of progress."""
    validate_every: Annotated[int, Role.WORK] = Field(default=500, ge=0)
    """Steps between two validations on the test split, with fixed noise and flow times; 0: never."""
    validation_batches: Annotated[int, Role.WORK] = Field(default=8, ge=1)
    """Number of batches per validation."""
    samples: SamplesConfig = SamplesConfig()
    """Clips that are generated while training, with their sync score."""
    cache_gb: Annotated[float, Role.WORK] = Field(default=4.0, gt=0)
    """Memory per worker for latents that were read before, GiB."""
    one_video_draw: bool = False
    """Each window keeps one draw of its video latents for the whole run, instead of one each time that it is
    seen. Stage `audio` with flow.time.clean_video 1 then computes the features of a video once."""
    features_gb: Annotated[float, Role.ROUNDING] = Field(default=1.0, ge=0)
    """Memory per worker, on the device that trains, for features of videos computed once, GiB; 0: they are
    computed each time."""
    frozen_fp8: bool = False
    """Stage `audio`: compute the products in the blocks of the frozen video tower in float8 (e4m3), for GPUs
    from Ada and Hopper on. Features differ by some percent; the checkpoint has the tower's own weights."""
    cpus_per_worker: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """CPU cores per worker."""
    begin_again: Annotated[bool, Role.WORK] = False
    """Set aside what an earlier run has left in the stage's folder (as `before_1` there), and begin again."""
    allow_change: Annotated[tuple[str, ...], Role.WORK] = ()
    """Settings, by dotted name, in which a resumed run may differ from its beginning."""

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        coupling, hears = self.flow.coupling, self.model.audio.context != "text"
        given = {"video": ("video",), "audio": ("video", "audio") if hears else ("audio",)}
        parts = given.get(self.stage, ("video", "audio"))
        if "audio" not in parts and self.flow.audio_draws > 1:
            raise ValueError(
                f"flow.audio_draws {self.flow.audio_draws}: stage {self.stage} has no audio; leave it at 1"
            )
        if self.stage == "joint" and self.flow.time.clean_video == 1:
            raise ValueError(
                "flow.time.clean_video 1.0: no video is left for stage joint to learn from; set it below 1"
            )
        if coupling.method != "none" and coupling.score not in ("both", *parts):
            raise ValueError(
                f"flow.coupling.score {coupling.score}: stage {self.stage} of this model is given no "
                f"{coupling.score}; set it to {parts[0]}"
            )
        if self.frozen_fp8 and self.stage != "audio":
            raise ValueError(
                f"frozen_fp8: stage {self.stage} trains the video tower, and no gradient goes through "
                "float8; set it for stage audio only"
            )
        if self.frozen_fp8 and not self.engine.bf16:
            raise ValueError(
                "frozen_fp8 without engine.bf16: the rest of the frozen tower is held in bfloat16; "
                "set engine.bf16 to true"
            )
        if self.lora.rank and self.carry_moments:
            raise ValueError("carry_moments with lora.rank: a LoRA has no earlier moments; leave one out")
        if self.lora.rank and self.engine.kind == "deepspeed":
            raise ValueError(
                "engine.kind deepspeed with lora.rank: ZeRO has nothing to share out; "
                "set engine.kind to torch"
            )
        if self.lora.rank and self.initialise_from == "none":
            raise ValueError(
                "initialise_from none with lora.rank: a LoRA needs trained weights; give a checkpoint, "
                "a saved pipeline, or `tiny`"
            )
        if self.carry_moments and self.stage != "joint":
            raise ValueError(f"carry_moments: stage {self.stage} continues no part; set it for joint only")
        if self.samples.every and self.uses_zero and self.engine.zero_stage == 3:
            raise ValueError(
                f"samples.every {self.samples.every} with zero_stage 3: no worker holds all weights; "
                "set zero_stage to 2 or less, or samples.every to 0"
            )
        if self.min_workers > self.workers:
            raise ValueError(f"min_workers {self.min_workers} of {self.workers} workers; lower it")
        if self.min_workers and coupling.method != "none" and coupling.scope == "batch":
            raise ValueError(
                f"min_workers {self.min_workers}: the pairing of noise and data would change with the "
                "number of workers; set flow.coupling.scope to update"
            )
        return self

    @property
    def uses_zero(self) -> bool:
        """Whether the engine is DeepSpeed's ZeRO: where there is nothing to share, plain torch does less."""
        several = self.workers > 1 and not self.lora.rank
        return self.engine.kind == "deepspeed" or (self.engine.kind == "auto" and several)

    @property
    def knows_features(self) -> bool:
        """Whether a video has the same features each time: the tower is frozen, nothing is drawn anew."""
        finished = self.stage == "audio" and self.flow.time.clean_video == 1 and self.one_video_draw
        return finished and self.model.audio.context != "text" and self.features_gb > 0

    @property
    def folder(self) -> Path:
        """What this stage writes."""
        return self.output / self.stage

    @property
    def update_samples(self) -> int:
        """Samples of one update, over all workers."""
        return self.batch_size * self.accumulate * self.workers

    @property
    def run_name(self) -> str:
        folder = self.output.resolve()
        return self.run or (folder.parent.name if folder.name == "runs" else folder.name)

    @property
    def tracking(self) -> str:
        """MLflow's URI; empty when nothing is tracked."""
        return store_of(self.tracking_uri, beside=self.output.resolve().parent)
