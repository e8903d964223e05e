"""Codes and frame features of a finished dataset's windows: the clips are read again, shard by shard.

A shard of codes stands beside a shard of latents and holds the same windows in the same rows. One that is
there, whole, and made of the same windows by the same recipe is passed by, so a job that was cut goes on, and
a dataset that grew costs what is new.
"""

import json
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from preprocessing.codes_config import CodesConfig
from preprocessing.codes_worker import CodesWork, CodesWorker, Models, load_models, source_of, stored_windows
from preprocessing.config import PrecomputeConfig
from preprocessing.decode import MISSING
from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae
from syncflow.config import dump_config, settings_of, validate, with_absolute_paths
from syncflow.data.config import DataFilters
from syncflow.data.index import WindowIndex
from syncflow.data.parquet.lock import writer_lock
from syncflow.data.parquet.manifest import DatasetManifest
from syncflow.data.store import MomentReader
from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.foleygen.codec import (
    DEFAULT_ENCODEC,
    QUANTISER,
    LatentCodec,
    fit_codebooks,
)
from syncflow.foleygen.config import CodecConfig
from syncflow.foleygen.table import (
    CODEC,
    MANIFEST,
    SHARDS,
    CodesManifest,
    Key,
    code_schema,
    reasons_of,
)
from syncflow.hashing import settings_sha256, tensors_sha256
from syncflow.jobs import Execute, run_in_loop
from syncflow.places import absolute_place
from syncflow.records import Weights

RECIPE = "recipe.json"
OF_THE_MOMENT = MISSING | {"timeout", "not_listed"}  # reasons that may not hold the next time


def precompute_codes(config: CodesConfig, *, execute: Execute = run_in_loop) -> CodesManifest:
    """Make what the table lacks, and finish it.

    Args:
        config: the job.
        execute: runs `CodesWorker`s over latents shards.

    Raises:
        UserError: no finished dataset, weights that are missing or not the dataset's, a table of other
            settings, or no window got codes.
    """
    config = with_absolute_paths(config)
    index = WindowIndex(config.data)
    dataset = validate(PrecomputeConfig, index.manifest.config, source=f"{config.data}/dataset.json")
    config = with_dataset_models(config, index.manifest)
    folder = config.folder
    with writer_lock(folder):
        place = _codec_place(config, index)
        work = CodesWork(config=config, dataset=dataset, codec=place, recipe="")
        models = load_models(work)
        parts = _recipe(config, index.manifest, models)
        _check_recipe(folder, parts)
        work = CodesWork(config=config, dataset=dataset, codec=place, recipe=settings_sha256(parts))
        shards = sorted(index.shard_names)
        schema = code_schema(*models.shapes(index.manifest))

        def done(shard: str) -> list[tuple[Key, str]] | None:
            source = source_of(stored_windows(config.data, shard))
            return reasons_of(folder / SHARDS / shard, schema, recipe=work.recipe, source=source)

        todo = [shard for shard in shards if _is_open(done(shard))]
        print(f"{len(shards) - len(todo)} shards of codes are done, {len(todo)} to do", flush=True)
        if todo:
            (folder / MANIFEST).unlink(missing_ok=True)
            for number, windows in enumerate(execute(partial(CodesWorker, work), todo), start=1):
                print(f"shard {number} of {len(todo)}: {windows} windows", flush=True)
        reasons = dict(row for shard in shards for row in done(shard) or ())
        manifest = _manifest(config, index, models, reasons, recipe=work.recipe, codec=place)
        manifest.write(folder)
        dump_config(config, folder / "resolved.yaml")
    told = Counter(reason.partition(":")[0] for *_, reason in manifest.without)
    print(f"{manifest.windows} windows with codes in {folder}" + _listed(told), flush=True)
    return manifest


def with_dataset_models(config: CodesConfig, dataset: DatasetManifest) -> CodesConfig:
    """`config` with the places of models that it leaves to the dataset."""
    codec, visual = config.codec, config.visual
    if codec.kind == "audio_vae" and not codec.location:
        codec = codec.model_copy(update={"location": dataset.audio_vae.location})
    if visual.kind == "video_vae" and not visual.location:
        visual = visual.model_copy(update={"location": dataset.video_vae.location})
    return config.model_copy(update={"codec": codec, "visual": visual})


