"""Weights that are made from their names, by the recipe of the golden folders."""

import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import Tensor


def made_tensor(name: str, shape: tuple[int, ...], *, gain: float) -> Tensor:
    """The tensor that the recipe makes of a name and a shape."""
    if name.endswith("num_batches_tracked"):
        return torch.zeros((), dtype=torch.int64)
    count = int(np.prod(shape))
    u = np.random.RandomState(zlib.crc32(name.encode())).random_sample(count)
    z = (u - 0.5) * np.sqrt(12)
    if name.endswith("running_var"):
        values = 0.5 + u
    elif name.endswith("weight") and len(shape) == 1:
        values = 1 + 0.1 * z
    elif name.endswith("weight") and len(shape) > 1:
        values = z * gain / np.sqrt(np.prod(shape[1:]))
    else:
        values = 0.1 * z
    return torch.from_numpy(values.astype(np.float32).reshape(shape))


def made_weights(
    shapes: Mapping[str, Iterable[int]], *, gain: float, leave_out: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """Tensors for all names of `shapes` but those that contain one of `leave_out`."""
    return {
        name: made_tensor(name, tuple(shape), gain=gain)
        for name, shape in shapes.items()
        if not any(part in name for part in leave_out)
    }


def golden(shared: Path, folder: str) -> tuple[dict[str, np.ndarray], dict[str, dict[str, list[int]]]]:
    """Inputs and outputs of a golden folder, and the shapes of its weights by file name."""
    root = shared / "golden" / folder
    keys = root / "keys.json"
    return load_file(root / "io.safetensors"), json.loads(keys.read_text()) if keys.is_file() else {}


def close(ours: np.ndarray | Tensor, theirs: np.ndarray, *, tolerance: float = 1e-4) -> bool:
    """Within `tolerance` of the largest number of `theirs`."""
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    difference = np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max()
    assert difference <= tolerance, f"largest difference {difference:.2e} of the largest number"
    return True
