"""Open-Sora v1.2's diffusion weights, in and out: foreign names and settings end here.

The formats are those of `hpcai-tech/OpenSora-STDiT-v3` (class STDiT3): a config.json and safetensors.
Import and export are exact inverses, number by number.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file, save_file
from torch import Tensor

from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.model.config import FeatureTokens, Tap, VideoTowerConfig
from syncflow.places import not_a_folder
from syncflow.weight_files import conversion_command

if TYPE_CHECKING:
    from syncflow.model.video_tower import VideoTower  # imports diffusers; a check of a folder does not

HUB_ID = "hpcai-tech/OpenSora-STDiT-v3"
WEIGHTS = "model.safetensors"

_NAMES = [  # ours, theirs: parts of dotted names, the longer first
    ("patch_embedding", "x_embedder.proj"),
    ("time_embedding.expand", "t_embedder.mlp.0"),
    ("time_embedding.contract", "t_embedder.mlp.2"),
    ("fps_embedding.expand", "fps_embedder.mlp.0"),
    ("fps_embedding.contract", "fps_embedder.mlp.2"),
    ("time_modulation", "t_block.1"),
    ("text_embedding.null_prompt", "y_embedder.y_embedding"),
    ("text_embedding.project.expand", "y_embedder.y_proj.fc1"),
    ("text_embedding.project.contract", "y_embedder.y_proj.fc2"),
    ("rotary_frequencies", "rope.freqs"),
    ("head.modulation", "final_layer.scale_shift_table"),
    ("head.linear", "final_layer.linear"),
    ("self_attention.query_key_value", "attn.qkv"),
    ("self_attention.query_norm", "attn.q_norm"),
    ("self_attention.key_norm", "attn.k_norm"),
    ("self_attention.output", "attn.proj"),
    ("cross_attention.query", "cross_attn.q_linear"),
    ("cross_attention.key_value", "cross_attn.kv_linear"),
    ("cross_attention.output", "cross_attn.proj"),
    ("feed_forward.expand", "mlp.fc1"),
    ("feed_forward.contract", "mlp.fc2"),
    ("modulation", "scale_shift_table"),
]
_THEIRS = dict(_NAMES)
_PARTS = re.compile(r"(^|(?<=\.))(" + "|".join(re.escape(ours) for ours in _THEIRS) + r")(?=\.|$)")


def open_sora_name(name: str) -> str:
    """Open-Sora's name of one of `VideoTower`'s tensors."""
    return _PARTS.sub(lambda found: _THEIRS[found[2]], name, count=1)


def open_sora_tensors(tower: "VideoTower") -> dict[str, Tensor]:
    """The tower's tensors under Open-Sora's names and shapes (views, not copies)."""
    return {open_sora_name(name): _theirs(tower, name, each) for name, each in tower.state_dict().items()}


def load_open_sora_tensors(tower: "VideoTower", tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Fill `tower` from tensors under Open-Sora's names; they become its own where it is on the meta device.

    Raises:
        UserError: a tensor is missing, extra or misshapen; each is named. The tower is then unchanged.
    """
    own = tower.state_dict()
    expected = {open_sora_name(name): _theirs(tower, name, each).shape for name, each in own.items()}
    faults = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "not ours": sorted(tensors.keys() - expected.keys()),
        "misshapen": [
            f"{name} {list(tensors[name].shape)} for {list(shape)}"
            for name, shape in expected.items()
            if name in tensors and tensors[name].shape != shape
        ],
    }
    if any(faults.values()):
        found = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in faults.items() if names)
        raise UserError(
            f"weights {source}: not this video tower's ({found}); give an Open-Sora v1.2 checkpoint "
            "of the same depth, widths and text length as the config"
        )
    ours = {name: tensors[open_sora_name(name)].reshape(each.shape) for name, each in own.items()}
    tower.load_state_dict(ours, strict=True, assign=tower.patch_embedding.weight.is_meta)


def import_video_tower(
    source: str | Path, *, tap: Tap, feature_tokens: FeatureTokens, feature_grid: int
) -> "VideoTower":
    """A video tower from an Open-Sora checkpoint: a local folder, or the name of a hub repository.

    Raises:
        UserError: no such folder or repository, or not a checkpoint of STDiT3 (`load_open_sora_tensors`).
    """
    from syncflow.model.video_tower import VideoTower

    folder = checkpoint_folder(source)
    config = read_open_sora_config(folder, tap=tap, feature_tokens=feature_tokens, feature_grid=feature_grid)
    with torch.device("meta"):
        tower = VideoTower(**config.model_dump())
    load_open_sora_tensors(tower, read_open_sora_tensors(folder), source=str(source))
    return tower.eval()


