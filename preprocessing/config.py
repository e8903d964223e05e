"""Settings of precompute (`pipelines/precompute_latents.py`)."""

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from preprocessing.decode_config import DecodeConfig, FilterConfig, WindowConfig
from preprocessing.sources.config import SourceConfig
from syncflow.config import Config, Role
from syncflow.places import FolderOrUrl, Place
from syncflow.records import ClipSpec
from syncflow.text_config import TextConfig

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")  # a Path has one slash where the URL had two
MODELS = {"git": "microsoft/git-base-vatex", "qwen3-vl": "Qwen/Qwen3-VL-4B-Instruct"}


class CaptionConfig(Config):
    """Where captions come from. (The paper's VideoOFA was never released.)"""

    kind: Literal["label", "manifest", "git", "qwen3-vl"] = "git"
    """`label`: the class as a sentence; `manifest`: the source's own captions, or a captions file, and the
    label where there is none; `git`, `qwen3-vl`: a captioning model."""
    fallback: str = ""
    """Caption of a clip whose source has none; empty: such a clip is rejected as no_caption."""
    model: Place = ""
    """Folder or hub name of the caption model (`GitForCausalLM`, `Qwen3VLForConditionalGeneration`); empty:
    microsoft/git-base-vatex, Qwen/Qwen3-VL-4B-Instruct."""
    span: Literal["window", "clip"] = "window"
    """What a caption model sees: `window`, the two seconds of each window; `clip`, the whole clip, whose
    caption all of its windows share."""
    frames: int = Field(default=6, ge=1, le=64)
    """Evenly spaced frames that the caption model is shown."""
    prompt: str = "Describe in one sentence what happens in this video, and what makes a sound in it."
    """Instruction that qwen3-vl is given with the frames."""
    max_tokens: int = Field(default=40, ge=1)
    """Longest caption that the caption model may write, tokens."""
    batch: Annotated[int, Role.ROUNDING] = Field(default=8, ge=1)
    """Captions that the caption model writes at once."""

    @property
    def by_model(self) -> bool:
        """Whether a model writes them."""
        return self.kind in MODELS

    @property
    def location(self) -> str:
        """Where the model lies."""
        return self.model or MODELS[self.kind]

    @property
    def overview_frames(self) -> int:
        """Frames of the whole clip that have to be decoded for its caption."""
        return self.frames if self.by_model and self.span == "clip" else 0


class EncodeConfig(Config):
    """The models that turn windows and captions into latents and embeddings."""

    video_vae: Annotated[Place, Role.WORK] = "hpcai-tech/OpenSora-VAE-v1.2"
    """Folder of a video VAE (this project's or Open-Sora's format), or its name on the Hugging Face hub."""
    audio_vae: Annotated[FolderOrUrl, Role.WORK]
    """Folder of an audio VAE, as train_autoencoder.py writes it."""
    text: TextConfig = TextConfig()
    """Text encoder of the captions."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the autoencoders; the stored moments are float16."""
    batch: Annotated[int, Role.ROUNDING] = Field(default=8, ge=1)
    """Windows of one clip that are encoded at once."""
    max_latent: float = Field(default=1000.0, gt=0)
    """Largest absolute mean, and deviation, of a normalised latent; a clip with one above it fails as
    huge_latents."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Role.ROUNDING] = "auto"
    """Device of the models: cpu, cuda, cuda:1 ...; auto takes a GPU where there is one."""


class PrecomputeConfig(Config):
    """Source -> decode -> filter -> caption -> encode -> Parquet."""

    source: SourceConfig
    """Dataset whose clips are encoded."""
    output: Annotated[Path, Role.WORK]
    """Folder of the dataset, local or on a network file system; a job that was cut off goes on there."""
    spec: ClipSpec = ClipSpec()
    """Length, size and rates of a window."""
    windows: WindowConfig = WindowConfig()
    """Which windows of a clip are encoded."""
    decode: DecodeConfig = DecodeConfig()
    """Limits and backend of the decoders."""
    filters: FilterConfig = FilterConfig()
    """Which windows are left out at once (training can leave out more by the stored scores)."""
    caption: CaptionConfig = CaptionConfig()
    """Where captions come from."""
    encode: EncodeConfig
    """Autoencoders and text encoder."""
    executor: Annotated[Literal["ray", "loop"], Role.WORK] = "ray"
    """`ray`: workers under Ray Data, here or on a cluster; `loop`: this process alone."""
    workers: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Most workers of a pool under Ray; 0: what the cluster's CPUs and GPUs hold now. More than that is
    reached as an autoscaling cluster grows."""
    stages: Annotated[Literal["auto", "fused", "split"], Role.WORK] = "auto"
    """Under Ray, `fused` (and `auto`): a worker decodes, captions, encodes and writes; `split`: CPU workers
    decode, and others, on the GPUs where there are any, caption and encode (it takes 2 CPUs or more)."""
    clips_per_shard: Annotated[int, Role.WORK] = Field(default=16, ge=1, le=4096)
    """Clips that are committed together; a kill loses at most this many per worker."""
    clips_at_once: Annotated[int, Role.ROUNDING] = Field(default=4, ge=1)
    """Clips whose frames a worker holds in memory at once."""
    failure_budget: Annotated[float, Role.WORK] = Field(default=0.05, ge=0, le=1)
    """Share of the clips that are there that may fail; above it the exit status is 3 (the dataset is
    written)."""
    missing_budget: Annotated[float, Role.WORK] = Field(default=0.5, ge=0, le=1)
    """Share of the inputs whose files may be missing; above it the exit status is 3 (the dataset is written).
    About a fifth of VGGSound can no longer be had."""
    drop_missing: Annotated[bool, Role.WORK] = False
    """Take accepted clips whose files are not there any more out of the dataset; else they stay."""
    most_leaving: Annotated[float, Role.WORK] = Field(default=0.25, ge=0, le=1)
    """Largest share of the dataset's clips that may leave because the source's tables no longer name them (or
    by `drop_missing`); a job that would take out more is refused."""
    repair: Annotated[bool, Role.WORK] = False
    """Read every file of the dataset first, put aside those that are damaged, and do their clips again."""
    retry_failed: Annotated[str, Role.WORK] = ""
    """Try again the clips that failed for this reason (`all`: for any), also those whose former latents
    stayed because a changed file failed."""
    plan: Annotated[bool, Role.WORK] = False
    """Only try a sample of the clips, and print the hours, GB and failures to expect."""
    plan_share: Annotated[float, Role.WORK] = Field(default=0.01, gt=0, le=1)
    """Share of the clips that `plan` tries (and no fewer than 8)."""
    only: Annotated[str, Role.WORK] = ""
    """Id of one clip to encode alone, for trying; empty: all clips."""

    @field_validator("output")
    @classmethod
    def _is_a_folder(cls, output: Path) -> Path:
        if _URL.match(str(output)):
            raise ValueError(
                "a URL: a dataset is committed by hard link and rename, which object stores do not have; "
                "write to a folder that all nodes see, and copy it when the job is done (fsspec, aws s3 sync)"
            )
        return output
