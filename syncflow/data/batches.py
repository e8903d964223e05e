"""Batches for training: which samples, their latents and prompts, as a pure function of the step.

Sample `g` of the whole run (step times global batch size, plus the place in the batch) is row
`permutation(seed, g // N)[g % N]` of N. Its posterior sample and the dropping of its prompt are drawn
from generators keyed by (seed, g). Nothing depends on the rank or on how many workers there are, so a
run goes on exactly where it stopped, on other machines too.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

from syncflow.autoencoders.moments import Moments
from syncflow.data.config import DataFilters
from syncflow.data.index import WindowEntry, choose, read_text_index, read_windows
from syncflow.data.parquet import DatasetManifest
from syncflow.data.parquet.ledger import ledger_sha256
from syncflow.data.parquet.schema import MAX_LATENT, MOMENTS
from syncflow.data.store import GroupCache, read_moments, read_tokens
from syncflow.errors import UserError
from syncflow.noise import keyed_generator
from syncflow.records import AVLatents, ClipSpec, FrameTimes, LatentBatch, Split, TextBatch

GIB = 1 << 30


class LatentDataset:
    """The windows of one split of a finished dataset.

    Args:
        folder: what precompute_latents.py wrote.
        split: which clips.
        filters: thresholds on the score columns.
        cache_gb: memory for latents and prompts read before, GiB.

    Raises:
        UserError: no finished dataset, a damaged ledger or shard, or no window is left.
    """

    def __init__(
        self,
        folder: Path,
        *,
        split: Split = "train",
        filters: DataFilters = DataFilters(),  # noqa: B008 (frozen)
        cache_gb: float = 4.0,
    ) -> None:
        self.folder = Path(folder)
        self.manifest = DatasetManifest.read(self.folder)
        if ledger_sha256(self.folder / "ledger") != self.manifest.ledger_sha256:
            raise UserError(
                f"{self.folder / 'ledger'}: damaged, or not the one that dataset.json was written for; run "
                "precompute_latents.py again"
            )
        found = read_windows(self.folder, recipe=self.manifest.recipe)
        self.windows = choose(found, manifest=self.manifest, split=split, filters=filters)
        self._texts = read_text_index(self.folder)
        for window in self.windows:
            if window.caption_key not in self._texts:
                raise UserError(f"{self.folder}: {window.name} has no text embedding; precompute again")
        self._moments = GroupCache(read_moments, limit_bytes=int(cache_gb * GIB * 0.8))
        self._tokens = GroupCache(read_tokens, limit_bytes=int(cache_gb * GIB * 0.2))
        self._largest = float(self.manifest.config.get("encode", {}).get("max_latent", MAX_LATENT))
        self._permutations: OrderedDict[tuple[int, int], list[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self.windows)

    @property
    def spec(self) -> ClipSpec:
        """The window of every sample."""
        return self.manifest.spec

    @property
    def frame_times(self) -> FrameTimes:
        """Start and end of each video latent frame, seconds from the window's start: the video VAE's own."""
        return self.manifest.frame_times

    @property
    def fingerprint(self) -> str:
        """Hash of what made the dataset and of what it holds; a checkpoint carries it."""
        return f"{self.manifest.recipe[:32]}{self.manifest.files_sha256[:32]}"

    @property
    def text_width(self) -> int:
        """Width `e` of the prompts' tokens."""
        return self._texts[self.windows[0].caption_key].width

    @property
    def mean_text_tokens(self) -> float:
        """Tokens of a prompt, on average over the samples."""
        return sum(self._texts[window.caption_key].tokens for window in self.windows) / len(self.windows)

    def check_autoencoders(self, *, video_vae: str, audio_vae: str, text_encoder: str) -> None:
        """Refuse a dataset that other weights encoded.

        Raises:
            UserError: a sha256 differs from the dataset's.
        """
        given = {"video_vae": video_vae, "audio_vae": audio_vae, "text_encoder": text_encoder}
        for name, sha256 in given.items():
            made = getattr(self.manifest, name)
            if made.sha256 != sha256:
                raise UserError(
                    f"{self.folder}: encoded with {name} {made.sha256[:12]} ({made.location or 'seeded'}), "
                    f"the model has {sha256[:12]}; use that one or precompute again"
                )

    def batch(
        self,
        step: int,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        drop_probability: float = 0.1,
    ) -> LatentBatch:
        """This rank's part of the batch of a step.

        Args:
            step: number of the step, from 0.
            batch_size: samples of a step over all ranks.
            rank: this worker.
            world_size: number of workers; it divides `batch_size`.
            seed: seed of the run.
            drop_probability: share of prompts that the null prompt replaces (10 %, Section 3.2).

        Returns:
            float32 latents, float16 prompts padded to the longest of the whole batch, and the indices.

        Raises:
            UserError: `batch_size` does not divide, or a row holds NaN, Inf or a huge number (it is named).
        """
        if batch_size % world_size:
            raise UserError(f"batch size {batch_size} does not divide among {world_size} workers")
        everyone = range(step * batch_size, (step + 1) * batch_size)
        share = batch_size // world_size
        mine = everyone[rank * share : (rank + 1) * share]
        return self.samples(mine, among=everyone, seed=seed, drop_probability=drop_probability)

    def samples(
        self, mine: range, *, among: range, seed: int = 0, drop_probability: float = 0.1
    ) -> LatentBatch:
        """The samples `mine` of a run; prompts are padded to the longest of the samples `among`.

        Raises:
            UserError: a row holds NaN, Inf or a huge number (it is named).
        """
        longest = max(self._texts[self.sample(g, seed=seed).caption_key].tokens for g in among)
        windows = [self.sample(g, seed=seed) for g in mine]
        latents = [self._latents(window, g, seed) for window, g in zip(windows, mine, strict=True)]
        dropped = [_draw("prompt", seed, g) < drop_probability for g in mine]
        index = torch.tensor(list(mine), dtype=torch.int64)
        return LatentBatch(
            latents=AVLatents(
                video=torch.cat([video for video, _ in latents]),
                audio=torch.cat([audio for _, audio in latents]),
            ),
            text=self._prompts(windows, longest=longest, dropped=dropped),
            index=index,
            noise_index=index,
        )

    def sample(self, g: int, *, seed: int) -> WindowEntry:
        """The window that is sample `g` of a run."""
        epoch, place = divmod(g, len(self.windows))
        return self.windows[self._permutation(seed, epoch)[place]]

    def _permutation(self, seed: int, epoch: int) -> list[int]:
        key = seed, epoch
        if key not in self._permutations:
            draw = torch.randperm(len(self.windows), generator=keyed_generator("order", seed, epoch))
            self._permutations[key] = draw.tolist()
            while len(self._permutations) > 2:  # a batch spans two epochs at most, or is longer than many
                self._permutations.popitem(last=False)
        return self._permutations[key]

    def _latents(self, window: WindowEntry, g: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        stored = self._moments.get(window.place.group)
        at = window.place.offset
        rows = {name: np.asarray(stored[name][at : at + 1], np.float32) for name in MOMENTS}
        for name, row in rows.items():
            if fault := _fault(name, row, largest=self._largest):
                raise UserError(
                    f"{window.place.path}: {window.name}: {name} holds {fault}; precompute it again"
                )
        tensors = {name: torch.from_numpy(row) for name, row in rows.items()}
        video = Moments(mean=tensors["video_mean"], logvar=tensors["video_logvar"])
        audio = Moments(mean=tensors["audio_mean"], logvar=tensors["audio_logvar"])
        return (
            video.sample(keyed_generator("posterior", "video", seed, g)),  # 1 c t h w
            audio.sample(keyed_generator("posterior", "audio", seed, g)),  # 1 n d
        )

    def _prompts(self, windows: list[WindowEntry], *, longest: int, dropped: list[bool]) -> TextBatch:
        tokens = np.zeros((len(windows), longest, self.text_width), np.float16)
        mask = torch.zeros(len(windows), longest, dtype=torch.bool)
        for row, window in enumerate(windows):
            place = self._texts[window.caption_key].place
            stored = self._tokens.get(place.group)[place.offset]  # l e
            tokens[row, : len(stored)] = stored
            mask[row, : len(stored)] = True
        return TextBatch(tokens=torch.from_numpy(tokens), mask=mask, dropped=torch.tensor(dropped))


def _fault(name: str, row: np.ndarray, *, largest: float) -> str:
    """What is wrong with the moments of a window, if anything."""
    if not np.isfinite(row).all():
        return "NaN or Inf"
    value = np.exp(row.max() / 2) if name.endswith("logvar") else np.abs(row).max()
    return f"{value:.4g}, over {largest:g}" if value > largest else ""


def _draw(purpose: str, seed: int, g: int) -> float:
    """A uniform number in [0, 1) of sample `g`."""
    return torch.rand((), generator=keyed_generator(purpose, seed, g)).item()
