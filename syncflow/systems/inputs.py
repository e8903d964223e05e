"""What of a given media file a clip needs: its picture, its sound, or both."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syncflow.errors import UserError
from syncflow.media import MediaError, decode_audio, decode_picture
from syncflow.records import ClipSpec
from syncflow.systems.config import GenerateConfig
from syncflow.systems.sidecar import Clip
from syncflow.systems.spans import Keep, end_of, parse_keep


@dataclass(frozen=True, kw_only=True)
class Inputs:
    picture: np.ndarray | None  # uint8 f h w c: from the file's start, as much as is kept or edited
    sound: np.ndarray | None  # float32 m, likewise
    failure: str = ""  # why the file could not be read


NOTHING = Inputs(picture=None, sound=None)


def read_inputs(clip: Clip, config: GenerateConfig, spec: ClipSpec) -> Inputs:
    """Decode of the clip's video what `keep_video`, `keep_audio` and `strength` ask for.

    Raises:
        UserError: a video of which nothing is asked for.
    """
    if not clip.video:
        return NOTHING
    if config.strength < 1:  # all of it is edited, or kept beside what is
        picture_s = sound_s = spec.seconds
    else:
        picture_s, sound_s = (_seconds(parse_keep(k), spec) for k in (config.keep_video, config.keep_audio))
    if config.modalities == "video":
        sound_s = 0.0
    if not picture_s and not sound_s:
        raise UserError("keep: none of the given video is kept or edited; set --keep-video or --strength")
    picture = sound = None
    try:
        path = Path(clip.video).resolve()
        if picture_s:
            picture = decode_picture(path, start_s=0.0, spec=spec.model_copy(update={"seconds": picture_s}))
        if sound_s:
            sound = decode_audio(path, sample_rate=spec.sample_rate, start_s=0.0, seconds=sound_s)
    except MediaError as error:
        return Inputs(picture=None, sound=None, failure=str(error))
    return Inputs(picture=picture, sound=sound)


def _seconds(keep: Keep, spec: ClipSpec) -> float:
    """How much of the file's start is needed, in whole frames; at most the clip's length."""
    frames = math.ceil(end_of(keep, all_s=spec.seconds) * spec.fps - 1e-6)
    return min(frames / spec.fps, spec.seconds)
