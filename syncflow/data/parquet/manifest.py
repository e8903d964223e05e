"""`dataset.json`: what a finished dataset holds and what made it."""

import json
from pathlib import Path
from typing import Any

from pydantic import Field

from syncflow.autoencoders.spans import frame_times
from syncflow.config import Config, validate
from syncflow.data.parquet.index_file import UPGRADE
from syncflow.data.parquet.schema import SCHEMA_VERSION
from syncflow.errors import UserError
from syncflow.files import whole_file
from syncflow.hashing import settings_sha256
from syncflow.records import ClipSpec, FrameTimes, Weights
from syncflow.version import __version__

MANIFEST = "dataset.json"
SELF = "sha256"  # of all the other keys
UPGRADED = ("frame_spans", "index_sha256")  # that older versions did not write


class DatasetManifest(Config):
    """The counts, fingerprints and settings of a finished dataset."""

    schema_version: int
    """Version of the tables' columns."""
    version: str
    """Version of this package that wrote it."""
    recipe: str
    """Hash of all that made the rows but the sources; rows of another recipe do not count."""
    spec: ClipSpec
    """The window of every row."""
    frame_spans: tuple[tuple[int, int], ...]
    """First and last pixel frame of the window that each video latent frame stands for, as the video VAE cuts
    them: they place the video against the audio in time."""
    video_vae: Weights
    """What encoded the video."""
    audio_vae: Weights
    """What encoded the audio."""
    text_encoder: Weights
    """What encoded the captions."""
    inputs: int
    """Clips tried; always accepted + rejected + failed + missing."""
    accepted: int
    """Clips with latents."""
    rejected: dict[str, int]
    """Clips that a rule left out, by reason."""
    failed: dict[str, int]
    """Clips with a fault, by reason."""
    missing: dict[str, int] = Field(default={})
    """Clips whose files could not be read, by reason."""
    windows: int
    """Rows of the latents table."""
    captions: int
    """Distinct captions."""
    cut_captions: int = 0
    """Captions whose embedding has all the tokens that the encoder takes: what was over was cut."""
    latents_bytes: int
    """Size of the latents table, bytes."""
    text_bytes: int
    """Size of the text table, bytes."""
    files_sha256: str
    """Hash of the names and hashes of all shards that the ledger stands for."""
    index_sha256: str
    """Hash of the index, `index/<first 24 signs of files_sha256>.parquet`."""
    ledger_sha256: str
    """Hash of the names and hashes of the ledger's own files."""
    ledger_files: tuple[str, ...] | None = None
    """Names of the ledger's files; what a later job adds counts when that job is done. Null: all of them."""
    config: dict[str, Any]
    """The resolved settings of the job."""

    @property
    def frame_times(self) -> FrameTimes:
        """Start and end of each video latent frame, seconds from the window's start."""
        return frame_times(self.frame_spans, fps=self.spec.fps)

    def write(self, folder: Path) -> None:
        """Write `dataset.json`, whole or not at all, with a hash of its content.

        Raises:
            UserError: the disk is full, or the folder cannot be written.
        """
        values = self.model_dump(mode="json")
        text = json.dumps({**values, SELF: settings_sha256(values)}, indent=2) + "\n"
        with whole_file(folder / MANIFEST) as stream:
            stream.write(text.encode())

    @classmethod
    def read(cls, folder: Path) -> "DatasetManifest":
        """The manifest of the dataset at `folder`.

        Raises:
            UserError: no finished dataset is there, or a damaged one, or one of another schema version.
        """
        path, values = folder / MANIFEST, read_values(folder)
        needed = {name for name, field in cls.model_fields.items() if field.is_required()}
        if values.keys() <= cls.model_fields.keys() and needed - values.keys() <= set(UPGRADED):
            if lacking := sorted(needed - values.keys()):
                raise UserError(
                    f"{path}: of an older version ({values['version']}), without {' and '.join(lacking)}; "
                    f"add it with: {UPGRADE} {folder}"
                )
            return validate(cls, values, source=str(path))
        raise UserError(
            f"{path}: written by another version ({values.get('version', 'unknown')}; this is "
            f"{__version__}); run the job again: precompute_latents.py"
        )


def read_values(folder: Path) -> dict[str, Any]:
    """What `dataset.json` says, checked against its hash; older versions say less.

    Raises:
        UserError: no finished dataset is there, or a damaged one, or one of another schema version.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        found = "a job was cut off: run it again" if (folder / "ledger").is_dir() else "precompute first"
        raise UserError(f"{path}: no finished dataset ({found}: pipelines/precompute_latents.py)") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run precompute_latents.py again") from None
    version = values.get("schema_version") if isinstance(values, dict) else None
    if version != SCHEMA_VERSION:
        raise UserError(f"{path}: schema version {version}, expected {SCHEMA_VERSION}; precompute again")
    found = values.pop(SELF, None)
    if found is None:
        raise UserError(
            f"{path}: written by another version ({values.get('version', 'unknown')}; this is "
            f"{__version__}); run the job again: precompute_latents.py"
        )
    if found != settings_sha256(values):
        raise UserError(f"{path}: damaged, or changed by hand; run precompute_latents.py again")
    return values
