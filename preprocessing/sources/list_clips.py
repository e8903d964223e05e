"""A source's clips as lists: files of each split, and the test prompts with their videos."""

import csv
from pathlib import Path

from preprocessing.sources.list_config import ListConfig
from preprocessing.sources.read import list_source
from syncflow.errors import UserError
from syncflow.files import require_writable


def write_lists(config: ListConfig) -> dict[str, int]:
    """Write train.txt, test.txt, prompts.csv and videos.csv; how many lines each holds.

    A prompt is a clip's caption, else its label. Known bad clips and missing files are left out.

    Raises:
        UserError: no file of the source is there, or what its reader refuses.
    """
    listing = list_source(config.source)
    for note in listing.notes:
        print(note, flush=True)
    refs = [ref for ref in listing.chosen if isinstance(ref.path, Path) and ref.path.is_file()]
    refs = [ref for ref in refs if not ref.known_bad]
    if not refs:
        raise UserError(f"source.root {config.source.root}: no clip is a file there; give their folder")
    require_writable(config.output)
    counts = {}
    for split in ("train", "test"):
        files = sorted({str(ref.path) for ref in refs if ref.split == split})
        text = "".join(f"{file}\n" for file in files)
        (config.output / f"{split}.txt").write_text(text, encoding="utf-8")
        counts[f"{split}.txt"] = len(files)
    tests = [ref for ref in refs if ref.split == "test" and (ref.caption or ref.label)]
    prompts = [(ref.caption or ref.label, ref.clip_id) for ref in tests]
    videos = [(ref.caption or ref.label, str(ref.path), ref.clip_id) for ref in tests]
    for name, columns, rows in (
        ("prompts.csv", ("prompt", "clip_id"), prompts),
        ("videos.csv", ("prompt", "video", "clip_id"), videos),
    ):
        with (config.output / name).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([columns, *rows])
        counts[name] = len(rows)
    return counts
