"""Settings of `pipelines/make_audio.py`: which system, for which videos."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from syncflow.config import Config, Role
from syncflow.foleygen.config import CodeSamplingConfig
from syncflow.places import Place
from syncflow.records import ClipSpec

SystemKind = Literal["foleygen", "audioldm", "audioldm2", "foreign", "folder"]


class DiffusionConfig(Config):
    """AudioLDM and AudioLDM 2. The paper tells none of these; they are the models' own recommendations."""

    steps: int = Field(default=200, ge=1)
    """Denoising steps per clip, for example 50 or 200."""
    guidance: float = Field(default=0.0, ge=0)
    """Guidance scale; 0: the model's own (2.5 for AudioLDM, 3.5 for AudioLDM 2)."""
    seconds: float = Field(default=10.24, gt=0)
    """Length that is made, seconds, of which the first of the clip's length are kept; trained on 10.24."""


class ForeignConfig(Config):
    """A system in an environment of its own (docs/systems.md says what to run for each)."""

    command: Annotated[tuple[str, ...], Role.WORK] = ()
    """Program and arguments; the exchange folder is added as the last one, and `{programs}` stands for the
    folder of the programs that come with this package. Example:
    `/envs/audiogen/bin/python {programs}/run_audiogen.py`. No shell reads it."""
    name: str = ""
    """As tables call the system. Example: AudioGen."""
    listens_to: Literal["video", "prompt"] = "video"
    """What it makes audio from."""
    weights: tuple[str, ...] = ()
    """Names of its weights; those that are files of `weights_folder` (or the last of a pattern there) get
    their hash on the card. Example: state_dict.bin."""
    weights_folder: Annotated[Path | None, Role.WORK] = None
    """Folder of its weights, which the program is told. Example: out/foreign/audiogen/weights."""
    source: Annotated[Path | None, Role.WORK] = None
    """Checkout of its repository, which the program is told, for systems that pip does not install."""
    licence: str = ""
    """Of the weights, as their authors tell it. Example: CC BY-NC 4.0."""
    settings: dict[str, str] = Field(default={})
    """What decides its audio besides, for the card and the exchange folder. Example: {top_k: 250}."""
    video_seconds: float = Field(default=0.0, ge=0)
    """Length of the video that it is given, for models that want more than the clip; 0: the clip's own."""
    fill: Literal["hold", "loop"] = "hold"
    """How a clip becomes that long: its last frame is held, or it begins again."""
    timeout_s: Annotated[float, Role.WORK] = Field(default=86_400.0, gt=0)
    """Longest time that the command may take, seconds."""


class MakeAudioConfig(Config):
    """New audio for videos: of a dataset's folder (video to audio), or of generated ones (a cascade)."""

    system: SystemKind
    """`foleygen` (train_foleygen.py); `audioldm`, `audioldm2` (diffusers); `foreign`: another environment;
    `folder`: wavs that are there already, as generate.py --modalities audio wrote them."""
    checkpoint: Annotated[Place, Role.WORK] = ""
    """Folder of FoleyGen's checkpoint, or of the wavs; folder or hub id of AudioLDM. Empty:
    cvssp/audioldm-s-full-v2 or cvssp/audioldm2."""
    video: Annotated[Path | None, Role.WORK] = None
    """Folder of videos: with a manifest.csv (generate.py's: the rows keep their numbers, prompts and ids), or
    a dataset's (captions.csv, test.txt)."""
    evaluation_set: Annotated[Path | None, Role.WORK] = None
    """Table that make_evaluation_set.py wrote (id, prompt, video, start_s): one clip per row, under its id;
    `video` and `split` are then not used. Example: out/greatest_hits/test.csv."""
    split: Annotated[Literal["all", "train", "test"], Role.WORK] = "all"
    """Which videos of a dataset's folder."""
    limit: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Largest number of clips, of the first videos; 0 takes all."""
    output: Annotated[Path, Role.WORK]
    """Folder for the clips, manifest.csv, card.json and resolved.yaml."""
    clip: ClipSpec = ClipSpec()
    """Length, size and rates of the clips; what is longer is trimmed."""
    sampling: CodeSamplingConfig = CodeSamplingConfig()
    """FoleyGen: how codes are drawn."""
    diffusion: DiffusionConfig = DiffusionConfig()
    """AudioLDM and AudioLDM 2."""
    foreign: ForeignConfig = ForeignConfig()
    """The other environment."""
    accept_noncommercial_licence: Annotated[bool, Role.WORK] = False
    """The weights of AudioLDM, AudioLDM 2 and many foreign systems may not be used commercially; say that
    you have read their licence."""
    seed: int = Field(default=0, ge=0)
    """Draws depend on this and on the row's number."""
    batch_size: Annotated[int, Role.ROUNDING] = Field(default=8, ge=1)
    """Clips at once; a foreign system gets all of them together."""
    device: Annotated[Literal["auto", "cpu", "cuda"], Role.ROUNDING] = "auto"
    """Where the models run; auto: a GPU where there is one."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.video is None and self.evaluation_set is None:
            raise ValueError("set video or evaluation_set: a folder of videos, or a table of them")
        if self.system == "foleygen" and not self.checkpoint:
            raise ValueError("system foleygen: set checkpoint to the folder that train_foleygen.py wrote")
        if self.system == "folder" and not self.checkpoint:
            raise ValueError("system folder: set checkpoint to the folder of wavs")
        if self.system == "foreign":
            missing = [n for n in ("command", "name", "weights", "licence") if not getattr(self.foreign, n)]
            if missing:
                raise ValueError(f"system foreign: set foreign.{missing[0]}")
        return self
