"""The content of tensors, files and settings: hashes of it, and whether its numbers are finite."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from syncflow.storage import Location

if TYPE_CHECKING:
    from torch import Tensor


def tensors_sha256(tensors: Mapping[str, "Tensor"] | Iterable[tuple[str, "Tensor"]]) -> str:
    """One hash of names, dtypes, shapes and bytes; the order of the tensors does not matter."""
    import torch

    digest = hashlib.sha256()
    for name, tensor in sorted(dict(tensors).items()):
        digest.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data if flat.numel() else b"")
    return digest.hexdigest()


def file_sha256(path: Location) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]


def caption_key(caption: str) -> str:
    """sha256 of a caption: its key in the text table."""
    return hashlib.sha256(caption.encode()).hexdigest()


def settings_sha256(values: Any) -> str:
    """Hash of anything that JSON can hold (a resolved config, a list of hashes)."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()


def first_not_finite(tensors: Iterable[tuple[str, "Tensor"]]) -> str:
    """Name of the first tensor that holds NaN or Inf; empty where none does. One wait for the device."""
    import torch

    names, ends = [], []
    for name, tensor in tensors:
        if tensor.is_floating_point() and tensor.numel():
            low, high = torch.aminmax(tensor.detach())  # NaN if any is NaN
            names.append(name)
            ends.append(torch.stack([low, high]).float())
    if not ends:
        return ""
    fine = torch.stack([pair.to(ends[0].device) for pair in ends]).isfinite().all(1).tolist()
    return next((name for name, good in zip(names, fine, strict=True) if not good), "")
