"""The sibling table of a dataset: codes and frame features of its windows, row for row beside the latents.

<codes>/shards/<shard>.parquet   as <dataset>/latents/<shard>.parquet: the same windows in the same rows
<codes>/codec/                   the codec, where it was fitted to the dataset
<codes>/codes.json               what made it, its sizes, the windows without codes; there only when whole
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from syncflow.config import Config, validate
from syncflow.data.parquet.shards import footer_of, open_table, read_table, write_table
from syncflow.data.store import Group, Shards
from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.hashing import settings_sha256
from syncflow.records import Weights

MANIFEST, SHARDS, CODEC = "codes.json", "shards", "codec"
VERSION = 1
AGAIN = "run precompute_codes.py again"
Key = tuple[str, str, int]  # dataset, clip id, window


@dataclass(frozen=True, kw_only=True)
class CodeRow:
    """Codes and features of one window; `reason` says why there are none (then they are zeros)."""

    key: Key
    codes: np.ndarray  # int16 k n
    features: np.ndarray  # float16 f d
    reason: str = ""


class CodesManifest(Config):
    """`codes.json`."""

    version: Literal[1] = VERSION
    recipe: str
    """Hash of everything that made the rows but the clips."""
    dataset_recipe: str
    """Recipe of the dataset that the table stands beside."""
    dataset_files_sha256: str
    """Its content."""
    codec: Weights
    visual: Weights
    num_codebooks: int
    codebook_size: int
    code_rate: float
    """Codes a second, Hz."""
    num_codes: int
    """Of a window."""
    feature_dim: int
    feature_rate: float
    """Frames with features a second, Hz."""
    num_frames: int
    """With features, of a window."""
    windows: int
    """With codes."""
    without: tuple[tuple[str, str, int, str], ...]
    """Windows without codes: dataset, clip id, window, reason."""
    config: dict[str, Any]
    """The settings."""

    def write(self, folder: Path) -> None:
        """Write it with its own hash.

        Raises:
            UserError: the folder cannot be written.
        """
        values = self.model_dump(mode="json")
        with whole_file(folder / MANIFEST) as stream:
            stream.write(json.dumps({**values, "sha256": settings_sha256(values)}, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> "CodesManifest":
        """Of a finished table.

        Raises:
            UserError: there is none, or it is damaged or of another version.
        """
        path = folder / MANIFEST
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            own = values.pop("sha256")
        except FileNotFoundError:
            raise UserError(f"{path}: no codes there; run precompute_codes.py first") from None
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise UserError(f"{path}: cannot be read ({error}); {AGAIN}") from None
        if own != settings_sha256(values):
            raise UserError(f"{path}: damaged, or changed by hand; {AGAIN}")
        return validate(cls, values, source=str(path))


def code_schema(codes: Sequence[int], features: Sequence[int]) -> pa.Schema:
    """Columns, for codes `k n` and features `f d`."""
    kinds: dict[str, pa.DataType] = {
        "dataset": pa.string(),
        "clip_id": pa.string(),
        "window": pa.int32(),
        "reason": pa.string(),
        "codes": pa.fixed_shape_tensor(pa.int16(), list(codes)),
        "features": pa.fixed_shape_tensor(pa.float16(), list(features)),
    }
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in kinds.items()])


def write_codes(path: Path, rows: Sequence[CodeRow], *, recipe: str, source: str) -> None:
    """Write a shard.

    Args:
        recipe: of the table.
        source: hash of the latents shard's windows (`CodeShard.source`).

    Raises:
        UserError: the disk is full, or the folder cannot be written.
    """
    codes = np.ascontiguousarray(np.stack([row.codes for row in rows]), dtype=np.int16)
    features = np.ascontiguousarray(np.stack([row.features for row in rows]), dtype=np.float16)
    columns = {
        "dataset": pa.array([row.key[0] for row in rows]),
        "clip_id": pa.array([row.key[1] for row in rows]),
        "window": pa.array([row.key[2] for row in rows], pa.int32()),
        "reason": pa.array([row.reason for row in rows]),
        "codes": pa.FixedShapeTensorArray.from_numpy_ndarray(codes),
        "features": pa.FixedShapeTensorArray.from_numpy_ndarray(features),
    }
    schema = code_schema(codes.shape[1:], features.shape[1:])
    table = pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema)
    write_table(table, path, footer={"recipe": recipe, "source": source})


def reasons_of(path: Path, schema: pa.Schema, *, recipe: str, source: str) -> list[tuple[Key, str]] | None:
    """Windows of a shard and why they have no codes; None where it is absent, damaged or made otherwise.

    Args:
        schema: columns and their types.
    """
    if not path.is_file():
        return None
    try:
        with open_table(path, expected=schema) as file:
            footer = footer_of(file)
        if (footer.get("recipe"), footer.get("source")) != (recipe, source):
            return None
        table = read_table(path, expected=schema)
    except UserError:
        return None
    columns = [table.column(name).to_pylist() for name in ("dataset", "clip_id", "window", "reason")]
    return [((a, b, c), reason) for a, b, c, reason in zip(*columns, strict=True)]


class CodeReader:
    """Codes, features and keys of the windows of a row group, and their bytes."""

    def __init__(self, schema: pa.Schema) -> None:
        self.shards = Shards(expected=schema)

    def __call__(self, group: Group) -> tuple["CodeGroup", int]:
        try:
            table = self.shards.read(group)
        except UserError as error:
            raise UserError(
                f"{group.path}: missing, damaged or of another table; {AGAIN} ({error})"
            ) from None
        codes, features = (
            torch.from_numpy(np.concatenate([c.to_numpy_ndarray() for c in table.column(name).chunks]))
            for name in ("codes", "features")
        )
        keys = [table.column(name).to_pylist() for name in ("dataset", "clip_id", "window")]
        found = CodeGroup(keys=list(zip(*keys, strict=True)), codes=codes, features=features)
        return found, codes.nbytes + features.nbytes


@dataclass(frozen=True, kw_only=True)
class CodeGroup:
    """Some windows of a shard."""

    keys: list[Key]
    codes: Tensor  # int16 b k n
    features: Tensor  # float16 b f d


def without_codes(manifest: CodesManifest) -> set[Key]:
    """The windows that have no codes."""
    return {(dataset, clip, window) for dataset, clip, window, _ in manifest.without}
