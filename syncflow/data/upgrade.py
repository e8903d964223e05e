"""A dataset of an older version, or one whose index is lost, brought up to this version without decoding."""

from pathlib import Path
from typing import Any

import torch

from syncflow.autoencoders.loading import load_video_vae
from syncflow.config import validate
from syncflow.data.parquet import DatasetManifest
from syncflow.data.parquet.index_file import write_index
from syncflow.data.parquet.ledger import Ledger, clips_by_shard
from syncflow.data.parquet.lock import writer_lock
from syncflow.data.parquet.manifest import MANIFEST, read_values
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.records import ClipSpec


def upgrade_dataset(folder: Path, *, video_vae: str = "") -> DatasetManifest:
    """Write the index and what else the manifest lacks; the latents stay as they are.

    Args:
        folder: a finished dataset.
        video_vae: folder or hub name of the video VAE that made it, asked for its frame spans where the
            manifest lacks them; empty: where the manifest says.

    Raises:
        UserError: no finished dataset, a job is at work on it, a shard is damaged, or another video VAE.
    """
    with writer_lock(folder):
        values = read_values(folder)
        if "frame_spans" not in values:
            values["frame_spans"] = _frame_spans(folder, values, video_vae)
        ledger = Ledger.read(folder / "ledger", names=values.get("ledger_files"))
        rows = [row for row in ledger.rows().values() if row.recipe == values["recipe"]]
        values["index_sha256"] = write_index(
            folder,
            clips=clips_by_shard(rows),
            texts=[Path(name).name for name in ledger.committed if name.startswith("text/")],
            files_sha256=values["files_sha256"],
        )
        manifest = validate(DatasetManifest, values, source=str(folder / MANIFEST))
        manifest.write(folder)
    return manifest


def _frame_spans(folder: Path, values: dict[str, Any], video_vae: str) -> list[tuple[int, int]]:
    expected = values["video_vae"]
    location = video_vae or expected["location"]
    dtype = getattr(torch, values["config"].get("encode", {}).get("dtype", "float32"))
    vae = load_video_vae(location, dtype=dtype, setting="--video-vae")
    found = tensors_sha256(vae.state_dict())
    if found != expected["sha256"]:
        raise UserError(
            f"{folder}: encoded with video_vae {expected['sha256'][:12]}, {location} has {found[:12]}; give "
            "--video-vae the one that made it"
        )
    return vae.frame_spans(validate(ClipSpec, values["spec"], source=str(folder / MANIFEST)).num_frames)
