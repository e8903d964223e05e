"""Decode one stretch of a file by one ffmpeg: raw frames and raw samples, each through a pipe of its own."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import ffmpeg

from syncflow.media.errors import MediaError
from syncflow.media.probe import Limits, MediaInfo, ffmpeg_command, input_options, refusal
from syncflow.media.process import run_command
from syncflow.media.spans import Span
from syncflow.records import ClipSpec

Kind = Literal["video", "audio"]


def decode_span(
    path: Path,
    span: Span,
    *,
    kinds: Sequence[Kind],
    info: MediaInfo,
    spec: ClipSpec,
    timeout_s: float,
    limits: Limits,
) -> list[bytearray]:
    """Raw bytes of each kind: rgb24 frames of `span.runs`, f32le samples from `span.start_s` on.

    Args:
        timeout_s: wall-clock limit, to which the seconds of media that are decoded are added.

    Raises:
        MediaError: undecodable, timeout, out_of_memory, too_large.
    """
    pipes = [os.pipe() for _ in kinds[1:]]
    targets = ["pipe:1", *(f"pipe:{write}" for _, write in pipes)]
    seeks = {"video": span.picture_seek_s, "audio": span.sound_seek_s}
    inputs = {seek_s: _input(path, seek_s, limits) for seek_s in {seeks[kind] for kind in kinds}}
    outputs: list[Any] = []
    sizes: list[int] = []
    for kind, target in zip(kinds, targets, strict=True):
        source = inputs[seeks[kind]]
        if kind == "video":
            outputs.append(_video_output(source, target, span=span, spec=spec))
            sizes.append(_num_frames(span) * spec.height * spec.width * 3)
        else:
            outputs.append(_audio_output(source, target, span=span, info=info, spec=spec))
            sizes.append(4 * (span.num_frames + 2) * (spec.sample_rate // spec.fps + 1))
    merged = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
    span_s = span.start_s + span.num_frames / spec.fps - min(inputs)
    done = run_command(
        [*ffmpeg_command(), *ffmpeg.get_args(merged)],
        timeout_s=timeout_s + span_s,
        memory_bytes=limits.memory_bytes,
        output_bytes=sizes,
        extra_read_fds=[read for read, _ in pipes],
        extra_write_fds=[write for _, write in pipes],
    )
    if done.returncode != 0 or not all(done.outputs):
        raise refusal(path, done)
    return list(done.outputs)


def _num_frames(span: Span) -> int:
    return sum(last - first + 1 for first, last in span.runs)


def _input(path: Path, seek_s: float, limits: Limits) -> Any:
    options = input_options(limits)
    if seek_s > 0:  # all from the keyframe before: the frame on show at the start may be an old one
        options |= {"ss": f"{seek_s:.6f}", "noaccurate_seek": None}
    return ffmpeg.input(str(path), **options)


def _video_output(source: Any, target: str, *, span: Span, spec: ClipSpec) -> Any:
    w, h = spec.width, spec.height
    wide = f"gt(dar,{w}/{h})"
    picture = (
        source["V:0"]
        .filter("settb", "1/1000000")
        .filter("setpts", f"PTS-{span.start_s - span.picture_seek_s:.6f}/TB")
        .filter("fps", fps=spec.fps, start_time=0, round="near")
    )
    if len(span.runs) > 1:  # frames between windows are not even scaled
        wanted = "+".join(f"between(n,{first},{last})" for first, last in span.runs)
        picture = picture.filter("select", wanted)
    picture = (
        picture.filter(
            "scale",
            w=f"if({wide},max({w},round({h}*dar)),{w})",
            h=f"if({wide},{h},max({h},round({w}/dar)))",
            flags="bicubic+accurate_rnd+full_chroma_int+full_chroma_inp",
        )
        .filter("crop", w, h)
        .filter("tpad", stop_mode="clone", stop=1)
    )
    return picture.output(
        target,
        format="rawvideo",
        pix_fmt="rgb24",
        fps_mode="passthrough",
        vframes=_num_frames(span),
        threads=1,
    )


def _audio_output(source: Any, target: str, *, span: Span, info: MediaInfo, spec: ClipSpec) -> Any:
    if not info.channels:
        raise MediaError("undecodable", "the sound's channel layout has no known number of channels")
    mix = "mono|c0<" + "+".join(f"c{k}" for k in range(info.channels))
    first = round((span.start_s - span.sound_seek_s) * spec.sample_rate)
    last = first + round((span.num_frames + 1) / spec.fps * spec.sample_rate)
    sound = (
        source["a:0"]
        .filter("aformat", sample_fmts="fltp")
        .filter("pan", mix)
        .filter("aresample", spec.sample_rate, **{"async": 1, "first_pts": 0, "min_hard_comp": 0.005})
        .filter("atrim", start_sample=first, end_sample=last)
    )
    return sound.output(target, format="f32le", acodec="pcm_f32le")
