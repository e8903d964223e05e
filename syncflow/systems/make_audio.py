"""Videos -> the same videos with a system's audio: video to audio, and the second half of a cascade."""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from syncflow.config import dump_config, with_absolute_paths
from syncflow.data.parquet.lock import writer_lock
from syncflow.errors import UserError
from syncflow.files import require_writable, whole_file
from syncflow.generation.outputs import ManifestLine, write_files, write_manifest
from syncflow.generation.sidecar import Clip
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.media import MediaError
from syncflow.media.clip_folder import captions_by_id, clip_id, clips_of_split
from syncflow.media.evaluation_set import read_evaluation_set
from syncflow.places import not_a_folder
from syncflow.systems.card import CARD, SystemCard
from syncflow.systems.config import MakeAudioConfig
from syncflow.systems.contract import AudioRequest, AudioSystem, NoAudio

EXCHANGE = "exchange"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A video that is to get audio."""

    number: int
    prompt: str
    file: Path
    made_for: str  # the real video whose clip it is compared with; empty for one made from a prompt
    start_s: float = 0.0  # where in `file` the clip starts
    evaluation_id: str = ""  # of the evaluation set's row
    failure: str = ""  # why there is no such file


def load_system(config: MakeAudioConfig) -> AudioSystem:
    """The system that the settings name.

    Raises:
        UserError: its weights are missing, or their licence is not accepted.
    """
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda, and torch sees no GPU; use cpu or auto")
    device = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    if config.system == "foleygen":
        from syncflow.systems.foleygen import FoleyGenSystem

        return FoleyGenSystem(
            Path(config.checkpoint), sampling=config.sampling, spec=config.clip, device=device
        )
    if config.system == "folder":
        from syncflow.systems.folder import FolderSystem

        return FolderSystem(Path(config.checkpoint).resolve(), spec=config.clip)
    if config.system == "foreign":
        from syncflow.systems.foreign import ForeignSystem

        _accepted(config, config.foreign.licence, config.foreign.weights[0])
        return ForeignSystem(config.foreign, exchange=config.output / EXCHANGE, spec=config.clip)
    from syncflow.systems.audioldm import DEFAULTS, LICENCE, load_audioldm

    _accepted(config, LICENCE, config.checkpoint or DEFAULTS[config.system])
    return load_audioldm(
        config.system, config.checkpoint, config=config.diffusion, spec=config.clip, device=device
    )


def _accepted(config: MakeAudioConfig, licence: str, weights: str) -> None:
    if "-NC" in licence.upper() and not config.accept_noncommercial_licence:
        raise UserError(
            f"{weights}: licence {licence}, no commercial use; say --accept-noncommercial-licence if that is "
            "how you use it"
        )


def make_audio(config: MakeAudioConfig, system: AudioSystem | None = None) -> list[ManifestLine]:
    """Make what lacks, and write the folder's manifest and card; a line for each video.

    Args:
        config: the job.
        system: what makes the audio; None: the one that the settings name.

    Raises:
        UserError: no videos, weights that are missing, or a folder of other settings.
    """
    config = with_absolute_paths(config)
    rows = read_rows(config)
    system = load_system(config) if system is None else system
    for line in system.card.told():
        print(line, flush=True)
    require_writable(config.output)
    with writer_lock(config.output):
        _check_card(config.output, system.card)
        system.card.write(config.output)
        failures = {row.number: row.failure for row in rows if row.failure}
        todo = [row for row in rows if not row.failure and not _is_there(row, config, system.card)]
        print(f"{len(rows) - len(todo) - len(failures)} clips are there, {len(todo)} to make", flush=True)
        at_once = len(todo) or 1 if config.system == "foreign" else config.batch_size
        for first in range(0, len(todo), at_once):
            failures |= dict(_make(todo[first : first + at_once], config, system))
            print(f"{min(first + at_once, len(todo))} of {len(todo)} done", flush=True)
        lines = [
            ManifestLine(
                clip=Clip(
                    row=row.number,
                    copy_number=0,
                    prompt=row.prompt,
                    video=row.made_for,
                    video_sha256="",
                    start_s=row.start_s,
                    evaluation_id=row.evaluation_id,
                ),
                file=_name(row),
                failure=failures.get(row.number, ""),
            )
            for row in rows
        ]
        write_manifest(config.output / "manifest.csv", lines, seed=config.seed)
        dump_config(config, config.output / "resolved.yaml")
    return lines


def read_rows(config: MakeAudioConfig) -> list[Row]:
    """The rows of the evaluation set, or the videos of the folder: its manifest's, or a dataset's clips.

    Raises:
        UserError: no such folder or table, or nothing in it.
    """
    if config.evaluation_set is not None:
        return _rows_of_set(config.evaluation_set)[: config.limit or None]
    folder = config.video
    assert folder is not None, "one of both is set"
    if not folder.is_dir():
        raise UserError(f"video {folder}: {not_a_folder(folder)}; give one of videos")
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        rows = _rows_of_manifest(manifest)
    else:
        captions = captions_by_id(folder)
        rows = [
            Row(number=n, prompt=captions.get(clip_id(path), ""), file=path, made_for=str(path))
            for n, path in enumerate(clips_of_split(folder, config.split))
        ]
    if not rows:
        raise UserError(f"video {folder}: no videos in it, of split {config.split}")
    return rows[: config.limit or None]


def _rows_of_set(path: Path) -> list[Row]:
    return [
        Row(
            number=number,
            prompt=clip.prompt,
            file=clip.path,
            made_for=str(clip.path),
            start_s=clip.start_s,
            evaluation_id=clip.id,
        )
        for number, clip in enumerate(read_evaluation_set(path))
    ]


def _rows_of_manifest(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as stream:
        table = list(csv.DictReader(stream))
    if table and not {"file", "row", "prompt"} <= table[0].keys():
        raise UserError(
            f"{path}: expected the columns file, row, prompt; give a folder that generate.py wrote"
        )
    if any((row.get("copy") or "0") != "0" for row in table):
        raise UserError(f"{path}: several clips a row; make the videos with --per-prompt 1")
    return [
        Row(
            number=int(row["row"]),
            prompt=row["prompt"] or "",
            file=path.parent / row["file"],
            made_for=row.get("video") or "",
            failure=row.get("failure") or "",
            evaluation_id=row.get("id") or "",
        )
        for row in table
    ]


def _make(rows: Sequence[Row], config: MakeAudioConfig, system: AudioSystem) -> Iterator[tuple[int, str]]:
    """Write the clips of `rows`; number and reason of those that could not be made."""
    requests = [
        AudioRequest(
            number=row.number, prompt=row.prompt, video=row.file, spec=config.clip, start_s=row.start_s
        )
        for row in rows
    ]
    answers = system(requests, seed=config.seed)
    for row, request, answer in zip(rows, requests, answers, strict=True):
        if isinstance(answer, NoAudio):
            yield row.number, answer.reason
            continue
        try:
            _write(row, request, answer, config, system.card)
        except MediaError as error:
            yield row.number, f"{error.reason}: {error.detail}"


def _write(
    row: Row, request: AudioRequest, audio: np.ndarray, config: MakeAudioConfig, card: SystemCard
) -> None:
    """The clip, and last its sidecar, which says that it is whole."""
    path = config.output / _name(row)
    sidecar = path.with_suffix(".json")
    sidecar.unlink(missing_ok=True)
    write_files(
        path,
        frames=request.frames(),
        audio=audio,
        spec=config.clip,
        title=row.prompt,
        strip=False,
        wav=False,
    )
    values = {"file": path.name, "sha256": file_sha256(path), "made_by": _made_by(row, config, card)}
    with whole_file(sidecar) as stream:
        stream.write(json.dumps(values, indent=1).encode())


def _made_by(row: Row, config: MakeAudioConfig, card: SystemCard) -> dict[str, Any]:
    """Everything that decides a clip."""
    return {
        "system": card.sha256,
        "seed": config.seed,
        "row": row.number,
        "prompt": row.prompt,
        "video_sha256": file_sha256(row.file) if row.file.is_file() else "",
        "clip": settings_sha256(config.clip.model_dump(mode="json")),
        **({"start_s": row.start_s} if row.start_s else {}),  # clips of before had no such key
    }


def _is_there(row: Row, config: MakeAudioConfig, card: SystemCard) -> bool:
    """Whether the clip was made by all of this, and is whole."""
    path = config.output / _name(row)
    try:
        values = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        return values["made_by"] == _made_by(row, config, card) and values["sha256"] == file_sha256(path)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _check_card(folder: Path, card: SystemCard) -> None:
    """Refuse a folder that another system's clips are in.

    Raises:
        UserError: its card is another system's.
    """
    if (folder / CARD).is_file() and SystemCard.read(folder).sha256 != card.sha256:
        raise UserError(
            f"output {folder}: its clips are of another system or settings; give another --output"
        )


def _name(row: Row) -> str:
    return f"{row.number:05}-0.mp4"
