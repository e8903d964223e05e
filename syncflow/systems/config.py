"""Settings of `pipelines/generate.py`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from syncflow.config import Config
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.records import ClipSpec


class GenerateConfig(Config):
    """Prompts or videos in, clips out."""

    checkpoint: Path = Path()
    """Checkpoint folder of a stage (its manifest.json is beside the weights), or a saved SyncFlowPipeline."""
    output: Path
    """Folder for the mp4 files, their strips and sidecars, manifest.csv and resolved.yaml."""
    video_vae: str = ""
    """Folder of the video VAE; empty: where it lay when the checkpoint's dataset was made. Whatever its
    place, its weights must be those; so for the next two. (A saved pipeline has its own parts.)"""
    audio_vae: str = ""
    """Folder of the audio VAE; empty: likewise."""
    text_encoder: str = ""
    """Folder or hub name of the text encoder; empty: likewise."""
    prompt: tuple[str, ...] = ()
    """Prompts, one clip each (or, with `video`, one for all of the videos)."""
    prompts: Path | None = None
    """File of prompts: .txt (a line each), .csv or .jsonl (`prompt`, and `video` for video to sound)."""
    negative_prompt: str = ""
    """What to steer away from; empty: the learned null prompt."""
    video: Path | None = None
    """A clip, or a folder of clips, to make new sound for (zero-shot video to sound, Section 5)."""
    split: Literal["all", "train", "test"] = "all"
    """Which videos of a folder that lists its clip ids in train.txt and test.txt."""
    limit: int = Field(default=0, ge=0)
    """Largest number of rows that are made, the first ones; 0 makes all."""
    reproduce: Path | None = None
    """Sidecar of a clip to make again; its own settings are used."""
    per_prompt: int = Field(default=1, ge=1)
    """Clips a row, each from noise of its own."""
    seed: int = Field(default=0, ge=0)
    """Noise depends on this and on the row's number, not on the batch."""
    batch_size: int = Field(default=4, ge=1)
    """Clips that are made at once."""
    modalities: Literal["both", "video", "audio"] = "both"
    """What to make: both; picture alone (silent file); or sound alone, from a text-to-audio checkpoint."""
    clip: ClipSpec = ClipSpec()
    """Length, size and rates of the clips."""
    solver: SolverConfig = SolverConfig()
    """How the flow is followed."""
    guidance: GuidanceConfig = GuidanceConfig()
    """Classifier-free guidance, equation (3)."""
    device: str = "auto"
    """cpu, cuda, cuda:1 ...; auto takes the first GPU when there is one."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the towers; the solver's state and the autoencoders are float32."""
    strip: bool = True
    """Write a PNG of frames over the waveform beside each clip (the paper's Figure 3)."""
