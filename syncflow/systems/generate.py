"""Rows -> clips on disk: an mp4, its strip and its sidecar each, resumable by row."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.hashing import file_sha256, tensors_sha256
from syncflow.media import MediaError, decode_picture
from syncflow.records import AVLatents, ClipSpec
from syncflow.systems.config import GenerateConfig
from syncflow.systems.files import ManifestLine, write_files, write_manifest
from syncflow.systems.loading import LoadedPipeline
from syncflow.systems.rows import Row
from syncflow.systems.sidecar import Clip, Sidecar, essence, versions

Report = Callable[[float], None]
"""Called with the share of a batch that is done, from 0 to its number of clips."""


@dataclass(frozen=True, kw_only=True)
class _Request:
    clip: Clip
    picture: np.ndarray | None  # uint8 f h w c: of the given video
    failure: str = ""  # why that could not be read


def plan_clips(rows: Iterable[Row], *, per_prompt: int) -> list[Clip]:
    """One entry a clip that is to be made.

    Raises:
        UserError: a video that is not a readable file.
    """
    clips = []
    for row in rows:
        video, sha256 = "", ""
        if row.video is not None:
            if not row.video.is_file():
                raise UserError(f"row {row.number}: video {row.video}: no such file")
            video, sha256 = str(row.video), file_sha256(row.video)
        for copy in range(per_prompt):
            clips.append(
                Clip(row=row.number, copy_number=copy, prompt=row.prompt, video=video, video_sha256=sha256)
            )
    return clips


def generate_clips(
    clips: list[Clip], loaded: LoadedPipeline, config: GenerateConfig, *, report: Report = lambda done: None
) -> list[ManifestLine]:
    """Make the clips that the output folder lacks, then its manifest.csv; one line a clip.

    A video that cannot be decoded is a line with the reason (and a `UserError` if it is the only one).

    Raises:
        UserError: the folder holds clips of other settings.
    """
    done = {clip.name for clip in clips if _is_done(clip, loaded, config)}
    report(float(len(done)))
    failures: dict[str, str] = {}
    todo = (clip for clip in clips if clip.name not in done)
    made = len(done)
    for batch in _batches(todo, loaded.pipeline.config["fps"], config):
        bad = [request for request in batch if request.failure]
        if bad and len(clips) == 1:
            raise UserError(f"video {bad[0].clip.video}: {bad[0].failure}")
        failures |= {request.clip.name: request.failure for request in bad}
        good = [request for request in batch if not request.failure]
        if good:
            before = made
            _make(good, loaded, config, report=lambda share, at=before: report(at + share))
        made += len(batch)
        report(float(made))
    lines = [
        ManifestLine(clip=clip, file=_file_name(clip, config), failure=failures.get(clip.name, ""))
        for clip in clips
    ]
    write_manifest(config.output / "manifest.csv", lines, seed=config.seed)
    return lines


def reproduce_clip(sidecar: Sidecar, loaded: LoadedPipeline, config: GenerateConfig) -> bool:
    """Make one clip again with the settings in `config` (its own); whether its latents are the same bits.

    The whole of its batch is computed, as rounding depends on it, and this clip is written.

    Raises:
        UserError: other weights, or a given video that changed or is gone.
    """
    for name, sha256 in sidecar.weights.items():
        if loaded.weights.get(name) != sha256:
            raise UserError(
                f"reproduce: the clip was made with other weights of {name}; give that --checkpoint"
            )
    requests = [_read_picture(clip, loaded.pipeline.config["fps"], config) for clip in sidecar.batch]
    for request in requests:
        if request.failure:
            raise UserError(f"reproduce: video {request.clip.video}: {request.failure}")
        if request.clip.video and file_sha256(Path(request.clip.video)) != request.clip.video_sha256:
            raise UserError(f"reproduce: video {request.clip.video} has changed since; restore it")
    again = _make(requests, loaded, config, only=sidecar.position)
    return again.latents == sidecar.latents


def settings_to_reproduce(sidecar: Sidecar, config: GenerateConfig) -> GenerateConfig:
    """The clip's own settings; of `config` its output, and its checkpoint and device where they are given."""
    own = {**sidecar.settings, "output": config.output, "reproduce": None, "device": sidecar.device}
    if config.checkpoint != Path():
        own["checkpoint"] = config.checkpoint
    if config.device != "auto":
        own["device"] = config.device
    return validate(GenerateConfig, own, source="reproduce")


