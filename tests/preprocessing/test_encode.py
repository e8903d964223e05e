import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from preprocessing.config import EncodeConfig
from preprocessing.encode import Encoders, EncodeStep
from preprocessing.load_encoders import load_encoders
from syncflow.autoencoders.loading import load_video_vae
from syncflow.autoencoders.open_sora_vae import save_open_sora_vae
from syncflow.errors import UserError
from syncflow.hashing import caption_key, tensors_sha256
from syncflow.records import (
    CaptionedClip,
    ClipRef,
    ClipSpec,
    DecodedClip,
    DecodedWindow,
    Dropped,
    EncodedClip,
)
from syncflow.text_config import TextConfig
from tests.precompute_case import write_weights

SPEC = ClipSpec(seconds=0.5, height=16, width=16, sample_rate=16_000)
TEXT = TextConfig(location="", max_tokens=20, dtype="float32", width=16, heads=2)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> EncodeConfig:
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder)
    return EncodeConfig(
        video_vae=str(folder / "video_vae"), audio_vae=str(folder / "audio_vae"), text=TEXT, device="cpu"
    )


@pytest.fixture(scope="module")
def encoders(config: EncodeConfig) -> Encoders:
    return load_encoders(config)


def clip(name: str, *, windows: int = 2, captions: tuple[str, ...] = ()) -> CaptionedClip:
    draw = np.random.default_rng(len(name))
    made = [
        DecodedWindow(
            index=k,
            start_s=k / 2,
            frames=draw.integers(0, 255, (SPEC.num_frames, 16, 16, 3), dtype=np.uint8),
            audio=draw.uniform(-1, 1, SPEC.num_samples).astype(np.float32),
        )
        for k in range(windows)
    ]
    ref = ClipRef(dataset="set", clip_id=name, path=Path("/x"))
    scores = ({"motion": 1.0},) * windows
    decoded = DecodedClip(ref=ref, source_sha256=name, windows=tuple(made), scores=scores)
    return CaptionedClip(clip=decoded, captions=captions or ("c",) * windows, caption_source="label")


def step(encoders: Encoders, config: EncodeConfig) -> EncodeStep:
    return EncodeStep(encoders, config, spec=SPEC, recipe="r")


def test_rows_hold_the_moments_that_the_autoencoders_give(encoders: Encoders, config: EncodeConfig) -> None:
    captioned = clip("a")
    (encoded,) = step(encoders, config)([captioned])
    assert isinstance(encoded, EncodedClip)
    frames = torch.from_numpy(captioned.clip.windows[1].frames).permute(3, 0, 1, 2)[None].float()
    with torch.inference_mode():
        video = encoders.video_vae.encode(frames / 127.5 - 1)
        audio = encoders.audio_vae.encode(torch.from_numpy(captioned.clip.windows[1].audio)[None])
    row = encoded.rows[1]
    assert np.allclose(row.video_mean, video.mean[0], atol=1e-2)
    assert np.allclose(row.video_logvar, video.logvar[0], atol=2e-2)
    assert np.allclose(row.audio_mean, audio.mean[0], atol=1e-2)
    assert (
        row.video_mean.shape == encoders.video_vae.latent_shape(SPEC) and row.video_mean.dtype == np.float16
    )
    assert row.audio_logvar.shape == encoders.audio_vae.latent_shape(SPEC)


def test_latents_do_not_depend_on_the_neighbours(encoders: Encoders, config: EncodeConfig) -> None:
    (alone,) = step(encoders, config)([clip("a")])
    together = step(encoders, config)([clip("bb"), clip("a"), clip("ccc")])[1]
    assert isinstance(alone, EncodedClip) and isinstance(together, EncodedClip)
    for one, other in zip(alone.rows, together.rows, strict=True):
        assert one.video_mean.tobytes() == other.video_mean.tobytes()
        assert one.audio_logvar.tobytes() == other.audio_logvar.tobytes()


def test_each_distinct_caption_is_embedded_once(encoders: Encoders, config: EncodeConfig) -> None:
    (encoded,) = step(encoders, config)([clip("a", windows=3, captions=("x", "y", "x"))])
    assert isinstance(encoded, EncodedClip)
    assert [text.caption for text in encoded.texts] == ["x", "y"]
    assert [row.caption_key for row in encoded.rows] == [caption_key(c) for c in ("x", "y", "x")]


def test_fingerprint_follows_source_and_recipe(encoders: Encoders, config: EncodeConfig) -> None:
    def fingerprint(name: str, recipe: str) -> str:
        (encoded,) = EncodeStep(encoders, config, spec=SPEC, recipe=recipe)([clip(name)])
        assert isinstance(encoded, EncodedClip)
        return encoded.rows[0].fingerprint

    assert fingerprint("a", "r") == fingerprint("a", "r")
    assert len({fingerprint("a", "r"), fingerprint("bb", "r"), fingerprint("a", "s")}) == 3


@pytest.mark.parametrize(("factor", "reason"), [(float("nan"), "nonfinite_latents"), (1e9, "huge_latents")])
def test_unusable_latents_fail_the_clip(config: EncodeConfig, factor: float, reason: str) -> None:
    broken = load_encoders(config)
    broken.audio_vae.latent_mean.data.fill_(factor)
    (dropped,) = step(broken, config)([clip("a")])
    assert isinstance(dropped, Dropped)
    assert (dropped.kind, dropped.reason) == ("failed", reason) and "audio" in dropped.detail


def test_open_sora_folder_loads_as_well(encoders: Encoders, tmp_path: Path) -> None:
    save_open_sora_vae(encoders.video_vae, tmp_path)
    loaded = load_video_vae(str(tmp_path))
    assert tensors_sha256(loaded.state_dict()) == tensors_sha256(encoders.video_vae.state_dict())


def test_wrong_location_is_named(config: EncodeConfig) -> None:
    with pytest.raises(UserError, match=r"encode\.video_vae '/nowhere/vae'"):
        load_video_vae("/nowhere/vae", setting="encode.video_vae")
    with pytest.raises(UserError, match="/nowhere/audio"):
        load_encoders(config.model_copy(update={"audio_vae": "/nowhere/audio"}))


def test_windows_of_a_clip_may_be_encoded_in_several_batches(
    encoders: Encoders, config: EncodeConfig
) -> None:
    small = config.model_copy(update={"batch": 1})
    (one,) = step(encoders, small)([clip("a", windows=3)])
    (other,) = step(encoders, config)([clip("a", windows=3)])
    assert isinstance(one, EncodedClip) and isinstance(other, EncodedClip)
    for a, b in zip(one.rows, other.rows, strict=True):
        assert np.allclose(a.video_mean, b.video_mean, atol=1e-2)
        assert dataclasses.replace(a, video_mean=b.video_mean).scores == b.scores