def _codec_place(config: CodesConfig, index: WindowIndex) -> str:
    """Where the codec lies; a quantiser that is asked for is fitted first, once."""
    if config.codec.kind == "encodec":
        return config.codec.location or DEFAULT_ENCODEC
    folder = config.folder / CODEC
    if not (folder / QUANTISER).is_file():
        vae = load_vae(AudioVAE, Path(config.codec.location))
        sha256 = tensors_sha256(vae.state_dict())
        if sha256 != index.manifest.audio_vae.sha256:
            raise UserError(
                f"codec.location {config.codec.location}: not the audio VAE of {config.data} "
                f"({index.manifest.audio_vae.sha256[:12]}); leave it empty, or give that one"
            )
        LatentCodec(vae, _fitted(config.codec, index)).save(folder)
    return str(folder)


def _fitted(config: CodecConfig, index: WindowIndex) -> torch.Tensor:
    """Codebooks of latents from all over the training windows."""
    rows = index.choose("train", DataFilters())
    per_window = index.file.audio_shape[0]
    count = min(len(rows), -(-config.fit_latents // per_window))
    chosen = rows[np.linspace(0, len(rows) - 1, count).astype(int)].tolist()
    reader, latents = MomentReader(), []
    for row in chosen:
        place = index.place(row)
        latents.append(reader(place.group)[0]["audio_mean"][place.offset].float())
    print(f"fitting {config.num_codebooks} codebooks to {count * per_window} latents", flush=True)
    return fit_codebooks(
        torch.cat(latents),
        num_codebooks=config.num_codebooks,
        codebook_size=config.codebook_size,
        seed=config.seed,
    )


def _recipe(config: CodesConfig, dataset: DatasetManifest, models: Models) -> dict[str, Any]:
    parts = {
        **settings_of(config),
        "dataset": dataset.recipe,
        "weights of codec": models.codec.sha256,
        "weights of visual": models.visual.sha256,
    }
    return json.loads(json.dumps(parts))


def _check_recipe(folder: Path, parts: dict[str, Any]) -> None:
    """Refuse a folder that other settings, weights or another dataset began; note ours in a new one.

    Raises:
        UserError: with what differs.
    """
    path = folder / RECIPE
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        if changed := [name for name in sorted({*before, *parts}) if before.get(name) != parts.get(name)]:
            raise UserError(
                f"{folder}: codes of other settings ({', '.join(changed)[:200]} differ); give another "
                "--output, or remove that folder"
            )
        return
    with whole_file(path) as stream:
        stream.write(json.dumps(parts, indent=1, sort_keys=True).encode())


def _manifest(
    config: CodesConfig,
    index: WindowIndex,
    models: Models,
    reasons: dict[Key, str],
    *,
    recipe: str,
    codec: str,
) -> CodesManifest:
    held = [(entry.dataset, entry.clip_id, entry.window) for entry in index]
    without = [(*key, reasons.get(key, "no_shard")) for key in held if reasons.get(key, "no_shard")]
    if len(without) == len(held):
        told = Counter(reason.partition(":")[0] for *_, reason in without)
        raise UserError(
            f"{config.folder}: no window got codes{_listed(told)}; are the dataset's clips there?"
        )
    (codebooks, codes), (frames, width) = models.shapes(index.manifest)
    visual = config.visual
    return CodesManifest(
        recipe=recipe,
        dataset_recipe=index.manifest.recipe,
        dataset_files_sha256=index.manifest.files_sha256,
        codec=Weights(sha256=models.codec.sha256, location=absolute_place(codec)),
        visual=Weights(sha256=models.visual.sha256, location=absolute_place(visual.location)),
        num_codebooks=codebooks,
        codebook_size=models.codec.codebook_size,
        code_rate=models.codec.code_rate,
        num_codes=codes,
        feature_dim=width,
        feature_rate=index.manifest.spec.fps / visual.every,
        num_frames=frames,
        windows=len(held) - len(without),
        without=tuple(without),
        config=config.model_dump(mode="json"),
    )


def _is_open(reasons: list[tuple[Key, str]] | None) -> bool:
    """Whether a shard is to be made: it is not there, or lacks clips that were away."""
    return reasons is None or any(reason.partition(":")[0] in OF_THE_MOMENT for _, reason in reasons)


def _listed(counts: Counter[str]) -> str:
    told = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f" (without: {told})" if told else ""
