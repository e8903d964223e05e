"""Settings of `pipelines/generate.py`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from syncflow.config import Config, Role
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.places import PathOrHub, Place
from syncflow.records import ClipSpec
from syncflow.sampling.spans import parse_keep

EvaluationInputs = Literal["prompt", "video", "both"]


class SpeedConfig(Config):
    """What makes sampling faster; all off where the result would change by more than rounding."""

    video_steps_per_batch: Annotated[int, Role.ROUNDING] = Field(default=8, ge=1)
    """Video to audio: flow times whose video features are computed in one forward pass. They do not depend on
    the audio, so a larger number costs memory alone."""
    video_every: int = Field(default=1, ge=1)
    """Run the video tower at every so many evaluations only, and reuse its velocity and features in between:
    faster and less exact. 1 reuses nothing; a video that is kept whole is not changed by it."""
    compile: Annotated[bool, Role.ROUNDING] = False
    """Compile the blocks of the towers (torch.compile): slower for the first batch, then faster."""
    fp8: bool = False
    """Compute the products in the blocks of both towers in float8 (e4m3), with `dtype` bfloat16: half of the
    weights' memory and faster products on GPUs from Ada and Hopper on; velocities differ by some percent."""
    cuda_graphs: Annotated[bool, Role.WORK] = False
    """Run both towers as one CUDA graph, recorded once for each size of clip and batch: the same clips, and
    sooner where few are made at once. Not with `offload`."""


