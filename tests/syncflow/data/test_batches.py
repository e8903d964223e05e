import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from syncflow.data.batches import LatentDataset
from syncflow.data.config import DataFilters
from syncflow.data.parquet import read_ledger, read_texts
from syncflow.data.store import MomentReader
from syncflow.errors import UserError
from syncflow.hashing import settings_sha256
from syncflow.records import LatentBatch


def join(parts: list[LatentBatch]) -> list[torch.Tensor]:
    return [
        torch.cat([p.latents.video for p in parts]),
        torch.cat([p.latents.audio for p in parts]),
        torch.cat([p.text.tokens for p in parts]),
        torch.cat([p.text.mask for p in parts]),
        torch.cat([p.text.dropped for p in parts]),
        torch.cat([p.index for p in parts]),
    ]


@pytest.fixture(scope="module")
def ten(tmp_path_factory: pytest.TempPathFactory, write_dataset, make_clip) -> LatentDataset:
    folder = tmp_path_factory.mktemp("ten")
    write_dataset(folder, [make_clip(i, windows=2) for i in range(10)])
    return LatentDataset(folder)


@settings(max_examples=20, deadline=None)
@given(step=st.integers(0, 50), seed=st.integers(0, 5), world=st.sampled_from([2, 4, 8]))
def test_batch_does_not_depend_on_the_number_of_workers(
    ten: LatentDataset, step: int, seed: int, world: int
) -> None:
    whole = ten.batch(step, batch_size=8, seed=seed)
    parts = [ten.batch(step, batch_size=8, seed=seed, rank=r, world_size=world) for r in range(world)]
    for one, other in zip(join([whole]), join(parts), strict=True):
        assert torch.equal(one, other)


@given(seed=st.integers(0, 1000), epoch=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_an_epoch_visits_every_window_once(ten: LatentDataset, seed: int, epoch: int) -> None:
    samples = range(epoch * len(ten), (epoch + 1) * len(ten))
    names = [ten.sample(g, per_step=3, seed=seed).name for g in samples]
    assert sorted(names) == sorted(window.name for window in ten.windows)


def test_posterior_is_sampled_anew_in_every_epoch(ten: LatentDataset) -> None:
    first, again = samples_of(ten, ten.windows[0].name, epochs=2)
    draws = [ten.batch(g, batch_size=1).latents.video for g in (first, again)]
    assert not torch.equal(*draws)


def samples_of(dataset: LatentDataset, name: str, *, epochs: int) -> list[int]:
    """The samples of batches of one that are this window."""
    return [g for g in range(epochs * len(dataset)) if dataset.sample(g, per_step=1, seed=0).name == name]


def test_posterior_sample_has_the_stored_moments(ten: LatentDataset) -> None:
    window = ten.windows[0]
    stored = MomentReader()(window.place.group)[0]
    mean, logvar = (stored[name][window.place.offset].float() for name in ("audio_mean", "audio_logvar"))
    draws = samples_of(ten, window.name, epochs=300)
    white = torch.stack(
        [(ten.batch(g, batch_size=1).latents.audio[0] - mean) / (0.5 * logvar).exp() for g in draws]
    )
    assert white.mean().abs() < 0.02 and (white.std() - 1).abs() < 0.02


def test_share_of_dropped_prompts_is_the_probability(ten: LatentDataset) -> None:
    dropped = torch.cat([ten.batch(i, batch_size=100, drop_probability=0.1).text.dropped for i in range(20)])
    assert 0.08 < dropped.float().mean() < 0.12
    assert not ten.batch(0, batch_size=100, drop_probability=0.0).text.dropped.any()
    assert ten.batch(0, batch_size=100, drop_probability=1.0).text.dropped.all()


def test_prompts_hold_their_tokens_and_nothing_after(ten: LatentDataset) -> None:
    text = ten.batch(0, batch_size=16).text
    for row, g in enumerate(range(16)):
        length = len(ten.sample(g, per_step=16, seed=0).caption.split()) + 1
        assert text.mask[row].tolist() == [True] * length + [False] * (text.mask.shape[1] - length)
        assert not text.tokens[row, length:].any()


def test_the_same_clips_in_the_same_groups_come_in_the_same_order(
    tmp_path: Path, write_dataset, make_clip
) -> None:
    """However the job came about, which names its shards have and in which order they were written."""
    clips = [make_clip(i) for i in range(12)]
    write_dataset(tmp_path / "a", clips, per_shard=4)
    write_dataset(tmp_path / "b", [*clips[8:], *clips[4:8], *clips[:4]], per_shard=4)
    one, other = (join([LatentDataset(tmp_path / x).batch(1, batch_size=5)]) for x in "ab")
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_other_splits_come_from_the_same_index_and_memory(dataset: Path) -> None:
    train = LatentDataset(dataset)
    held_out = train.of_split("test")
    assert held_out.index is train.index
    alone = LatentDataset(dataset, split="test")
    one, other = (join([each.batch(0, batch_size=4)]) for each in (held_out, alone))
    assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_split_and_filters_choose_the_windows(dataset: Path) -> None:
    assert {w.clip_id for w in LatentDataset(dataset, split="test").windows} == {"clip004", "clip009"}
    filters = DataFilters(min_scores={"motion": 0.15}, max_scores={"motion": 0.65}, require_caption=True)
    assert {w.clip_id for w in LatentDataset(dataset, filters=filters).windows} == {"clip003", "clip006"}


def test_captions_are_chosen_by_their_source(tmp_path: Path, write_dataset, make_clip) -> None:
    clips = [make_clip(0), make_clip(1, caption_source="git"), make_clip(2, caption_source="fallback")]
    write_dataset(tmp_path, clips)
    filters = DataFilters(caption_sources=("label", "git"))
    chosen = LatentDataset(tmp_path, filters=filters).windows
    assert {w.clip_id for w in chosen} == {"clip000", "clip001"}
    with pytest.raises(UserError, match="no caption of source 'gti' in this dataset; it has fallback, git"):
        LatentDataset(tmp_path, filters=DataFilters(caption_sources=("gti",)))


def test_unknown_score_and_empty_choice_are_refused(dataset: Path) -> None:
    with pytest.raises(UserError, match="no score 'loud' in this dataset; it has motion"):
        LatentDataset(dataset, filters=DataFilters(min_scores={"loud": 1}))
    with pytest.raises(UserError, match="no window of split 'train' passes"):
        LatentDataset(dataset, filters=DataFilters(min_scores={"motion": 100}))


def test_nan_in_a_row_names_the_clip(tmp_path: Path, write_dataset, make_clip) -> None:
    write_dataset(tmp_path, [make_clip(0), make_clip(1, poison=True)])
    data = LatentDataset(tmp_path)
    for step in range(2):  # what is sound is looked at once, what is not each time
        with pytest.raises(UserError, match="clip001 window 0: video_mean holds NaN"):
            data.batch(step, batch_size=2)


def test_small_cache_gives_the_same_batches(dataset: Path) -> None:
    large, small = LatentDataset(dataset), LatentDataset(dataset, cache_gb=1e-6)
    for step in range(5):
        one, other = join([large.batch(step, batch_size=4)]), join([small.batch(step, batch_size=4)])
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))


