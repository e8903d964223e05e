"""Open-Sora's names and settings of the video VAE, converted here and nowhere else.

`hpcai-tech/OpenSora-VAE-v1.2` is a folder of `config.json` and `model.safetensors` with 517 tensors.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from syncflow.autoencoders.config import VideoVAEConfig
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.weight_files import refuse_pickled

SPATIAL_TYPE, TEMPORAL_TYPE = "VideoAutoencoderKL", "VAE_Temporal_SD"
"""What the published config.json calls the parts; the sizes of these are our defaults."""

SIZES = {
    "spatial_vae_config": {
        "latent_channels": "latent_channels",
        "block_out_channels": "spatial_block_channels",
        "layers_per_block": "spatial_layers_per_block",
        "norm_num_groups": "spatial_norm_groups",
    },
    "temporal_vae_config": {
        "in_out_channels": "latent_channels",
        "latent_embed_dim": "latent_channels",
        "embed_dim": "latent_channels",
        "filters": "temporal_filters",
        "num_res_blocks": "temporal_res_blocks",
        "channel_multipliers": "temporal_multipliers",
        "temporal_downsample": "temporal_downsample",
        "num_groups": "temporal_norm_groups",
    },
}
"""Their names of the sizes -> ours, where a config.json states sizes."""

STATISTICS = {"latent_mean": "shift", "latent_std": "scale"}
BLOCK_PARTS = {
    "norm_in": "norm1",
    "conv_in": "conv1",
    "norm_out": "norm2",
    "conv_out": "conv2",
    "skip": "conv3",
}
ENDS = {
    "encoder.conv_in": "encoder.conv_in",
    "encoder.norm_out": "encoder.norm1",
    "encoder.conv_out": "encoder.conv2",
    "decoder.conv_in": "decoder.conv1",
    "decoder.norm_out": "decoder.norm1",
    "decoder.conv_out": "decoder.conv_out",
    "to_moments": "quant_conv",
    "from_latent": "post_quant_conv",
}


def foreign_name(name: str) -> str:
    """Open-Sora's name of the tensor that our `VideoVAE` calls `name`."""
    part, _, rest = name.partition(".")
    if name in STATISTICS:
        return STATISTICS[name]
    if part == "spatial":
        return f"spatial_vae.module.{rest}"
    return f"temporal_vae.{_foreign_temporal_name(rest)}"


def _foreign_temporal_name(name: str) -> str:
    if match := re.fullmatch(r"(encoder|decoder)\.mid\.(\d+)\.(\w+)\.(.+)", name):
        side, block, part, rest = match.groups()
        return f"{side}.res_blocks.{block}.{BLOCK_PARTS[part]}.{rest}"
    if match := re.fullmatch(r"(encoder|decoder)\.levels\.(\d+)\.blocks\.(\d+)\.(\w+)\.(.+)", name):
        side, level, block, part, rest = match.groups()
        return f"{side}.block_res_blocks.{level}.{block}.{BLOCK_PARTS[part]}.{rest}"
    if match := re.fullmatch(r"(encoder|decoder)\.levels\.(\d+)\.resample\.(.+)", name):
        side, level, rest = match.groups()
        step = int(level) - (side == "decoder")  # a step lies after the encoder's level, before the decoder's
        return f"{side}.conv_blocks.{step}.{rest}"
    end = next(end for end in ENDS if name.startswith(end + "."))
    return ENDS[end] + name[len(end) :]


def import_weights(vae: VideoVAE, tensors: Mapping[str, Tensor]) -> None:
    """Load Open-Sora's tensors into `vae`, in its dtype.

    Raises:
        UserError: a missing, an extra or a misshapen name; all of them are in the message.
    """
    ours = vae.state_dict()
    names = {foreign_name(name): name for name in ours}
    missing, extra = sorted(names.keys() - tensors.keys()), sorted(tensors.keys() - names.keys())
    misshapen = [
        f"{name} {list(tensors[name].shape)} not {list(ours[names[name]].shape)}"
        for name in sorted(names.keys() & tensors.keys())
        if tensors[name].shape != ours[names[name]].shape
    ]
    if missing or extra or misshapen:
        faults = {"missing": missing, "extra": extra, "misshapen": misshapen}
        told = "; ".join(
            f"{len(found)} {kind}: {', '.join(found)}" for kind, found in faults.items() if found
        )
        raise UserError(
            f"Open-Sora VAE weights do not fit ({told}); check that config.json is of these weights"
        )
    vae.load_state_dict({names[name]: tensor for name, tensor in tensors.items()}, strict=True)


