"""Settings of `pipelines/generate.py`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from syncflow.config import Config, Role
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.places import PathOrHub, Place
from syncflow.records import ClipSpec
from syncflow.systems.spans import parse_keep


class SpeedConfig(Config):
    """What makes sampling faster; all off where the result would change by more than rounding."""

    video_steps_per_batch: Annotated[int, Role.ROUNDING] = Field(default=8, ge=1)
    """Video to sound: flow times whose video features are computed in one forward. They do not depend on
    the sound, so this costs memory alone."""
    video_every: int = Field(default=1, ge=1)
    """Run the video tower at every so many evaluations only, and reuse its velocity and its features in
    between: faster and less exact. 1 reuses nothing; a video that is kept whole is not touched by it."""
    compile: Annotated[bool, Role.ROUNDING] = False
    """Compile the blocks of the towers (torch.compile): slower for the first batch, then faster."""
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
    """Folder of the video VAE; empty: where it lay when the checkpoint's dataset was made. Whatever its
    place, its weights must be those; so for the next two. (A saved pipeline has its own parts.)"""
    audio_vae: Annotated[Place, Role.WORK] = ""
    """Folder of the audio VAE; empty: likewise."""
    text_encoder: Annotated[Place, Role.WORK] = ""
    """Folder or hub name of the text encoder; empty: likewise."""
    prompt: Annotated[tuple[str, ...], Role.WORK] = ()
    """Prompts, one clip each (or, with `video`, one for all of the videos)."""
    prompts: Annotated[Path | None, Role.WORK] = None
    """File of prompts: .txt (a line each), or .csv, .jsonl or .parquet (`prompt`, and `video` if any)."""
    negative_prompt: str = ""
    """What to steer away from; empty: the learned null prompt."""
    video: Annotated[Path | None, Role.WORK] = None
    """A clip, or a folder of clips, that is given: it gets new sound (zero-shot video to sound, Section 5),
    unless `keep_video`, `keep_audio` or `strength` say otherwise."""
    keep_video: str = "all"
    """What of the given picture is kept: all, none, or spans in seconds as 0-1 or 0-0.5,1.5-2."""
    keep_audio: str = "none"
    """What of the given sound is kept, likewise."""
    clean_video: bool = False
    """The audio tower sees the finished picture from the first step on, not one noised to the sound's flow
    time (the paper); its features are then computed once. A picture that is not given is made first, then
    the sound. For checkpoints whose stage audio had flow.time.clean_video."""
    strength: float = Field(default=1.0, gt=0, le=1)
    """How far what is given and not kept is changed: it is noised up to flow time 1 - strength and solved
    from there (editing). At 1 it is made anew from noise."""
    split: Annotated[Literal["all", "train", "test"], Role.WORK] = "all"
    """Which videos of a folder that lists its clip ids in train.txt and test.txt."""
    limit: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Largest number of rows that are made, the first ones; 0 makes all."""
    reproduce: Annotated[Path | None, Role.WORK] = None
    """Sidecar of a clip to make again; its own settings are used."""
    per_prompt: Annotated[int, Role.WORK] = Field(default=1, ge=1)
    """Clips a row, each from noise of its own."""
    best_of: int = Field(default=1, ge=1)
    """Candidates a clip, each from noise of its own; the one with the best sync score is kept."""
    seed: int = Field(default=0, ge=0)
    """Noise depends on this and on the row's number, not on the batch."""
    batch_size: Annotated[int, Role.ROUNDING] = Field(default=4, ge=1)
    """Clips that are made at once. Which ones follows from this and the rows alone, so a clip's bits do not
    depend on what was done before or on the number of workers."""
    modalities: Literal["both", "video", "audio"] = "both"
    """What to make: both; picture alone (silent file); or sound alone (wav), which is the sound of the clip
    that `both` would make."""
    clip: ClipSpec = ClipSpec()
    """Length, size and rates of the clips."""
    solver: SolverConfig = SolverConfig()
    """How the flow is followed."""
    guidance: GuidanceConfig = GuidanceConfig()
    """Classifier-free guidance, equation (3)."""
    speed: SpeedConfig = SpeedConfig()
    """Ways to be faster."""
    executor: Annotated[Literal["loop", "ray"], Role.WORK] = "loop"
    """`loop`: this process; `ray`: workers under Ray Data, on this machine or the cluster of RAY_ADDRESS."""
    workers: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Workers under Ray; 0 takes one a GPU, or one a CPU where there is none."""
    device: Annotated[str, Role.ROUNDING] = "auto"
    """cpu, cuda, cuda:1 ...; auto takes the first GPU when there is one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the towers; the solver's state and the autoencoders are float32."""
    offload: Annotated[bool, Role.WORK] = False
    """Hold on the GPU only the part that runs (text encoder, towers, autoencoders): for small GPUs."""
    strip: Annotated[bool, Role.WORK] = True
    """Write a PNG of frames over the waveform beside each clip (the paper's Figure 3)."""
    wav: Annotated[bool, Role.WORK] = False
    """Write the sound as a wav beside each mp4, too."""

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
    def _candidates(self) -> "GenerateConfig":
        if self.best_of > 1 and self.modalities != "both":
            raise ValueError(
                f"best_of {self.best_of} with modalities {self.modalities}: the sync score needs picture and "
                "sound; set best_of to 1"
            )
        return self
