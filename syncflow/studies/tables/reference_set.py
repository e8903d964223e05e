"""The real clips of a comparison as files: cut to the window, and encoded as the systems' clips are."""

import csv
import io
from dataclasses import replace
from pathlib import Path

from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.generation.outputs import ManifestLine, write_manifest
from syncflow.generation.sidecar import Clip
from syncflow.media import MediaError, decode_window, write_clip
from syncflow.media.evaluation_set import read_evaluation_set, write_evaluation_set
from syncflow.records import ClipSpec

PROMPTS, VIDEOS, SET, CLIPS = "prompts.csv", "videos.csv", "evaluation_set.csv", "clips"


def write_reference_set(source: Path, folder: Path, *, spec: ClipSpec, limit: int) -> int:
    """Write clips, their evaluation set, prompts, and prompts with videos; how many.

    Every system gets the same files, and the ground truth row is these files. A clip that cannot be read is
    left out of all of them, and told.

    Raises:
        UserError: the set cannot be read, or none of its clips.
    """
    rows, kept = read_evaluation_set(source)[: limit or None], []
    for row in rows:
        path = folder / CLIPS / f"{len(kept):05}-0.mp4"
        try:
            frames, audio = decode_window(row.path.resolve(), start_s=row.start_s, spec=spec)
            write_clip(path, frames=frames, audio=audio, fps=spec.fps, sample_rate=spec.sample_rate)
        except MediaError as error:
            print(f"left out: {row.id}: {error.reason}", flush=True)
            continue
        kept.append(replace(row, path=path.resolve(), start_s=0.0))
    if not kept:
        raise UserError(f"{source}: none of {len(rows)} clips can be read; are they where it says?")
    lines = [
        ManifestLine(
            clip=Clip(
                row=number, copy_number=0, prompt=row.prompt, video="", video_sha256="", evaluation_id=row.id
            ),
            file=row.path.name,
            failure="",
        )
        for number, row in enumerate(kept)
    ]
    write_manifest(folder / CLIPS / "manifest.csv", lines, seed=0)
    write_evaluation_set(folder / SET, kept)
    _table(folder / PROMPTS, ("prompt",), [(row.prompt,) for row in kept])
    _table(folder / VIDEOS, ("prompt", "video"), [(row.prompt, str(row.path)) for row in kept])
    return len(kept)


def _table(path: Path, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    with whole_file(path) as stream:
        stream.write(text.getvalue().encode())
