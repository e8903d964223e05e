"""A request for one clip, what of it the model and the limits allow, and the settings that it means."""

import secrets
from pathlib import Path
from typing import Annotated

from pydantic import Field

from syncflow.config import Config, Role
from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.records import ClipSpec
from syncflow.sampling.checks import MAX_PROMPT_CHARACTERS, check_size, check_weight
from syncflow.serving.config import LimitsConfig

SEEDS = 1 << 32
GREATEST_SCALE = 50.0


class RequestError(UserError):
    """A request that is not accepted, with the HTTP status that says so."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class ClipRequest(Config):
    """One clip from text, or new audio for an uploaded video."""

    prompt: str = Field(default="", max_length=MAX_PROMPT_CHARACTERS)
    """What the clip shows and sounds like; may be empty with a video."""
    negative_prompt: str = Field(default="", max_length=MAX_PROMPT_CHARACTERS)
    """What to steer away from; empty: the learned null prompt."""
    video: Annotated[str, Role.WORK] = Field(default="", pattern=r"^([0-9a-f]{32})?$")
    """Id of an uploaded video that gets new audio; empty: the video is generated, too."""
    video_start: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Where in the uploaded video the clip begins, seconds."""
    seed: int | None = Field(default=None, ge=0, lt=SEEDS)
    """Seed of the noise; null draws one, and the job's status names it."""
    steps: int | None = Field(default=None, ge=1)
    """Solver steps; null takes the server's."""
    guidance_scale: float | None = Field(default=None, ge=0, le=GREATEST_SCALE, allow_inf_nan=False)
    """Classifier-free guidance of the video, w of equation (3); null takes the server's."""
    audio_guidance_scale: float | None = Field(default=None, ge=0, le=GREATEST_SCALE, allow_inf_nan=False)
    """Classifier-free guidance of the audio; null takes the server's, or `guidance_scale` where it has
    none of its own."""
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Length, seconds; null takes the server's."""
    height: int | None = Field(default=None, ge=1)
    """Rows, pixels; null takes the server's."""
    width: int | None = Field(default=None, ge=1)
    """Columns, pixels; null takes the server's."""
    preview: Annotated[bool, Role.WORK] = False
    """Whether to decode previews of the frames while the clip is generated."""
    key: Annotated[str, Role.WORK] = Field(default="", max_length=128)
    """Any text that the client chooses: a second request with the same key answers with the first one's job,
    so that a request may be sent again after a lost answer. Empty: none."""


class About(Config):
    """What the server's model generates, and the defaults of a request."""

    model: str
    """Name of the checkpoint's folder."""
    device: str
    """Where it runs."""
    weights: dict[str, str]
    """sha256 of each part's tensors."""
    row_stride: int
    """Heights are multiples of this, pixels."""
    column_stride: int
    """Widths are multiples of this, pixels."""
    clip: ClipSpec
    """Length, size and rates where a request says nothing."""
    steps: int
    """Solver steps where a request says nothing."""
    guidance_scale: float
    """Guidance of the video where a request says nothing."""
    audio_guidance_scale: float | None
    """Guidance of the audio where a request says nothing; null: the video's."""


def resolved(request: ClipRequest, about: About, limits: LimitsConfig) -> ClipRequest:
    """`request` with every number in it.

    Raises:
        RequestError: no prompt and no video; a size that the model cannot make; more than `limits` allow.
    """
    if not request.prompt.strip() and not request.video:
        raise RequestError("prompt: empty; say what the clip shows and sounds like, or give a video")
    clip = about.clip
    steps = request.steps or about.steps
    seconds = request.seconds or clip.seconds
    height, width = request.height or clip.height, request.width or clip.width
    for name, value, most in (
        ("steps", steps, limits.steps),
        ("seconds", seconds, limits.seconds),
        ("height x width", height * width, limits.pixels),
    ):
        if value > most:
            raise RequestError(f"{name}: got {value:g}; this server makes at most {most:g}")
    frames = round(seconds * clip.fps)
    if frames < 1:
        raise RequestError(f"seconds: got {seconds:g}; expected at least {1 / clip.fps:g}, one frame")
    try:
        check_size(height, width, strides=(about.row_stride, about.column_stride))
    except UserError as error:
        raise RequestError(str(error)) from None
    scale = about.guidance_scale if request.guidance_scale is None else request.guidance_scale
    audio_scale = request.audio_guidance_scale
    return request.model_copy(
        update={
            "prompt": request.prompt.strip(),
            "negative_prompt": request.negative_prompt.strip(),
            "seed": secrets.randbelow(SEEDS) if request.seed is None else request.seed,
            "steps": steps,
            "seconds": frames / clip.fps,
            "height": height,
            "width": width,
            "guidance_scale": check_weight("guidance_scale", scale),
            "audio_guidance_scale": about.audio_guidance_scale if audio_scale is None else audio_scale,
        }
    )


def clip_spec(request: ClipRequest, about: About) -> ClipSpec:
    """The clip that a resolved request asks for."""
    update = {"seconds": request.seconds, "height": request.height, "width": request.width}
    return about.clip.model_copy(update=update)


def settings(request: ClipRequest, defaults: GenerateConfig) -> GenerateConfig:
    """What makes a resolved request's clip, as `generate.py` would be told."""
    clip = {"seconds": request.seconds, "height": request.height, "width": request.width}
    guidance = {"scale": request.guidance_scale, "audio_scale": request.audio_guidance_scale}
    return defaults.model_copy(
        update={
            "output": Path(),
            "negative_prompt": request.negative_prompt,
            "clip": defaults.clip.model_copy(update=clip),
            "solver": defaults.solver.model_copy(update={"steps": request.steps}),
            "guidance": defaults.guidance.model_copy(update=guidance),
            "wav": True,
            "strip": True,
            "modalities": "both",
            "best_of": 1,
        }
    )


def batch_key(request: ClipRequest) -> tuple:
    """Equal for requests that can be made in one batch: all but prompt, seed and video are shared."""
    return (
        request.negative_prompt,
        bool(request.prompt),
        bool(request.video),
        request.steps,
        request.guidance_scale,
        request.audio_guidance_scale,
        request.seconds,
        request.height,
        request.width,
    )
