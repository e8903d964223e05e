"""Decode one stretch of a file by one ffmpeg: frames and samples with their times, each through a pipe.

No filter here remembers what came before it: ffmpeg builds the chain anew whenever the size of the frames or
the layout of the audio changes midway. What is shown when is decided from the times, by the caller.
"""

import contextlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np

from syncflow.media.probe import Limits, MediaInfo, ffmpeg_command, input_options, refusal
from syncflow.media.process import FILE, Finished, arguments, run_command
from syncflow.media.selection import keep_expression
from syncflow.media.spans import Span
from syncflow.records import ClipSpec

_TICKS = 1_000_000  # a second, of the times of frames
_LOG_BYTES = 64 << 20
_MOST_CHANNELS = 64
_HARD_JUMP_S = 0.005  # samples farther than this from where their timestamps say are put back
_FRAME_TIME = re.compile(rb"pts_time:(-?[\d.]+)")
_BLOCK = re.compile(rb"^0,\s*-?\d+,\s*(-?\d+),\s*(\d+),", re.MULTILINE)
_CORRUPT = "corrupt decoded frame"
_DECODED = re.compile(r"decoder -> .*?pts_time:(-?[\d.]+)")


@dataclass(frozen=True, kw_only=True)
class RawVideo:
    """Frames of a stretch, resized and cropped, each once."""

    frames: np.ndarray  # uint8 f h w c
    times_s: np.ndarray  # float64 f, rising, from the stretch's start
    corrupt_s: np.ndarray  # float64: times of frames that the decoder calls corrupt, from the stretch's start


@dataclass(frozen=True, kw_only=True)
class RawAudio:
    """Samples of a stretch at their places; silence where the file has none."""

    samples: np.ndarray  # float32 c m: the average of the channels and, if asked for, half of left less right
    decoded_s: np.ndarray  # float64: starts of the frames that were decoded, in the file


def decode_span(
    path: Path,
    span: Span,
    *,
    info: MediaInfo,
    spec: ClipSpec,
    timeout_s: float,
    limits: Limits,
    video: bool,
    audio: bool,
    side: bool = False,
) -> tuple[RawVideo | None, RawAudio | None]:
    """What a stretch holds.

    Args:
        timeout_s: wall-clock limit, to which the seconds of media that are decoded are added.
        video: whether to decode the video.
        audio: whether to decode the audio.
        side: whether the audio gets a second channel, half the difference of left and right.

    Raises:
        MediaError: undecodable, hdr, timeout, out_of_memory, too_large.
    """
    outputs: list[Any] = []
    inputs = _inputs(span, limits, video=video, audio=audio)
    with contextlib.ExitStack() as stack:
        pipes = _Pipes(stack)
        if video:
            source = inputs[span.video_seek_s]
            outputs.append(_video_output(source, pipes, span=span, info=info, spec=spec))
        if audio:
            source = inputs[span.audio_seek_s]
            outputs.append(_audio_output(source, pipes, span=span, info=info, spec=spec, side=side))
        merged = ffmpeg.merge_outputs(*outputs) if len(outputs) > 1 else outputs[0]
        span_s = span.start_s + span.num_frames / spec.fps - min(inputs)
        done = pipes.run(
            [*ffmpeg_command(loglevel="level+warning"), *arguments(merged, path)],
            timeout_s=timeout_s + span_s,
            memory_bytes=limits.memory_bytes,
        )
    if done.returncode != 0 or not any(done.outputs):
        raise refusal(path, done)
    results = list(done.outputs)
    frames = waveforms = None
    if video:
        corrupt = np.zeros(0)
        if _CORRUPT in done.messages:
            corrupt = _corrupt_times(path, span, info=info, timeout_s=timeout_s + span_s, limits=limits)
        frames = _frames(results.pop(0), results.pop(0), spec=spec, corrupt_s=corrupt - span.start_s)
    if audio:
        waveforms = _samples(results, span=span, spec=spec, channels=2 if side else 1)
    return frames, waveforms


