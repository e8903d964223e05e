"""Content hashes: of tensors by name, of files, of settings."""

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


def settings_sha256(values: Any) -> str:
    """Hash of anything that JSON can hold (a resolved config, a list of hashes)."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
