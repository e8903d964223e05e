"""Settings of what training reads, and of the look into a dataset."""

from pathlib import Path

from pydantic import Field

from syncflow.config import Config


class DataFilters(Config):
    """Which rows of a dataset training reads: thresholds on its score columns, with no decoding again."""

    min_scores: dict[str, float] = Field(default={})
    """Smallest value of a score, by its name without `score_` (the dataset card lists them)."""
    max_scores: dict[str, float] = Field(default={})
    """Largest value of a score, by its name without `score_`."""
    require_caption: bool = False
    """Leave out rows whose caption is empty."""
    caption_sources: tuple[str, ...] = ()
    """Only rows whose caption came from one of these (label, manifest, fallback, git, qwen3-vl; the dataset
    card counts them); empty: from any."""


class InspectConfig(Config):
    """A look into a dataset of latents."""

    dataset: Path
    """Folder that precompute_latents.py wrote."""
    verify: bool = False
    """Read every shard, and check its checksums, hashes, columns and fingerprints; load the models that the
    dataset names, and check the hashes of their weights."""
    upgrade: bool = False
    """First write the dataset's index again, and what an older version did not write; latents stay as they
    are."""
    video_vae: str = ""
    """For `upgrade`: folder or hub name of the video VAE that made the dataset; empty: where it was when the
    dataset was made."""
    card: bool = True
    """Write a dataset card, README.md, and a figure of the scores, scores.png, into the dataset."""
    webdataset: Path | None = None
    """Empty folder to export to: the windows of each split, with captions and embeddings, as WebDataset tar
    files. Example: out/latents_tar."""
    report: bool = False
    """Write report.html into the dataset: clips by reason, histograms of the scores, and the windows of
    `sample` decoded, with players; one file that opens offline."""
    sample: int = Field(default=0, ge=0, le=100)
    """Number of windows to decode back to mp4 with the dataset's own autoencoders."""
    output: Path = Path("out/inspect")
    """Folder for the decoded windows."""
    seed: int = 0
    """Seed of the choice of windows that are decoded."""