class _Pipes:
    """The child's pipes beside standard output, opened one by one as its outputs are told of."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self.stack = stack
        self.sizes: list[int] = []
        self.reads: list[int] = []
        self.writes: list[int] = []

    def open(self, most_bytes: int) -> str:
        """ffmpeg's name of a new pipe that may carry so many bytes; the first is standard output."""
        self.sizes.append(most_bytes)
        if len(self.sizes) == 1:
            return "pipe:1"
        read, write = os.pipe()
        self.reads.append(read)
        self.writes.append(write)
        self.stack.callback(self._close)
        return f"pipe:{write}"

    def run(self, command: Sequence[str], *, timeout_s: float, memory_bytes: int) -> Finished:
        """Run the child to its end; the pipes are its and its readers' from here on."""
        reads, writes, self.reads, self.writes = self.reads, self.writes, [], []
        return run_command(
            command,
            timeout_s=timeout_s,
            memory_bytes=memory_bytes,
            output_bytes=self.sizes,
            extra_read_fds=reads,
            extra_write_fds=writes,
        )

    def _close(self) -> None:
        for fd in (*self.reads, *self.writes):
            os.close(fd)
        self.reads, self.writes = [], []


def _inputs(span: Span, limits: Limits, *, video: bool, audio: bool) -> dict[float, Any]:
    seeks = {span.video_seek_s} if video else set()
    seeks |= {span.audio_seek_s} if audio else set()
    return {seek_s: _input(seek_s, limits) for seek_s in seeks}


def _input(seek_s: float, limits: Limits) -> Any:
    options = input_options(limits)
    if seek_s > 0:  # all from the keyframe before: the frame on show at the start may be an old one
        options |= {"ss": f"{seek_s:.6f}", "noaccurate_seek": None}
    return ffmpeg.input(FILE, **options)


def _video_output(source: Any, pipes: _Pipes, *, span: Span, info: MediaInfo, spec: ClipSpec) -> Any:
    w, h = spec.width, spec.height
    wide = f"gt(dar,{w}/{h})"
    kept = keep_expression(info.frame_times_s, span=span, fps=spec.fps)
    target = pipes.open((kept.most_frames + 1) * h * w * 3)
    shift_s = span.start_s - span.video_seek_s
    if info.lacks_times:  # the decoder counts from its own delay on
        start = f"PTS-STARTPTS+{info.frame_times_s[0] - span.start_s:.6f}/TB"
    else:
        start = f"PTS-{shift_s:.6f}/TB"
    chain = [
        *(["bwdif=mode=send_frame:parity=auto:deint=interlaced"] if info.interlaced else []),
        f"settb=1/{_TICKS}",
        f"setpts={start}",
        f"trim=end={span.num_frames / spec.fps:.6f}",
        f"select={kept.expression}",
        f"scale=w=if({wide},max({w},round({h}*dar)),{w}):h=if({wide},{h},max({h},round({w}/dar)))"
        ":flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
        + (":in_color_matrix=bt709" if info.untagged_hd else ""),
        f"crop={w}:{h}",
        "metadata=mode=add:key=frame:value=1",
        f"metadata=mode=print:file={_escaped(pipes.open(_LOG_BYTES))}",
    ]
    return ffmpeg.output(
        source["V:0"],
        target,
        vf=_chain(chain),
        format="rawvideo",
        pix_fmt="rgb24",
        fps_mode="passthrough",
        threads=1,
    )