def export_video_tower(tower: "VideoTower", folder: Path) -> None:
    """Write config.json and model.safetensors as Open-Sora reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    ours = tower.config
    config = {
        "model_type": "STDiT3",
        "architectures": ["STDiT3"],
        "input_size": [None, None, None],
        "input_sq_size": ours.reference_size,
        "in_channels": ours.in_channels,
        "patch_size": list(ours.patch_size),
        "hidden_size": ours.hidden_size,
        "depth": ours.depth,
        "num_heads": ours.num_heads,
        "mlp_ratio": ours.mlp_ratio,
        "caption_channels": ours.text_dim,
        "model_max_length": ours.max_text_tokens,
        "class_dropout_prob": 0.1,
        "pred_sigma": True,
        "qk_norm": True,
        "drop_path": 0.0,
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    tensors = {name: each.contiguous() for name, each in open_sora_tensors(tower).items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})


def read_open_sora_config(
    folder: Path, *, tap: Tap, feature_tokens: FeatureTokens, feature_grid: int
) -> VideoTowerConfig:
    """Open-Sora's config.json as ours; the last three settings are not in it.

    Raises:
        UserError: no config.json, or the settings of a model other than STDiT3 as released.
    """
    try:
        theirs = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if not isinstance(theirs, dict):
            raise UserError(
                f"{folder}/config.json: expected a mapping of settings; give an STDiT3 checkpoint"
            )
        if not (theirs["qk_norm"] and theirs["pred_sigma"]):
            raise UserError(f"{folder}/config.json: qk_norm and pred_sigma must be true, as in STDiT3 v1.2")
        values = {
            "in_channels": theirs["in_channels"],
            "patch_size": theirs["patch_size"],
            "hidden_size": theirs["hidden_size"],
            "depth": theirs["depth"],
            "num_heads": theirs["num_heads"],
            "mlp_ratio": theirs["mlp_ratio"],
            "text_dim": theirs["caption_channels"],
            "max_text_tokens": theirs["model_max_length"],
            "reference_size": theirs["input_sq_size"],
        }
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{folder}/config.json: cannot be read ({error}); give an Open-Sora folder") from None
    except KeyError as error:
        raise UserError(f"{folder}/config.json: no setting {error}; give an STDiT3 checkpoint") from None
    choices = {"tap": tap, "feature_tokens": feature_tokens, "feature_grid": feature_grid}
    return validate(VideoTowerConfig, values | choices, source=f"{folder}/config.json")


def read_open_sora_tensors(folder: Path) -> dict[str, Tensor]:
    """The tensors of a folder's model.safetensors, or of all its safetensors files where there are shards.

    Raises:
        UserError: there is none; pickled weights are never read.
    """
    return {name: each for file in check_weight_files(folder) for name, each in load_file(file).items()}


def check_weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder: model.safetensors, or all of them where there are shards.

    Raises:
        UserError: there is none; pickled weights are never read.
    """
    whole = folder / WEIGHTS
    files = [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    if not files:
        raise UserError(
            f"weights {folder}: no .safetensors file in it; if it holds pickled weights, run "
            f"{conversion_command(folder)} and give FOLDER"
        )
    return files


def checkpoint_folder(source: str | Path) -> Path:
    """The local folder itself, or the hub repository's snapshot (from the cache when offline).

    Raises:
        UserError: neither can be had.
    """
    if Path(source).is_dir():
        return Path(source)
    try:
        return Path(snapshot_download(str(source), allow_patterns=["config.json", "*.safetensors"]))
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"weights {source}: {not_a_folder(source)}, and the hub does not give it ({reason}); "
            f"download {HUB_ID} and give its folder"
        ) from None


def _theirs(tower: "VideoTower", name: str, tensor: Tensor) -> Tensor:
    """The patch embedding is a strided convolution there and a linear map here; the numbers are the same."""
    if name != "patch_embedding.weight":
        return tensor
    return tensor.reshape(-1, tower.config.in_channels, *tower.config.patch_size)