def _batches(clips: Iterable[Clip], fps: int, config: GenerateConfig) -> Iterator[list[_Request]]:
    """Clips that may be made at once: with or without a video, with or without a prompt."""
    for _, group in itertools.groupby(clips, key=lambda clip: (bool(clip.video), bool(clip.prompt))):
        while batch := list(itertools.islice(group, config.batch_size)):
            yield [_read_picture(clip, fps, config) for clip in batch]


def _read_picture(clip: Clip, fps: int, config: GenerateConfig) -> _Request:
    if not clip.video:
        return _Request(clip=clip, picture=None)
    spec = config.clip.model_copy(update={"fps": fps})
    try:
        frames = decode_picture(Path(clip.video).resolve(), start_s=0.0, spec=spec)
    except MediaError as error:
        return _Request(clip=clip, picture=None, failure=str(error))
    return _Request(clip=clip, picture=frames)


def _make(
    requests: list[_Request],
    loaded: LoadedPipeline,
    config: GenerateConfig,
    *,
    report: Report = lambda share: None,
    only: int | None = None,
) -> Sidecar:
    """Make a batch and write it (or `only` one of it); the sidecar of the last that was written."""
    pipeline, clips = loaded.pipeline, tuple(request.clip for request in requests)
    pictures = [request.picture for request in requests if request.picture is not None]
    spec = pipeline.spec(
        height=config.clip.height, width=config.clip.width, num_frames=config.clip.num_frames
    )
    steps = config.solver.steps

    def stepped(_pipeline: object, step: int, t: float, state: dict) -> None:
        report(len(requests) * (step + 1) / (steps + 1))

    found: Any = pipeline(
        [clip.prompt for clip in clips] if clips[0].prompt else None,
        negative_prompt=config.negative_prompt or None,
        video=np.stack(pictures) if pictures else None,
        height=spec.height,
        width=spec.width,
        num_frames=spec.num_frames,
        guidance_scale=config.guidance.scale,
        audio_guidance_scale=config.guidance.audio_scale,
        guidance_interval=(config.guidance.start, config.guidance.end),
        solver=config.solver,
        modalities=config.modalities,
        seed=config.seed,
        index=[clip.index for clip in clips],
        output_type="latent",
        callback_on_step_end=stepped,
    )
    for position in range(len(clips)) if only is None else [only]:
        latents = AVLatents(
            video=None if found.frames is None else found.frames[position : position + 1],
            audio=None if found.audio is None else found.audio[position : position + 1],
        )
        named = {"video": latents.video, "audio": latents.audio}
        sidecar = Sidecar(
            file=_file_name(clips[position], config),
            batch=clips,
            position=position,
            settings=config.model_dump(mode="json"),
            weights=loaded.weights,
            latents={k: tensors_sha256({k: z}) for k, z in named.items() if z is not None},
            device=str(pipeline.device),
            versions=versions(),
        )
        _write(sidecar, latents, requests[position].picture, spec, loaded, config)
    return sidecar


def _write(
    sidecar: Sidecar,
    latents: AVLatents,
    picture: np.ndarray | None,
    spec: ClipSpec,
    loaded: LoadedPipeline,
    config: GenerateConfig,
) -> None:
    """The clip, its strip, and last its sidecar, which says that both are whole."""
    if picture is not None:  # the input's own picture, not its reconstruction
        latents = replace(latents, video=None)
    made = loaded.pipeline.decode(latents, spec)
    frames = picture if made.frames is None else np.asarray(made.frames[0])
    write_files(
        config.output / sidecar.file,
        frames=frames,
        audio=None if made.audio is None else np.asarray(made.audio[0]),
        spec=spec,
        title=sidecar.clip.prompt,
        strip=config.strip,
    )
    sidecar.write(config.output / f"{sidecar.clip.name}.json")


def _file_name(clip: Clip, config: GenerateConfig) -> str:
    return f"{clip.name}.{'wav' if config.modalities == 'audio' else 'mp4'}"


def _is_done(clip: Clip, loaded: LoadedPipeline, config: GenerateConfig) -> bool:
    path = config.output / f"{clip.name}.json"
    if not path.is_file():
        return False
    there = Sidecar.read(path)
    theirs = validate(GenerateConfig, there.settings, source=str(path))
    if essence(theirs, there.clip, there.weights) != essence(config, clip, loaded.weights):
        raise UserError(
            f"output {config.output}: {clip.name} has other settings or weights; give another --output"
        )
    return (config.output / there.file).is_file()
