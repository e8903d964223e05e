"""Batches for training: which samples, their latents and prompts, as a pure function of the step.

Sample `g` of the whole run (step times global batch size, plus the place in the batch) is a window that
`order.py` says. Its posterior sample and the dropping of its prompt are drawn from generators keyed by
(seed, g). Nothing depends on the rank or on how many workers there are, so a run goes on exactly where it
stopped, on other machines too.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from syncflow.data.config import DataFilters
from syncflow.data.index import WindowEntry, WindowIndex
from syncflow.data.order import SampleOrder
from syncflow.data.parquet.schema import MAX_LATENT, MOMENTS
from syncflow.data.store import GroupCache, MomentReader, TokenReader
from syncflow.errors import UserError
from syncflow.noise import keyed_generator
from syncflow.records import AVLatents, ClipSpec, FrameTimes, LatentBatch, Split, TextBatch

GIB = 1 << 30
Key = tuple[int | str, ...]
THREADS = 4  # that read row groups and draw posterior noise


class LatentDataset:
    """The windows of one split of a finished dataset.

    Args:
        folder: what precompute_latents.py wrote.
        split: which clips.
        filters: thresholds on the score columns.
        cache_gb: memory for latents and prompts read before, GiB.
        one_video_draw: a window's video latents are one draw of its posterior, each time that it is seen.

    Raises:
        UserError: no finished dataset, a damaged index, a missing shard, or no window is left.
    """

    def __init__(
        self,
        folder: Path,
        *,
        split: Split = "train",
        filters: DataFilters = DataFilters(),  # noqa: B008 (frozen)
        cache_gb: float = 4.0,
        one_video_draw: bool = False,
    ) -> None:
        self.one_video_draw = one_video_draw
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="latents")
        limit = int(cache_gb * GIB)
        self._moments = GroupCache(MomentReader(), limit_bytes=limit * 4 // 5, threads=self._threads)
        self._tokens = GroupCache(TokenReader(), limit_bytes=limit // 5, threads=self._threads)
        self._choose(WindowIndex(folder), split, filters)

    def _choose(self, index: WindowIndex, split: str, filters: DataFilters) -> None:
        self.index, self.folder, self.manifest = index, index.folder, index.manifest
        self.rows = index.choose(split, filters)  # of the index
        self._order = SampleOrder(index.groups(self.rows))
        self._largest = float(self.manifest.config.get("encode", {}).get("max_latent", MAX_LATENT))

    def of_split(self, split: Split, *, filters: DataFilters = DataFilters()) -> "LatentDataset":  # noqa: B008
        """Windows of another split, out of the same index, files and memory.

        Raises:
            UserError: no window is left.
        """
        other = LatentDataset.__new__(LatentDataset)
        other._threads, other._moments, other._tokens = self._threads, self._moments, self._tokens
        other.one_video_draw = self.one_video_draw
        other._choose(self.index, split, filters)
        return other

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def windows(self) -> list[WindowEntry]:
        """Every window, by dataset, clip and number: a list made anew, for looking at small datasets."""
        return [self.index[row] for row in self.rows.tolist()]

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
        return self.index.file.text_width

    @property
    def video_shape(self) -> tuple[int, ...]:
        """`c t h w` of a window's video latents."""
        return self.index.file.video_shape

    @property
    def audio_shape(self) -> tuple[int, ...]:
        """`n d` of a window's audio latents."""
        return self.index.file.audio_shape

    @property
    def mean_text_tokens(self) -> float:
        """Tokens of a prompt, on average over the samples."""
        return float(self.index.text_tokens[self.rows].mean())

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
        return self.samples(
            mine, among=everyone, per_step=batch_size, seed=seed, drop_probability=drop_probability
        )

    def samples(
        self, mine: range, *, among: range, per_step: int, seed: int = 0, drop_probability: float = 0.1
    ) -> LatentBatch:
        """The samples `mine` of a run; prompts are padded to the longest of the samples `among`.

        Args:
            mine: global sample indices of the samples.
            among: global sample indices to whose longest prompt all are padded.
            per_step: samples of a step over all workers, by which the order is laid out (`order.py`).
            seed: seed of the run.
            drop_probability: share of prompts that the null prompt replaces.

        Raises:
            UserError: a row holds NaN, Inf or a huge number (it is named).
        """
        longest = int(self.index.text_tokens[self._rows(among, per_step, seed)].max())
        rows = self._rows(mine, per_step, seed).tolist()
        tokens, mask = self._prompts(rows, longest=longest)
        dropped = torch.tensor([_draw("prompt", seed, g) < drop_probability for g in mine])
        index = torch.tensor(list(mine), dtype=torch.int64)
        return LatentBatch(
            latents=self._latents(rows, mine, seed),
            text=TextBatch(tokens=tokens, mask=mask, dropped=dropped),
            index=index,
            noise_index=index,
            window=torch.tensor(rows, dtype=torch.int64),
        )

    def sample(self, g: int, *, per_step: int, seed: int) -> WindowEntry:
        """The window that is sample `g` of a run."""
        return self.index[int(self._rows(range(g, g + 1), per_step, seed)[0])]

    def _rows(self, samples: range, per_step: int, seed: int) -> np.ndarray:
        return self.rows[self._order.rows(samples, per_step=per_step, seed=seed)]

    def _latents(self, rows: Sequence[int], samples: Sequence[int], seed: int) -> AVLatents:
        """Draws from the posteriors, float32 `b c t h w` and `b n d`."""
        video, audio = (torch.empty(len(rows), *each) for each in (self.video_shape, self.audio_shape))
        keys = [self._draw_keys(row, g, seed) for row, g in zip(rows, samples, strict=True)]
        drawn = self._threads.map(_fill, keys, video, audio)  # while the disk is read
        places = [self.index.place(row) for row in rows]
        groups = self._moments.get(place.group for place in places)
        held = [groups[place.group] for place in places]
        stored = {name: torch.empty(len(rows), *held[0][name].shape[1:]) for name in MOMENTS}
        for (
            name,
            values,
        ) in stored.items():  # into float32 at once: stacked as float16 first, all is copied twice
            for value, group, place in zip(values, held, places, strict=True):
                value.copy_(group[name][place.offset])
        self._check(stored, rows)
        list(drawn)
        # `Moments.sample`, in place: at 200 batches a second memory is what counts
        for noise, kind in ((video, "video"), (audio, "audio")):
            deviation = stored[f"{kind}_logvar"].mul_(0.5).exp_()
            noise.mul_(deviation).add_(stored[f"{kind}_mean"])
        return AVLatents(video=video, audio=audio)

    def _draw_keys(self, row: int, g: int, seed: int) -> tuple[Key, Key]:
        """Of the posterior noise of sample `g`, video and audio."""
        video: Key = ("posterior", "video", seed, g)
        if self.one_video_draw:
            video = ("posterior of the window", "video", seed, self.index.name(row))
        return video, ("posterior", "audio", seed, g)

    def _check(self, stored: dict[str, torch.Tensor], rows: Sequence[int]) -> None:
        for name, values in stored.items():
            limit = 2 * math.log(self._largest) if name.endswith("logvar") else self._largest
            least, most = torch.aminmax(values)
            above = least > -math.inf if name.endswith("logvar") else least >= -limit
            if above and most <= limit:  # NaN compares as false
                continue
            for row, value in zip(rows, values, strict=True):
                if fault := _fault(name, value, largest=self._largest):
                    raise UserError(
                        f"{self.index.place(row).path}: {self.index.name(row)}: {name} holds {fault}; "
                        "precompute it again"
                    )

    def _prompts(self, rows: Sequence[int], *, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens float16 `b l e`, and which of them are valid, `b l`."""
        tokens = np.zeros((len(rows), longest, self.text_width), np.float16)
        mask = torch.zeros(len(rows), longest, dtype=torch.bool)
        places = [self.index.text_place(row) for row in rows]
        groups = self._tokens.get(place.group for place in places)
        for number, place in enumerate(places):
            stored = groups[place.group][place.offset]  # l e
            tokens[number, : len(stored)] = stored
            mask[number, : len(stored)] = True
        return torch.from_numpy(tokens), mask


def _fill(keys: tuple[Key, Key], *noises: torch.Tensor) -> None:
    """Draw into `noises`, each by its key."""
    for key, noise in zip(keys, noises, strict=True):
        torch.randn(noise.shape, generator=keyed_generator(*key), out=noise)


def _fault(name: str, row: torch.Tensor, *, largest: float) -> str:
    """What is wrong with the moments of a window, if anything."""
    if not row.isfinite().all():
        return "NaN or Inf"
    value = float((row.max() / 2).exp() if name.endswith("logvar") else row.abs().max())
    return f"{value:.4g}, over {largest:g}" if value > largest else ""


def _draw(purpose: str, seed: int, g: int) -> float:
    """A uniform number in [0, 1) of sample `g`."""
    return torch.rand((), generator=keyed_generator(purpose, seed, g)).item()
