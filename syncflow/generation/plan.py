"""What is to be made: clips, the batches that they are made in, and what of them is there already."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.requests import Row
from syncflow.generation.sidecar import Clip, Sidecar, essence
from syncflow.hashing import file_sha256


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Clips that are always made together: rounding depends on a clip's neighbours, so they are fixed."""

    clips: tuple[Clip, ...]
    wanted: tuple[int, ...]  # places of those whose files lack


@dataclass(frozen=True, kw_only=True)
class Done:
    """What a worker says of a batch."""

    clips: int  # that were wanted
    failures: dict[str, str]  # why one could not be made, by its name
    notes: dict[str, str] = field(default_factory=dict)  # what of its video was not used, by its name


@dataclass(frozen=True, kw_only=True)
class Plan:
    clips: tuple[Clip, ...]
    batches: tuple[Batch, ...]  # those in which something lacks
    done: int  # clips that are there
    weights: dict[str, str] | None  # sha256 of the parts that made those; None without any


def plan_clips(rows: Iterable[Row], *, per_prompt: int) -> list[Clip]:
    """One entry a clip that is to be made.

    A row of an evaluation set whose video is not there stays: it is a clip that fails.

    Raises:
        UserError: another row's video is not a file.
    """
    clips = []
    for row in rows:
        video, sha256 = "", ""
        if row.video is not None:
            there = row.video.is_file()
            if not there and not row.evaluation_id:
                raise UserError(f"row {row.number}: video {row.video}: no such file")
            video, sha256 = str(row.video.resolve()), file_sha256(row.video) if there else ""
        for copy in range(per_prompt):
            clips.append(
                Clip(
                    row=row.number,
                    copy_number=copy,
                    prompt=row.prompt,
                    video=video,
                    video_sha256=sha256,
                    start_s=row.start_s,
                    evaluation_id=row.evaluation_id,
                )
            )
    return clips


def make_plan(clips: Iterable[Clip], config: GenerateConfig) -> Plan:
    """The batches of a run: consecutive clips, with or without a video and a prompt alike.

    They follow from the clips and `batch_size` alone, not from what is done: a run that was stopped, or
    that many workers share, computes each clip beside the same neighbours, and so gets the same bits.

    Raises:
        UserError: the output folder holds clips of other settings, or of unlike weights.
    """
    clips = tuple(clips)
    there = {clip.name: sidecar for clip in clips if (sidecar := _there(clip, config)) is not None}
    weights = [sidecar.weights for sidecar in there.values()]
    if any(each != weights[0] for each in weights):
        raise UserError(f"output {config.output}: its clips are of different weights; give another --output")
    batches = []
    for _, group in itertools.groupby(clips, key=lambda clip: (bool(clip.video), bool(clip.prompt))):
        while batch := tuple(itertools.islice(group, config.batch_size)):
            wanted = tuple(place for place, clip in enumerate(batch) if clip.name not in there)
            if wanted:
                batches.append(Batch(clips=batch, wanted=wanted))
    return Plan(clips=clips, batches=tuple(batches), done=len(there), weights=weights[0] if weights else None)


def file_name(clip: Clip, config: GenerateConfig) -> str:
    """The clip's file below the output folder."""
    return f"{clip.name}.{'wav' if config.modalities == 'audio' else 'mp4'}"


def sidecar_path(clip: Clip, folder: Path) -> Path:
    """Where in the output folder the clip's sidecar lies, or will."""
    return folder / f"{clip.name}.json"


def _there(clip: Clip, config: GenerateConfig) -> Sidecar | None:
    """The sidecar of a clip whose files are whole."""
    path = sidecar_path(clip, config.output)
    if not path.is_file():
        return None
    sidecar = Sidecar.read(path)
    written = validate(GenerateConfig, sidecar.settings, source=str(path))
    if essence(written, sidecar.clip) != essence(config, clip):
        raise UserError(f"output {config.output}: {clip.name} has other settings; give another --output")
    return sidecar if (config.output / sidecar.file).is_file() else None
