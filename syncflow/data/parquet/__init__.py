"""The durable border between precompute and training: tables of latents, of texts, and the ledger.

    <dataset>/latents/<shard>.parquet   one row a window: the moments of both posteriors
    <dataset>/text/<shard>.parquet      one row a distinct caption: its tokens
    <dataset>/ledger/<shard>.parquet    one row a clip: what became of it, and where it lies
    <dataset>/dataset.json              counts, fingerprints, settings; there only when the job is done
    <dataset>/resolved.yaml             the settings, as `precompute_latents.py --config` takes them

Shards are written under a temporary name and renamed, the ledger's last: what no ledger row names
does not exist. Plain Parquet: pyarrow, pandas and duckdb read it without this package or Ray.
"""

from syncflow.data.parquet.ledger import LedgerRow, read_ledger, write_ledger
from syncflow.data.parquet.manifest import MANIFEST, DatasetManifest
from syncflow.data.parquet.shards import read_rows, read_texts, shard_name, write_shard, write_texts

__all__ = [
    "MANIFEST",
    "DatasetManifest",
    "LedgerRow",
    "read_ledger",
    "read_rows",
    "read_texts",
    "shard_name",
    "write_ledger",
    "write_shard",
    "write_texts",
]