def export_weights(vae: VideoVAE) -> dict[str, Tensor]:
    """The tensors of `vae` under Open-Sora's names."""
    return {foreign_name(name): tensor for name, tensor in vae.state_dict().items()}


def config_from_open_sora(values: Mapping[str, Any]) -> VideoVAEConfig:
    """Our settings from Open-Sora's config.json: sizes where it states them, else the published ones.

    Raises:
        UserError: a part of another type than v1.2's, or a setting that cannot be.
    """
    settings: dict[str, Any] = {}
    for key, kind in (("vae_2d", SPATIAL_TYPE), ("vae_temporal", TEMPORAL_TYPE)):
        found = (values.get(key) or {}).get("type", kind)
        if found != kind:
            raise UserError(f"Open-Sora VAE config: {key} is {found!r}, expected {kind!r}; give a v1.2 VAE")
    for group, names in SIZES.items():
        for name, value in (values.get(group) or {}).items():
            if name in names:
                settings[names[name]] = tuple(value) if isinstance(value, list) else value
    for name, ours in (("micro_frame_size", "frames_per_chunk"), ("shift", "shift"), ("scale", "scale")):
        if name in values:
            settings[ours] = values[name]
    return validate(VideoVAEConfig, settings, source="Open-Sora VAE config")


def config_to_open_sora(config: VideoVAEConfig) -> dict[str, Any]:
    """A config.json for exported weights, with the sizes stated.

    Raises:
        UserError: a scaling of the 2-D latents that the format cannot state.
    """
    fixed = VideoVAEConfig().spatial_scaling
    if config.spatial_scaling != fixed:
        raise UserError(
            f"spatial_scaling {config.spatial_scaling}: Open-Sora's format fixes it at {fixed}; "
            "export only a VAE that was trained so"
        )
    ours = config.model_dump(mode="json")
    sizes = {group: {theirs: ours[name] for theirs, name in names.items()} for group, names in SIZES.items()}
    return {
        "model_type": "VideoAutoencoderPipeline",
        "architectures": ["VideoAutoencoderPipeline"],
        "micro_frame_size": config.frames_per_chunk,
        "shift": list(config.shift),
        "scale": list(config.scale),
        "vae_2d": {"type": SPATIAL_TYPE},
        "vae_temporal": {"type": TEMPORAL_TYPE},
        **sizes,
    }


def load_open_sora_vae(folder: Path) -> VideoVAE:
    """A `VideoVAE` from a folder in Open-Sora's format (`config.json`, `model.safetensors`).

    Raises:
        UserError: a missing or truncated file, or weights that do not fit.
    """
    refuse_pickled(folder, setting="video_vae")
    try:
        config = config_from_open_sora(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        tensors = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise UserError(
            f"Open-Sora VAE {folder}: cannot be read ({error}); download the folder anew"
        ) from None
    vae = VideoVAE(**config.model_dump())
    import_weights(vae, tensors)
    return vae.eval()


def save_open_sora_vae(vae: VideoVAE, folder: Path) -> None:
    """Write `vae` in Open-Sora's format; shift and scale are those of its weights.

    Raises:
        UserError: a VAE that the format cannot state.
    """
    fields = {name: vae.config[name] for name in VideoVAEConfig.model_fields}
    statistics = {"shift": vae.latent_mean.flatten().tolist(), "scale": vae.latent_std.flatten().tolist()}
    config = config_to_open_sora(VideoVAEConfig(**{**fields, **statistics}))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    tensors = {name: tensor.contiguous() for name, tensor in export_weights(vae).items()}
    save_file(tensors, folder / "model.safetensors")