def _audio_output(
    source: Any, pipes: _Pipes, *, span: Span, info: MediaInfo, spec: ClipSpec, side: bool
) -> Any:
    first = round((span.start_s - span.audio_seek_s) * spec.sample_rate)
    last = first + round((span.num_frames + 1) / spec.fps * spec.sample_rate)
    target = pipes.open(4 * (2 if side else 1) * (last - first + spec.sample_rate))
    blocks, decoded = pipes.open(_LOG_BYTES), pipes.open(_LOG_BYTES)
    # `<` makes the weights of those channels that there are sum to one; an ambisonic mix is its channel W
    every = "c0<c0" if info.ambisonic else "c0<" + "+".join(f"c{k}" for k in range(_MOST_CHANNELS))
    mix = f"stereo|{every}|c1<0.5*c0-0.5*c1" if side else f"mono|{every}"
    chain = [
        "ametadata=mode=add:key=frame:value=1",
        f"ametadata=mode=print:file={_escaped(decoded)}",
        "aformat=sample_fmts=fltp",
        f"pan={mix}",
        f"aresample={spec.sample_rate}:async=1:min_hard_comp={_HARD_JUMP_S}",
        f"atrim=start_pts={first}:end_pts={last}",
        f"asetpts=PTS-{first}",
    ]
    both = f"[f=f32le]{target}|[f=framecrc]{blocks}"
    return ffmpeg.output(source["a:0"], both, af=_chain(chain), format="tee", acodec="pcm_f32le")


def _chain(filters: Sequence[str]) -> str:
    """A chain of its own for each output: a change in one stream builds only that one anew."""
    return ",".join(f"{name}='{rest}'" for name, _, rest in (each.partition("=") for each in filters))


def _escaped(target: str) -> str:
    return target.replace(":", "\\:")


def _frames(data: bytearray, log: bytearray, *, spec: ClipSpec, corrupt_s: np.ndarray) -> RawVideo:
    size = spec.height * spec.width * 3
    frames = np.frombuffer(data, dtype=np.uint8, count=len(data) // size * size)
    frames = frames.reshape(-1, spec.height, spec.width, 3)
    times = np.array([float(time) for time in _FRAME_TIME.findall(log)][: len(frames)])
    return RawVideo(frames=frames[: len(times)], times_s=times, corrupt_s=corrupt_s)


def _samples(results: list[bytearray], *, span: Span, spec: ClipSpec, channels: int) -> RawAudio:
    """Each block at the place of its timestamp; what comes before its time is cut off."""
    data, blocks, decoded = results
    source = np.frombuffer(data, dtype="<f4", count=len(data) // (4 * channels) * channels)
    source = source.reshape(-1, channels).T
    places = [(int(at), int(length)) for at, length in _BLOCK.findall(blocks)]
    end = max((at + length for at, length in places), default=0)
    samples = np.zeros((channels, max(0, end)), np.float32)
    read = written = 0
    for at, length in places:
        skipped = max(0, written - at)
        block = source[:, read + skipped : read + length]
        samples[:, at + skipped : at + skipped + block.shape[1]] = block
        read, written = read + length, max(written, at + length)
    times = np.array([float(time) for time in _FRAME_TIME.findall(decoded)])
    return RawAudio(samples=samples, decoded_s=times + span.audio_seek_s)


def _corrupt_times(
    path: Path, span: Span, *, info: MediaInfo, timeout_s: float, limits: Limits
) -> np.ndarray:
    """Times in the file of the frames that the decoder calls corrupt, from its messages in order."""
    source = _input(span.video_seek_s, limits)
    end_s = span.start_s - span.video_seek_s + 60.0
    output = ffmpeg.output(source["V:0"], "pipe:1", format="null", fps_mode="passthrough", t=f"{end_s:.3f}")
    done = run_command(
        [*ffmpeg_command(loglevel="repeat+info"), "-debug_ts", *arguments(output, path)],
        timeout_s=timeout_s,
        memory_bytes=limits.memory_bytes,
        message_bytes=_LOG_BYTES,
    )
    times: list[float] = []
    first, corrupt = None, False
    for line in done.messages.split("\n"):
        if _CORRUPT in line:
            corrupt = True
        elif (told := _DECODED.search(line)) is not None:
            first = float(told[1]) if first is None else first
            if corrupt:
                times.append(float(told[1]))
            corrupt = False
    shift_s = info.frame_times_s[0] - (first or 0.0) if info.lacks_times else span.video_seek_s
    return np.array(times) + shift_s
