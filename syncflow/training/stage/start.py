"""Where a stage's first weights come from, and what is refused before anything starts."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from syncflow.checkpoint import CheckpointManifest, load_checkpoint
from syncflow.config import Config
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.config import DualDiTConfig
from syncflow.model.open_sora import (
    HUB_ID,
    check_weight_files,
    checkpoint_folder,
    load_open_sora_tensors,
    read_open_sora_config,
    read_open_sora_tensors,
)
from syncflow.noise import keyed_generator
from syncflow.shipped import shipped_folder
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.moments import check_moments
from syncflow.training.stage.stages import STAGES, check_order

if TYPE_CHECKING:
    from syncflow.model.dual_dit import DualDiT  # imports diffusers, which a check does not need

WITHOUT_WEIGHTS = ("tap", "feature_tokens", "feature_grid")  # which features leave the video tower


@dataclass(frozen=True, kw_only=True)
class FirstWeights:
    """Where a stage's first weights came from; both are empty for weights drawn from a seed."""

    source: str = ""  # a checkpoint folder, or an Open-Sora folder or hub id
    sha256: str = ""  # content hash of the source's tensors, under its own names


def start_of(config: TrainConfig) -> str:
    """`none`, a folder, or a hub id: `initialise_from` with `auto` resolved.

    Raises:
        UserError: the stage before has left no checkpoint under `output`.
    """
    stage = STAGES[config.stage]
    if config.initialise_from != "auto":
        return str(shipped_folder(config.initialise_from) or config.initialise_from)
    if stage.starts_from is None:
        return "none"
    folder = config.output / stage.starts_from / "checkpoint"
    if not folder.is_dir():
        raise UserError(
            f"initialise_from auto: {folder} does not exist; train stage {stage.starts_from!r} with the same "
            f"--output first, or give --initialise-from a checkpoint folder, Open-Sora's weights ({HUB_ID}) "
            "or `none`"
        )
    return str(folder)


def check_start(config: TrainConfig) -> None:
    """Read what is cheap to read, and refuse what cannot work.

    Raises:
        UserError: data or first weights are missing, or do not fit the stage or the model.
    """
    dataset = LatentDataset(config.data, filters=config.filters)
    _check_shapes(dataset, config.model)
    start = start_of(config)
    if config.carry_moments:
        check_moments(start)
    if start == "none":
        return
    if is_checkpoint(start):
        manifest = CheckpointManifest.read(Path(start))
        if not config.lora.rank:  # a LoRA of any stage may be upon any checkpoint
            check_order(STAGES[config.stage], found=manifest.stage, source=start)
        _check_encoders(dataset, manifest)
        _check_model(manifest, start, config.model)
    elif is_pipeline(start):
        _check_pipeline(dataset, Path(start), config.model)
    else:
        _check_open_sora(start, config.model)


def is_checkpoint(start: str) -> bool:
    """Whether it is a folder of ours, or at least not one of Open-Sora's."""
    folder = Path(start)
    return start != "none" and folder.is_dir() and (folder / "manifest.json").is_file()


def is_pipeline(start: str) -> bool:
    """Whether it is the folder of a saved SyncFlowPipeline."""
    return start != "none" and (Path(start) / "model_index.json").is_file()


def starting_model(config: TrainConfig) -> tuple["DualDiT", FirstWeights]:
    """The model with the stage's first weights, and where they came from.

    Open-Sora's weights fill the video tower, whatever the stage: `audio` leaves them as they are (the
    paper's SyncFlow-VGG), `joint` trains them together with new audio weights. Parts that a checkpoint has
    not trained yet come from it too: they were drawn from its seed. Where they have other settings here (an
    ablation that starts from the common video stage) they are drawn anew.

    Raises:
        UserError: as `check_start`, or weights are damaged.
    """
    start = start_of(config)
    if is_checkpoint(start):
        saved, manifest = load_checkpoint(Path(start))
        if not config.lora.rank:
            check_order(STAGES[config.stage], found=manifest.stage, source=start)
        _check_model(manifest, start, config.model)
        first = FirstWeights(source=start, sha256=manifest.model_sha256)
        if saved.settings == config.model:
            return saved, first
        model = _new_model(config)
        model.video_tower.load_state_dict(saved.video_tower.state_dict())
        return model, first
    if is_pipeline(start):
        model = _pipeline_model(Path(start))
        return model, FirstWeights(source=start, sha256=tensors_sha256(model.state_dict()))
    model = _new_model(config)
    if start == "none":
        return model, FirstWeights()
    tensors = read_open_sora_tensors(checkpoint_folder(start))
    load_open_sora_tensors(model.video_tower, tensors, source=start)
    return model, FirstWeights(source=start, sha256=tensors_sha256(tensors))


def first_weights_sha256(config: TrainConfig) -> str:
    """Content hash of the weights that the stage starts from, as `FirstWeights` has it."""
    start = start_of(config)
    if start == "none":
        return ""
    if is_checkpoint(start):
        return CheckpointManifest.read(Path(start)).model_sha256
    if is_pipeline(start):
        return tensors_sha256(_pipeline_model(Path(start)).state_dict())
    return tensors_sha256(read_open_sora_tensors(checkpoint_folder(start)))


