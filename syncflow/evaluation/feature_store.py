"""Features of clips as Parquet, found again by what made them: the clip's hash and the extractor's.

`<root>/<extractor>-<hash>/` holds `extractor.json` and parts of some clips each. A part is written whole or
not at all, so a job that is killed loses at most the clips of one part, and named by the hash of its bytes. A
row is the features of one clip, or the reason why it has none.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.hashing import settings_sha256

PART = "part-*.parquet"


@dataclass(frozen=True, kw_only=True)
class FeatureRow:
    """One clip: arrays by output name, float32, or the reason of its failure."""

    clip: str  # hash of the clip's bytes and window, or of a text
    outputs: Mapping[str, np.ndarray]
    failure: str = ""

    def __post_init__(self) -> None:
        assert bool(self.failure) != bool(self.outputs), self.clip


class FeatureStore:
    """The features of one extractor.

    Args:
        root: folder of all extractors' features.
        name: the extractor's name.
        identity: everything that decides its features (weights' hash, preprocessing), of JSON types.
        outputs: names of its arrays.
    """

    def __init__(self, root: Path, *, name: str, identity: Mapping[str, Any], outputs: Sequence[str]) -> None:
        self.outputs = tuple(outputs)
        self.sha256 = settings_sha256({"name": name, "identity": identity, "outputs": self.outputs})
        self.folder = root / f"{name}-{self.sha256[:16]}"
        self._identity = {"name": name, "sha256": self.sha256, "identity": identity}
        columns = [("clip", pa.string()), ("failure", pa.string())]
        for output in self.outputs:
            columns += [(output, pa.list_(pa.float32())), (f"{output}.shape", pa.list_(pa.int32()))]
        self._schema = pa.schema(columns)

    def known(self) -> dict[str, str]:
        """Each clip that has a row, and its failure (empty where it has features)."""
        found: dict[str, str] = {}
        for part in self._parts():
            table = self._read(part, ["clip", "failure"])
            found |= dict(zip(table["clip"].to_pylist(), table["failure"].to_pylist(), strict=True))
        return found

    def append(self, rows: Iterable[FeatureRow]) -> None:
        """Write the rows as one more part; nothing for no rows.

        Raises:
            ValueError: an output is missing or not finite.
        """
        columns: dict[str, list[Any]] = {name: [] for name in self._schema.names}
        for row in rows:
            columns["clip"].append(row.clip)
            columns["failure"].append(row.failure)
            for output in self.outputs:
                array = None if row.failure else np.asarray(row.outputs[output], dtype=np.float32)
                if array is not None and not np.isfinite(array).all():
                    raise ValueError(f"{self.folder.name}: {output} of clip {row.clip[:12]} is not finite")
                columns[output].append(None if array is None else array.ravel())
                columns[f"{output}.shape"].append(None if array is None else array.shape)
        if not columns["clip"]:
            return
        card = self.folder / "extractor.json"
        if not card.is_file():
            with whole_file(card) as stream:
                stream.write(json.dumps(self._identity, indent=1, sort_keys=True).encode())
        sink = pa.BufferOutputStream()
        table = pa.table(columns, schema=self._schema)
        pq.write_table(table, sink, compression="zstd")
        content = sink.getvalue()
        with whole_file(self.folder / f"part-{hashlib.sha256(content).hexdigest()[:32]}.parquet") as stream:
            stream.write(content)

    def load(self, clips: Sequence[str], output: str) -> dict[str, np.ndarray]:
        """One output of those of `clips` that have features, float32, by clip."""
        wanted, found = set(clips), {}
        for part in self._parts():
            table = self._read(part, ["clip", "failure", output, f"{output}.shape"])
            rows = [i for i, clip in enumerate(table["clip"].to_pylist()) if clip in wanted]
            for row in table.take(pa.array(rows, pa.int64())).to_batches():
                values, shapes = row.column(2), row.column(3)
                for i, clip in enumerate(row.column(0).to_pylist()):
                    if values[i].is_valid:
                        flat = values[i].values.to_numpy(zero_copy_only=False)
                        found[clip] = flat.reshape(shapes[i].as_py()).copy()
        return found

    def _parts(self) -> list[Path]:
        return sorted(self.folder.glob(PART))

    def _read(self, part: Path, columns: list[str]) -> pa.Table:
        content = part.read_bytes()
        if not part.name.startswith(f"part-{hashlib.sha256(content).hexdigest()[:32]}."):
            raise UserError(
                f"features {part}: damaged, its bytes do not fit its name; delete it, and its clips are "
                "computed again"
            )
        return pq.read_table(pa.BufferReader(content), columns=columns)
