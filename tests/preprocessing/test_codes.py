"""Codes and features beside a dataset: the same windows in the same rows, made once, followed and checked."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection, EncodecConfig, EncodecModel

from preprocessing.codes import precompute_codes
from preprocessing.codes_config import CodesConfig
from preprocessing.job import precompute
from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.foleygen.codec import fit_codebooks, load_codec, quantise
from syncflow.foleygen.dataset import CodeDataset
from syncflow.foleygen.table import SHARDS, CodesManifest
from tests.precompute_case import job, write_clip_number, write_weights


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of two windows each."""
    folder = tmp_path_factory.mktemp("codes")
    (folder / "clips").mkdir()
    for number in range(3):
        write_clip_number(folder / "clips" / f"clip{number}.mp4", number)
    write_weights(folder / "weights")
    assert precompute(job(folder / "clips", folder / "weights", folder / "latents")) == 0
    return folder


def settings(folder: Path, **changes: object) -> CodesConfig:
    values = {
        "data": str(folder / "latents"),
        "codec": {"kind": "audio_vae", "num_codebooks": 2, "codebook_size": 8},
        "visual": {"kind": "video_vae"},
        "executor": "loop",
    }
    return validate(CodesConfig, {**values, **changes}, source="test")


def state(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (folder / SHARDS).iterdir()}


def test_each_window_has_its_codes_and_a_second_run_makes_nothing(dataset: Path) -> None:
    manifest = precompute_codes(settings(dataset))
    folder = dataset / "latents" / "foleygen"
    assert (manifest.windows, manifest.without) == (6, ())
    assert (manifest.num_codebooks, manifest.num_codes, manifest.codebook_size) == (2, 25, 8)
    assert (manifest.num_frames, manifest.feature_dim, manifest.feature_rate) == (8, 16, 16.0)
    before = state(folder)
    assert precompute_codes(settings(dataset)) == manifest and state(folder) == before

    codes = CodeDataset(dataset / "latents", codes=folder)
    batch = codes.samples(range(6), among=range(6), per_step=6)
    assert batch.codes.shape == (6, 2, 25) and batch.features.shape == (6, 8, 16)
    # the codes are the quantised latents of the very windows
    codec = load_codec(manifest.codec.location, num_codebooks=2)
    for place, row in enumerate(codes.rows[codes._order.rows(range(6), per_step=6, seed=0)].tolist()):
        from syncflow.data.store import MomentReader

        at = codes.index.place(row)
        latents = MomentReader()(at.group)[0]["audio_mean"][at.offset].float()
        again = quantise(latents[None], codec.codebooks)[0]  # type: ignore[attr-defined]
        assert (again == batch.codes[place]).float().mean() > 0.98  # the table's latents are float16


def test_a_shard_that_is_gone_or_damaged_is_made_again_alone(dataset: Path, tmp_path: Path) -> None:
    config = settings(dataset, output=str(tmp_path / "codes"))
    manifest = precompute_codes(config)
    shards = sorted((tmp_path / "codes" / SHARDS).iterdir())
    assert len(shards) == 2
    data = bytearray(shards[0].read_bytes())
    data[len(data) // 3] ^= 0xFF
    shards[0].write_bytes(data)
    with pytest.raises(UserError, match=r"run precompute_codes\.py again"):
        CodeDataset(dataset / "latents", codes=tmp_path / "codes").samples(
            range(6), among=range(6), per_step=6
        )
    kept = shards[1].stat().st_mtime_ns
    assert precompute_codes(config) == manifest
    assert shards[1].stat().st_mtime_ns == kept
    CodeDataset(dataset / "latents", codes=tmp_path / "codes").samples(range(6), among=range(6), per_step=6)


def test_a_clip_that_cannot_be_read_costs_its_windows_alone(dataset: Path, tmp_path: Path) -> None:
    clip = dataset / "clips" / "clip1.mp4"
    kept = clip.read_bytes()
    try:
        clip.write_bytes(b"no longer a video")
        manifest = precompute_codes(settings(dataset, output=str(tmp_path / "codes")))
    finally:
        clip.write_bytes(kept)
    assert manifest.windows == 4
    assert [row[1][:5] for row in manifest.without] == ["clip1"] * 2
    assert all(row[3].startswith("undecodable") for row in manifest.without)
    codes = CodeDataset(dataset / "latents", codes=tmp_path / "codes")
    assert len(codes) == 4


def test_a_file_that_was_away_is_asked_for_again(dataset: Path, tmp_path: Path) -> None:
    config, clip = settings(dataset, output=str(tmp_path / "codes")), dataset / "clips" / "clip1.mp4"
    kept = clip.rename(tmp_path / "away.mp4")
    try:
        manifest = precompute_codes(config)
    finally:
        kept.rename(clip)
    assert manifest.windows == 4
    assert precompute_codes(config).windows == 6


def test_other_settings_are_refused_and_what_is_there_stays(dataset: Path, tmp_path: Path) -> None:
    folder = tmp_path / "codes"
    manifest = precompute_codes(settings(dataset, output=str(folder)))
    with pytest.raises(UserError, match=r"visual\.every differ\); give another --output"):
        precompute_codes(settings(dataset, output=str(folder), visual={"kind": "video_vae", "every": 2}))
    assert CodesManifest.read(folder) == manifest


def test_encodec_and_clip_of_transformers(dataset: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    codec = EncodecConfig(
        sampling_rate=8000, audio_channels=1, normalize=False, upsampling_ratios=[8, 5, 4], num_filters=2,
        hidden_size=8, codebook_size=16, target_bandwidths=[0.6], num_lstm_layers=1, use_causal_conv=False,
    )  # fmt: skip
    model = EncodecModel(codec)
    for layer in model.quantizer.layers:
        layer.codebook.embed.normal_()
    model.save_pretrained(tmp_path / "encodec")
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, image_size=16,
        patch_size=8, projection_dim=6,
    )  # fmt: skip
    CLIPVisionModelWithProjection(vision).save_pretrained(tmp_path / "clip")
    config = settings(
        dataset,
        output=str(tmp_path / "codes"),
        codec={"kind": "encodec", "location": str(tmp_path / "encodec"), "num_codebooks": 3},
        visual={"kind": "clip", "location": str(tmp_path / "clip"), "every": 2},
    )
    manifest = precompute_codes(config)
    assert (manifest.num_codebooks, manifest.codebook_size, manifest.num_codes) == (3, 16, 25)
    assert (manifest.num_frames, manifest.feature_dim, manifest.feature_rate) == (4, 6, 8.0)
    opened = load_codec(str(tmp_path / "encodec"), num_codebooks=3)
    audio = torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    expected = model.eval().encode(audio[:, None], bandwidth=0.6).audio_codes[0]  # b k n
    assert torch.equal(opened.encode(audio), expected[:, :3])
    assert opened.decode(opened.encode(audio), num_samples=4000).shape == (2, 4000)
    with pytest.raises(UserError, match="ask for fewer"):
        load_codec(str(tmp_path / "encodec"), num_codebooks=99)


def test_more_codebooks_are_nearer() -> None:
    points = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    codebooks = fit_codebooks(points, num_codebooks=3, codebook_size=16, seed=0)
    errors = []
    for count in (1, 2, 3):
        codes = quantise(points[None], codebooks[:count])
        made = sum(codebooks[k][codes[0, k]] for k in range(count))
        errors.append(float((points - made).square().mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2], errors
    assert np.isfinite(errors).all()