class GenerateConfig(Config):
    """Prompts or videos in, clips out."""

    checkpoint: Annotated[PathOrHub, Role.WORK] = Path()
    """Checkpoint folder of a stage (its manifest.json is beside the weights), a saved SyncFlowPipeline, or
    `tiny`, the small pipeline that comes with the package."""
    output: Annotated[Path, Role.WORK]
    """Folder for the mp4 files, their strips and sidecars, manifest.csv and resolved.yaml."""
    video_vae: Annotated[Place, Role.WORK] = ""
    """Folder of the video VAE; empty: where it was when the checkpoint's dataset was encoded. Its weights
    must be those of that time. A saved pipeline has its own."""
    audio_vae: Annotated[Place, Role.WORK] = ""
    """Folder of the audio VAE; empty: where it was when the checkpoint's dataset was encoded. Its weights
    must be those of that time. A saved pipeline has its own."""
    text_encoder: Annotated[Place, Role.WORK] = ""
    """Folder or hub name of the text encoder; empty: where it was when the checkpoint's dataset was encoded.
    Its weights must be those of that time. A saved pipeline has its own."""
    lora: Annotated[Path | None, Role.WORK] = None
    """Folder of a LoRA (pytorch_lora_weights.safetensors), as a stage with lora.rank hands it over; it is
    merged into the towers before clips are made. Example: out/lora/runs/joint/checkpoint."""
    lora_scale: Annotated[float, Role.WORK] = Field(default=1.0, ge=0)
    """How much of the LoRA is added: 1 is as it was trained, 0 nothing."""
    prompt: Annotated[tuple[str, ...], Role.WORK] = ()
    """Prompts, one clip each (or, with `video`, one for all of the videos)."""
    prompts: Annotated[Path | None, Role.WORK] = None
    """File of prompts: .txt (one per line), or .csv, .jsonl or .parquet with a column `prompt`, and `video`
    if any."""
    evaluation_set: Annotated[Path | None, Role.WORK] = None
    """Table that make_evaluation_set.py wrote (id, prompt, video, start_s), in place of `prompt`, `prompts`
    and `video`: one row per clip, under its id. Example: out/greatest_hits/test.csv."""
    evaluation_inputs: Annotated[EvaluationInputs, Role.WORK] = "prompt"
    """What of an evaluation set's rows is given: `prompt`; the frames of `video` from `start_s` on, without a
    prompt (video to audio); or `both`."""
    negative_prompt: str = ""
    """Prompt that guidance steers away from; empty: the learned null prompt."""
    video: Annotated[Path | None, Role.WORK] = None
    """A given clip, or a folder of clips: each gets new audio (zero-shot video to audio, Section 5), unless
    `keep_video`, `keep_audio` or `strength` say otherwise."""
    keep_video: str = "all"
    """Part of the given video that is kept: all, none, or spans in seconds, for example 0-1 or
    0-0.5,1.5-2."""
    keep_audio: str = "none"
    """Part of the given audio that is kept: all, none, or spans in seconds, for example 0-1 or
    0-0.5,1.5-2."""
    clean_video: bool = False
    """The audio tower reads the finished video from the first step on, not one noised to the audio's flow
    time (the paper); its features are then computed once. A video that is not given is made first, then the
    audio. For checkpoints whose audio stage had flow.time.clean_video."""
    strength: float = Field(default=1.0, gt=0, le=1)
    """How far the part that is given and not kept is changed: it is noised back to flow time 1 - strength and
    solved from there (editing); 1 makes it anew from noise."""
    split: Annotated[Literal["all", "train", "test"], Role.WORK] = "all"
    """Which videos of a folder that lists its clip ids in train.txt and test.txt."""
    limit: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Largest number of rows that are generated, in the order of the file; 0 generates all."""
    reproduce: Annotated[Path | None, Role.WORK] = None
    """Sidecar of a clip to make again; its own settings are used."""
    per_prompt: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """Clips per row, each from its own noise."""
    best_of: int = Field(default=1, ge=1)
    """Candidates per clip, each from its own noise; the one with the best sync score is kept."""
    seed: int = Field(default=0, ge=0)
    """Seed of the noise. The noise of a clip depends on it and on the number of its row, not on its batch."""
    batch_size: Annotated[int, Role.ROUNDING] = Field(default=4, ge=1)
    """Clips that are generated at once. Batches follow from this and the rows alone, so the bits of a clip do
    not depend on earlier runs or on the number of workers."""
    modalities: Literal["both", "video", "audio"] = "both"
    """What to make: `both`; `video` alone (a silent file); or `audio` alone (wav), which is the audio of the
    clip that `both` would make."""
    clip: ClipSpec = ClipSpec()
    """Length, size and rates of the clips."""
    solver: SolverConfig = SolverConfig()
    """Solver that integrates the velocity from noise to data."""
    guidance: GuidanceConfig = GuidanceConfig()
    """Classifier-free guidance, equation (3)."""
    speed: SpeedConfig = SpeedConfig()
    """Options that make sampling faster."""
    executor: Annotated[Literal["loop", "ray"], Role.WORK] = "loop"
    """`loop`: this process; `ray`: workers under Ray Data, on this machine or the cluster of RAY_ADDRESS."""
    workers: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Workers under Ray; 0 takes one per GPU, or one per CPU where there is no GPU."""
    device: Annotated[str, Role.ROUNDING] = "auto"
    """Device: cpu, cuda, cuda:1 ...; auto takes the first GPU when there is one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the towers; the solver's state and the autoencoders are float32."""
    offload: Annotated[bool, Role.WORK] = False
    """Hold on the GPU only the part that runs (text encoder, towers, autoencoders): for small GPUs."""
    strip: Annotated[bool, Role.WORK] = True
    """Write a PNG of frames over the waveform beside each clip (the paper's Figure 3)."""
    wav: Annotated[bool, Role.WORK] = False
    """Whether to write the audio as a wav file beside each mp4 too."""

    @field_validator("keep_video", "keep_audio")
    @classmethod
    def _keep(cls, text: str) -> str:
        parse_keep(text)
        return text

    @model_validator(mode="after")
    def _device_of_workers(self) -> "GenerateConfig":
        if self.executor == "ray" and ":" in self.device:
            raise ValueError(
                f"device {self.device} with executor ray: each worker has its own GPU; give cuda"
            )
        return self

    @model_validator(mode="after")
    def _types(self) -> "GenerateConfig":
        if self.speed.fp8 and self.dtype != "bfloat16":
            raise ValueError(
                f"speed.fp8 with dtype {self.dtype}: results of products in float8 are bfloat16; "
                "set dtype to bfloat16"
            )
        return self

    @model_validator(mode="after")
    def _candidates(self) -> "GenerateConfig":
        if self.best_of > 1 and self.modalities != "both":
            raise ValueError(
                f"best_of {self.best_of} with modalities {self.modalities}: the sync score needs video and "
                "audio; set best_of to 1"
            )
        return self