def test_other_weights_are_refused_by_name(dataset: Path) -> None:
    made = LatentDataset(dataset)
    made.check_autoencoders(video_vae="0" * 64, audio_vae="0" * 64, text_encoder="0" * 64)
    with pytest.raises(UserError, match="encoded with audio_vae 0000"):
        made.check_autoencoders(video_vae="0" * 64, audio_vae="1" * 64, text_encoder="0" * 64)


def test_unfinished_dataset_is_refused(dataset: Path) -> None:
    (dataset / "dataset.json").unlink()
    with pytest.raises(UserError, match="a job was cut off: run it again"):
        LatentDataset(dataset)


def test_missing_ledger_file_is_noticed(dataset: Path) -> None:
    next((dataset / "ledger").glob("*.parquet")).unlink()
    with pytest.raises(UserError, match=r"ledger: .* not the one that dataset\.json was written for"):
        LatentDataset(dataset)


@pytest.mark.parametrize("room", ["latents", "text"])
def test_missing_shard_is_noticed_before_training_starts(dataset: Path, room: str) -> None:
    next((dataset / room).glob("*.parquet")).unlink()
    with pytest.raises(UserError, match=rf"{room}: 1 of \d shards are missing, .* precompute_latents.py"):
        LatentDataset(dataset)


def test_a_dataset_of_another_version_is_told_from_a_damaged_one(dataset: Path) -> None:
    path = dataset / "dataset.json"
    values = json.loads(path.read_text())
    del values["sha256"]
    for older in (values, {k: v for k, v in values.items() if k != "ledger_sha256"}):
        path.write_text(json.dumps(older))
        with pytest.raises(UserError, match=r"written by another version .* run the job again"):
            LatentDataset(dataset)
    older = {k: v for k, v in values.items() if k != "captions"}
    path.write_text(json.dumps({**older, "sha256": settings_sha256(older)}))
    with pytest.raises(UserError, match="written by another version"):
        LatentDataset(dataset)
    path.write_text(json.dumps({**values, "inputs": 11, "sha256": settings_sha256(values)}))
    with pytest.raises(UserError, match="damaged, or changed by hand"):
        LatentDataset(dataset)


def test_manifest_counts_add_up(dataset: Path) -> None:
    manifest = json.loads((dataset / "dataset.json").read_text())
    assert manifest["inputs"] == manifest["accepted"] == len(read_ledger(dataset / "ledger")) == 10
    assert manifest["windows"] == 20 and manifest["captions"] == 3


def test_text_of_a_caption_is_stored_once_a_writer(dataset: Path) -> None:
    assert sum(len(read_texts(path)) for path in (dataset / "text").glob("*.parquet")) == 3
