"""What of a given media file a clip needs: its video, its audio, or both."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.sidecar import Clip
from syncflow.media import MediaError, MediaInfo, decode_audio, decode_frames, probe
from syncflow.media.probe import checked_path
from syncflow.records import ClipSpec
from syncflow.sampling.spans import Keep, end_of, parse_keep


@dataclass(frozen=True, kw_only=True)
class Inputs:
    frames: np.ndarray | None  # uint8 f h w c: from `start_s` on, as much as is kept or edited
    audio: np.ndarray | None  # float32 m: from `start_s` on, as much as is kept or edited
    failure: str = ""  # why the file could not be read
    note: str = ""  # what of the file is not used, where that is not what was asked for


NOTHING = Inputs(frames=None, audio=None)


def read_inputs(clip: Clip, config: GenerateConfig, spec: ClipSpec) -> Inputs:
    """Decode of the clip's video what `keep_video`, `keep_audio` and `strength` ask for.

    Raises:
        UserError: a video of which nothing is asked for.
    """
    if not clip.video:
        return NOTHING
    if config.strength < 1:  # all of it is edited, or kept beside what is
        video_s = audio_s = spec.seconds
    else:
        video_s, audio_s = (_seconds(parse_keep(k), spec) for k in (config.keep_video, config.keep_audio))
    if config.modalities == "video":
        audio_s = 0.0
    if not video_s and not audio_s:
        raise UserError("keep: none of the given video is kept or edited; set --keep-video or --strength")
    frames = audio = info = None
    try:
        path = checked_path(Path(clip.video).resolve())
        info = probe(path)
        if video_s:
            part = spec.model_copy(update={"seconds": video_s})
            frames = decode_frames(path, start_s=clip.start_s, spec=part, info=info)
        if audio_s:
            audio = decode_audio(path, sample_rate=spec.sample_rate, start_s=clip.start_s, seconds=audio_s)
    except MediaError as error:
        remedy = _shorter(info, spec, with_audio=audio_s > 0) if error.reason == "too_short" else ""
        return Inputs(frames=None, audio=None, failure=f"{error}{remedy}")
    whole = spec.seconds in (video_s, audio_s) and not clip.evaluation_id  # which names its window
    return Inputs(frames=frames, audio=audio, note=_unused(info, spec) if whole else "")


def _shorter(info: MediaInfo | None, spec: ClipSpec, *, with_audio: bool) -> str:
    """The longest clip that a file is enough for, as a remedy."""
    if info is None:
        return ""
    end_s = min(info.video_end_s, info.audio_end_s) if with_audio and info.has_audio else info.video_end_s
    frames = math.floor(end_s * spec.fps + 1e-6)
    return f"; give --clip.seconds {frames / spec.fps:g} or less" if frames > 0 else ""


def _unused(info: MediaInfo, spec: ClipSpec) -> str:
    """What a file has beyond the clip."""
    frames = math.floor(info.video_end_s * spec.fps + 1e-6)
    if frames <= spec.num_frames:
        return ""
    return (
        f"is {info.video_end_s:.2f} s long and its first {spec.seconds:g} s are used; "
        f"--clip.seconds {frames / spec.fps:g} takes it whole"
    )


def _seconds(keep: Keep, spec: ClipSpec) -> float:
    """How much of the file's start is needed, in whole frames; at most the clip's length."""
    frames = math.ceil(end_of(keep, all_s=spec.seconds) * spec.fps - 1e-6)
    return min(frames / spec.fps, spec.seconds)