def _pipeline_model(folder: Path) -> "DualDiT":
    """The dual DiT of a saved pipeline, in float32."""
    from syncflow.model.dual_dit import DualDiT

    try:
        model = DualDiT.from_pretrained(
            folder / "dual_dit", local_files_only=True, use_safetensors=True, low_cpu_mem_usage=False
        )
    except (OSError, ValueError, RuntimeError) as error:
        told = " ".join(str(error).split())[:300]
        raise UserError(
            f"initialise_from {folder}: cannot be read: {told}; save the pipeline again"
        ) from None
    torch.nn.Module.to(model, torch.float32)
    return model


def _check_pipeline(dataset: LatentDataset, folder: Path, model: DualDiTConfig) -> None:
    """Refuse a saved pipeline of another model, or with other autoencoders than the dataset's."""
    from syncflow.autoencoders.audio_vae import AudioVAE
    from syncflow.autoencoders.loading import load_vae, load_video_vae

    saved = _saved_settings(folder / "dual_dit")
    if any(saved.get(group) != values for group, values in model.model_dump(mode="json").items()):
        raise UserError(
            f"initialise_from {folder}: made with another model: {_difference(saved, model)}; "
            "take the settings of `model` that it was trained with"
        )
    dtype = getattr(torch, dataset.manifest.config.get("encode", {}).get("dtype", "float32"))
    video = load_video_vae(str(folder / "video_vae"), dtype=dtype, setting="initialise_from")
    audio = load_vae(AudioVAE, folder / "audio_vae", dtype=dtype)
    dataset.check_autoencoders(
        video_vae=tensors_sha256(video.state_dict()),
        audio_vae=tensors_sha256(audio.state_dict()),
        text_encoder=dataset.manifest.text_encoder.sha256,  # its width is in the model's settings
    )


def _new_model(config: TrainConfig) -> "DualDiT":
    from syncflow.model.dual_dit import DualDiT

    return DualDiT.random(config.model, generator=keyed_generator("initialise", config.seed))


def _check_encoders(dataset: LatentDataset, manifest: CheckpointManifest) -> None:
    """Refuse latents of other encoders than those that the weights know; stage `video` knows no audio."""
    audio_vae = dataset.manifest.audio_vae if manifest.stage == "video" else manifest.audio_vae
    dataset.check_autoencoders(
        video_vae=manifest.video_vae.sha256,
        audio_vae=audio_vae.sha256,
        text_encoder=manifest.text_encoder.sha256,
    )


def _check_model(manifest: CheckpointManifest, start: str, model: DualDiTConfig) -> None:
    """Refuse a checkpoint whose trained parts have other settings; stage `video` trained its tower alone."""
    saved = _saved_settings(Path(start))
    if all(saved.get(group) == values for group, values in model.model_dump(mode="json").items()):
        return
    if manifest.stage == "video" and _video_weights(saved["video"]) == _video_weights(
        model.model_dump(mode="json")["video"]
    ):
        return
    raise UserError(
        f"initialise_from {start}: made with another model: {_difference(saved, model)}; "
        "train all stages with one preset"
    )


def _saved_settings(folder: Path) -> dict[str, Any]:
    """The settings of a saved dual DiT."""
    try:
        return dict(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"initialise_from {folder}: no readable config.json ({error}); copy it again"
        ) from None


def _check_open_sora(start: str, model: DualDiTConfig) -> None:
    """Refuse Open-Sora weights of other sizes before a worker starts; a hub id is downloaded here, once."""
    ours = model.video
    folder = checkpoint_folder(start)
    theirs = read_open_sora_config(
        folder, tap=ours.tap, feature_tokens=ours.feature_tokens, feature_grid=ours.feature_grid
    )
    if theirs != ours:
        found, wanted = theirs.model_dump(mode="json"), ours.model_dump(mode="json")
        name = next(name for name in wanted if found[name] != wanted[name])
        raise UserError(
            f"initialise_from {start}: made with another model: video.{name} is {found[name]!r} there, "
            f"{wanted[name]!r} here; give --model.video.{name.replace('_', '-')} as it is there"
        )
    check_weight_files(folder)


def _video_weights(video: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the video tower that its weights depend on."""
    return {name: value for name, value in video.items() if name not in WITHOUT_WEIGHTS}


def _check_shapes(dataset: LatentDataset, model: DualDiTConfig) -> None:
    (channels, *_), (latents, width) = dataset.video_shape, dataset.audio_shape
    audio_latents = math.ceil(dataset.spec.num_samples * model.audio.latent_rate / dataset.spec.sample_rate)
    if latents != audio_latents:
        raise UserError(
            f"data {dataset.folder}: {latents} audio latents in {dataset.spec.seconds:g} s, "
            f"model.audio.latent_rate {model.audio.latent_rate:g} makes {audio_latents}; set it to the audio "
            "VAE's latents a second, by which audio is placed in time"
        )
    for name, found, expected in (
        ("model.video.in_channels", channels, model.video.in_channels),
        ("model.audio.latent_dim", width, model.audio.latent_dim),
        ("model.video.text_dim", dataset.text_width, model.video.text_dim),
    ):
        if found != expected:
            raise UserError(
                f"data {dataset.folder}: made for {name} {found}, the preset says {expected}; "
                "precompute with the same preset as you train"
            )


def _difference(saved: dict, model: Config) -> str:
    for group, values in model.model_dump(mode="json").items():
        theirs = saved.get(group)
        if isinstance(values, dict) and isinstance(theirs, dict):
            for name, value in values.items():
                if theirs.get(name) != value:
                    return f"{group}.{name} is {theirs.get(name)!r} there, {value!r} here"
        elif theirs != values:
            return f"{group} differs"
    return "its settings differ"
