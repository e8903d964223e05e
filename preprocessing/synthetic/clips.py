"""A folder of clips in Greatest Hits' layout: each is written once, whole, and by any number of workers.

`<id>_denoised.mp4`, `<id>_times.txt` (time material action reaction), `train.txt` and `test.txt` (bare
ids), and `captions.csv` (clip_id,caption). A clip's mp4 is written last, so that one that exists is
complete; a rerun writes only what lacks, and refuses a folder whose clips have other settings.
"""

import csv
import hashlib
import io
import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from rich.progress import track

from preprocessing.synthetic.draw import render_frames
from preprocessing.synthetic.scene import Scene, plan_scene
from preprocessing.synthetic.sound import render_audio
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.config import dump_config, load_config, settings_of
from syncflow.errors import UserError
from syncflow.files import write_whole
from syncflow.media import MediaError, write_clip

RESOLVED = "resolved.yaml"


def write_clips(config: SyntheticClipsConfig) -> int:
    """Write what lacks of the folder `config.output`, with a progress bar; how many clips were drawn.

    Raises:
        UserError: the folder holds clips of other settings, or cannot be written.
    """
    _claim_folder(config)
    scenes = [plan_scene(config, index=index) for index in range(config.count)]
    lacking = [scene.index for scene in scenes if not clip_path(config.output, scene.clip_id).is_file()]
    workers = min(config.workers or os.cpu_count() or 1, max(len(lacking), 1))
    print(f"{config.output}: drawing {len(lacking)} of {config.count} clips, {workers} at a time", flush=True)
    try:
        for _ in track(_write_each(config, lacking, workers), "drawing clips", total=len(lacking)):
            pass
    except MediaError as error:
        raise UserError(f"output {config.output}: {error}; mend that and run again, it resumes") from None
    _write_tables(config, scenes)
    return len(lacking)


def write_one(config: SyntheticClipsConfig, *, index: int) -> None:
    """Draw, sound and write clip `index`: its times first, its mp4 last."""
    scene = plan_scene(config, index=index)
    times = "".join(
        f"{impact.time_s:.4f} {scene.material.name} {scene.action} {scene.material.reaction}\n"
        for impact in scene.impacts
    )
    write_whole(config.output / f"{scene.clip_id}_times.txt", times)
    write_clip(
        clip_path(config.output, scene.clip_id),
        frames=render_frames(scene, size=config.size, fps=config.fps),
        audio=render_audio(scene, sample_rate=config.sample_rate),
        fps=config.fps,
        sample_rate=config.sample_rate,
    )


def clip_path(folder: Path, clip_id: str) -> Path:
    """The media file of a clip, named as in Greatest Hits."""
    return folder / f"{clip_id}_denoised.mp4"


def is_test(scene: Scene, *, config: SyntheticClipsConfig) -> bool:
    """Whether a clip is a test clip, whatever their number: evenly spread, or by what its caption tells."""
    share = config.test_share
    if config.hold_out == "clips":
        return int((scene.index + 1) * share + 1e-9) > int(scene.index * share + 1e-9)
    draw = int.from_bytes(hashlib.sha256(scene.combination.encode()).digest()[:8])
    return draw < share * 2**64


def _claim_folder(config: SyntheticClipsConfig) -> None:
    resolved = config.output / RESOLVED
    if resolved.is_file():
        wanted, found = settings_of(config), settings_of(load_config(SyntheticClipsConfig, resolved))
        other = [f"{key} {found[key]} (asked: {wanted[key]})" for key in wanted if wanted[key] != found[key]]
        if other:
            raise UserError(
                f"output {config.output}: its clips were made with {', '.join(other)}; give another --output"
            )
    elif config.output.is_dir() and any(config.output.glob("*_denoised.mp4")):
        raise UserError(f"output {config.output}: holds clips but no {RESOLVED}; give another --output")
    try:
        dump_config(config, resolved)
    except OSError as error:
        raise UserError(
            f"output {config.output}: cannot be written ({error}); give another --output"
        ) from None


def _write_each(config: SyntheticClipsConfig, indices: list[int], workers: int) -> Iterator[None]:
    """Write the clips, in this process or in a pool of them; yields after each."""
    if workers == 1:
        for index in indices:
            yield write_one(config, index=index)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(write_one, config, index=index) for index in indices]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _write_tables(config: SyntheticClipsConfig, scenes: list[Scene]) -> None:
    tested = {scene.clip_id for scene in scenes if is_test(scene, config=config)}
    train = "".join(f"{scene.clip_id}\n" for scene in scenes if scene.clip_id not in tested)
    test = "".join(f"{scene.clip_id}\n" for scene in scenes if scene.clip_id in tested)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(("clip_id", "caption"))
    rows.writerows((scene.clip_id, scene.caption) for scene in scenes)
    for name, text in (("train.txt", train), ("test.txt", test), ("captions.csv", table.getvalue())):
        write_whole(config.output / name, text)
