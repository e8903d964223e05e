"""The head of a dataset's README.md, by which `datasets.load_dataset(folder, "latents")` opens its tables.

The tensor columns are an Arrow extension type that the library has no name for. Told their plain form, a list
of float16 of a fixed length, it reads them as they lie. The files are named by patterns: a head that was
written before the last job is not out of date.
"""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from syncflow.errors import UserError

CONFIGS = {"windows": "index", "latents": "latents", "text": "text", "ledger": "ledger"}  # to folder
DEFAULT = "windows"
_NAMES = {pa.float16(): "float16", pa.float32(): "float32", pa.float64(): "float64"}


def card_header(folder: Path) -> str:
    """YAML between two lines of `---`.

    Raises:
        UserError: there is no latents shard that can be read.
    """
    shard = next(iter(sorted((folder / "latents").glob("*.parquet"))), None)
    if shard is None:
        raise UserError(f"{folder}: no latents there; run the job again")
    try:
        schema = pq.read_schema(shard)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{shard}: cannot be read ({error}); run the job again with --repair") from None
    header = {
        "configs": [
            {"config_name": name, "data_files": f"{place}/*.parquet", "default": name == DEFAULT}
            for name, place in CONFIGS.items()
        ],
        "dataset_info": [{"config_name": "latents", "features": [_feature(field) for field in schema]}],
    }
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n"


def _feature(field: pa.Field) -> dict[str, Any]:
    """A column in the notation of dataset cards."""
    kind = field.type
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    if pa.types.is_fixed_size_list(kind):
        return {"name": field.name, "list": _name(kind.value_type), "length": kind.list_size}
    if pa.types.is_list(kind):
        return {"name": field.name, "list": _name(kind.value_type)}
    return {"name": field.name, "dtype": _name(kind)}


def _name(kind: pa.DataType) -> str:
    return _NAMES.get(kind, str(kind))
