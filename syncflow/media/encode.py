"""Write a clip as mp4: H.264 and AAC, one length, the same bytes for the same input."""

import tempfile
from fractions import Fraction
from pathlib import Path

import ffmpeg
import numpy as np

from syncflow.errors import UserError
from syncflow.files import replacing
from syncflow.media.errors import MediaError
from syncflow.media.process import FILE, arguments, ffmpeg_binary, last_line, run_command

_MEMORY_BYTES = 6 << 30


def write_clip(
    path: Path,
    *,
    frames: np.ndarray,
    audio: np.ndarray,
    fps: float,
    sample_rate: int,
    crf: int = 18,
    timeout_s: float = 300.0,
) -> None:
    """Write audio and video to `path` (mp4), whole or not at all.

    The audio is cut, or filled up with silence, to the length of the video, which may differ from
    it by less than one frame. Odd sizes gain one repeated row or column (H.264 4:2:0 needs even ones).

    Args:
        path: the file to make or replace; its folder is made when absent.
        frames: uint8 `f h w c`, RGB.
        audio: float32 `m`, mono, in [-1, 1]; what is outside is clipped.
        fps: frames a second.
        sample_rate: Hz.
        crf: x264's constant rate factor, 0 (lossless) to 51.
        timeout_s: wall-clock limit of the encoder.

    Raises:
        UserError: shapes, types or lengths that do not fit together, or samples that are not finite.
        MediaError: unwritable, timeout, out_of_memory.
    """
    path = Path(path).absolute()
    audio = _checked_audio(frames, audio, fps=fps, sample_rate=sample_rate)
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        frames = np.pad(frames, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    try:
        with (
            replacing(path) as partial,
            tempfile.NamedTemporaryFile(prefix="syncflow-", suffix=".f32") as samples,
        ):
            samples.write(audio.astype("<f4").tobytes())
            samples.flush()
            command = _command(frames, Path(samples.name), partial, fps=fps, sample_rate=sample_rate, crf=crf)
            done = run_command(
                command,
                timeout_s=timeout_s,
                memory_bytes=_MEMORY_BYTES,
                stdin=np.ascontiguousarray(frames).data.cast("B"),
            )
            if done.returncode != 0:
                raise MediaError("unwritable", f"{path}: {last_line(done.messages)}")
    except OSError as error:
        raise MediaError("unwritable", f"{path}: {error.strerror}") from error


def _checked_audio(frames: np.ndarray, audio: np.ndarray, *, fps: float, sample_rate: int) -> np.ndarray:
    """`audio` at exactly the video's length and in [-1, 1]."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise UserError(f"frames: got {frames.dtype}{list(frames.shape)}; expected uint8 f h w 3, not empty")
    if audio.dtype != np.float32 or audio.ndim != 1:
        raise UserError(f"audio: got {audio.dtype}{list(audio.shape)}; expected float32 m (mono)")
    if not np.isfinite(audio).all():
        raise UserError("audio: NaN or Inf among the samples; expected finite values in [-1, 1]")
    wanted = round(len(frames) / fps * sample_rate)
    if abs(len(audio) - wanted) >= sample_rate / fps:
        raise UserError(
            f"audio: {len(audio)} samples at {sample_rate} Hz beside {len(frames)} frames at {fps:g} fps; "
            f"expected {wanted} samples, give or take a frame; cut or fill the audio first"
        )
    cut = np.clip(audio[:wanted], -1.0, 1.0)
    return np.pad(cut, (0, wanted - len(cut)))


def _command(
    frames: np.ndarray, samples: Path, partial: Path, *, fps: float, sample_rate: int, crf: int
) -> list[str]:
    height, width = frames.shape[1:3]
    rate = str(Fraction(fps).limit_denominator(1001))
    video = ffmpeg.input(
        "pipe:0", format="rawvideo", pix_fmt="rgb24", video_size=(width, height), framerate=rate
    ).video.filter("scale", out_color_matrix="bt709", out_range="tv", flags="accurate_rnd+full_chroma_int")
    audio = ffmpeg.input(str(samples), format="f32le", sample_rate=sample_rate, ch_layout="mono").audio
    output = ffmpeg.output(
        video,
        audio,
        FILE,
        format="mp4",
        vcodec="libx264",
        pix_fmt="yuv420p",
        crf=crf,
        preset="medium",
        acodec="aac",
        audio_bitrate="128k",
        threads=1,
        colorspace="bt709",
        color_primaries="bt709",
        color_trc="bt709",
        color_range="tv",
        movflags="+faststart",
        fflags="+bitexact",
        map_metadata=-1,
        **{"flags:v": "+bitexact", "flags:a": "+bitexact"},
    )
    options = ["-hide_banner", "-loglevel", "error", "-nostdin", "-filter_threads", "1"]
    return [ffmpeg_binary(), *options, "-y", *arguments(output, partial)]
