"""ImageBind: what it sees of clips, its towers at both sizes, and its licence.

Its golden folder lies outside of this repository, and nothing of it is copied here.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from syncflow.errors import UserError
from syncflow.evaluation.backbone_config import default_folder
from syncflow.evaluation.extractors import imagebind, imagebind_inputs
from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.extractors.imagebind import (
    ImageBind,
    ImageBindSettings,
    LoadedImageBind,
    Sizes,
    Tower,
    loaded_imagebind,
    used_tensors,
)
from syncflow.evaluation.extractors.imagebind_clips import (
    ImageBindAudio,
    ImageBindFrames,
    ImageBindVideo,
    ImageBindWindows,
)
from syncflow.evaluation.extractors.waveforms import resample
from syncflow.evaluation.extractors.weight_files import MissingWeightsError, with_weights
from syncflow.evaluation.metrics.similarity import avh_score, javis_score
from tests.syncflow.evaluation.golden_weights import close, golden, made_weights

SOUNDS = ("a16", "b16_short", "c16_long", "d48")


def audio_of(arrays: dict[str, np.ndarray], case: str) -> DecodedMedia:
    return DecodedMedia(
        audio=arrays[f"audio.{case}.waveform"], sample_rate=int(arrays[f"audio.{case}.sample_rate"])
    )


@pytest.mark.parametrize("case", SOUNDS)
def test_spectrograms_equal_the_originals(shared: Path, case: str) -> None:
    arrays, _ = golden(shared, "imagebind_a")
    clip = audio_of(arrays, case)
    audio = resample(clip.waveform, clip.sample_rate, 16_000, "sinc")
    theirs = arrays[f"audio.{case}.mel"]
    close(imagebind_inputs.spectrograms(audio), theirs, tolerance=2e-4)  # transformers' fbank


def test_the_filterbank_equals_kaldis(shared: Path) -> None:
    arrays, _ = golden(shared, "imagebind_a")
    audio = arrays["audio.a16.waveform"]
    close(imagebind_inputs.filterbank(audio - audio.mean()), arrays["audio.a16.fbank"], tolerance=2e-4)


@pytest.mark.weights
def test_tokens_equal_the_originals(shared: Path) -> None:
    folder = default_folder()
    if not (folder / imagebind_inputs.WORDS.name).is_file():
        pytest.skip(f"no {imagebind_inputs.WORDS.name}: run pipelines/fetch_backbones.py")
    arrays, _ = golden(shared, "imagebind_a")
    texts = json.loads((shared / "golden/imagebind_a/config.json").read_text())["text"]
    assert (imagebind_inputs.Words(folder)(texts).numpy() == arrays["text.tokens"]).all()


def test_the_resampler_is_torchaudios(shared: Path) -> None:
    arrays, _ = golden(shared, "imagebind_a")
    ours = resample(arrays["audio.d48.waveform"], 48_000, 16_000, "sinc")
    close(ours, arrays["audio.d48.resampled_16k"], tolerance=1e-6)


@pytest.mark.parametrize(("case", "distinct"), [("square", 1), ("wide", 3), ("long", 5)])
def test_views_are_the_originals_fifteen_each_once(shared: Path, case: str, distinct: int) -> None:
    arrays, _ = golden(shared, "imagebind_a")
    ours = imagebind_inputs.views(arrays[f"video.{case}.frames"], 16)
    theirs = arrays[f"video.{case}.patch"]
    assert len(ours) == distinct
    patches = ours[:, :, :, 100:108, 100:108].numpy()
    for patch in theirs:
        assert min(np.abs(patch - mine).max() for mine in patches) < 1e-5
    close(ours.mean((0, 2, 3, 4)), arrays[f"video.{case}.view_means"].mean(0), tolerance=1e-5)


def test_at_two_seconds_only_the_first_and_the_last_frame_are_seen() -> None:
    """Why its score cannot tell synchrony."""
    frames = np.random.default_rng(0).integers(0, 255, (32, 24, 24, 3)).astype(np.uint8)
    shuffled = frames[[0, *range(30, 0, -1), 31]]
    assert (imagebind_inputs.views(frames, 16) == imagebind_inputs.views(shuffled, 16)).all()


def tiny(shared: Path) -> LoadedImageBind:
    folder = shared / "golden" / "imagebind_a"
    config = json.loads((folder / "config.json").read_text())
    weights = made_weights(json.loads((folder / "tiny_keys.json").read_text()), gain=1.0)
    weights |= {name: torch.tensor(value) for name, value in config["kept_values"].items()}

    def tower(name: str) -> Tower:
        sizes: dict[str, Any] = config["config"]
        return Tower(
            width=sizes[f"{name}_embed_dim"],
            blocks=sizes[f"{name}_num_blocks"],
            heads=sizes[f"{name}_num_heads"],
        )

    sizes = Sizes(vision=tower("vision"), audio=tower("audio"), text=tower("text"), joint=24)
    model = with_weights(lambda: ImageBind(sizes), used_tensors(weights), source="made")
    settings = ImageBindSettings(accept_noncommercial_licence=True)
    return loaded_imagebind(model, weights_sha256="x", settings=settings, device="cpu")


def image_twice(arrays: dict[str, np.ndarray]) -> torch.Tensor:
    """The golden image: a frame of the square video as the video's are scaled, twice."""
    (view,) = imagebind_inputs.crops(arrays["video.square.frames"][[0, 0]])
    close(view[:, 0, 100:108, 100:108], arrays["tiny.image.note_input"][0], tolerance=1e-5)
    return view[None]


def test_small_towers_equal_the_original(shared: Path) -> None:
    arrays, _ = golden(shared, "imagebind_a")
    loaded = tiny(shared)
    found = ImageBindAudio(loaded)([audio_of(arrays, case) for case in SOUNDS])
    for case, item in zip(SOUNDS, found, strict=True):
        assert not isinstance(item, Refused)
        close(item["embedding"][None], arrays[f"tiny.audio.{case}.embedding"])
    for case in ("square", "wide"):
        (item,) = ImageBindVideo(loaded)([DecodedMedia(frames=arrays[f"video.{case}.frames"], fps=16)])
        assert not isinstance(item, Refused)
        close(item["embedding"][None], arrays[f"tiny.video.{case}.embedding"])
    ids = torch.from_numpy(arrays["text.tokens"]).long()
    close(loaded.model.text(ids), arrays["tiny.text.embedding"])
    with torch.inference_mode():
        close(loaded.model.vision(image_twice(arrays)), arrays["tiny.image.embedding"])


@pytest.mark.slow
@pytest.mark.parametrize("tower", ["vision", "audio", "text"])
def test_full_towers_equal_the_original(shared: Path, tower: str) -> None:
    """One tower at a time: together they are 4.8 GB."""
    arrays, keys = golden(shared, "imagebind_a")
    own = {name: shape for name, shape in keys.items() if name.split(".")[1] == tower}
    config = json.loads((shared / "golden/imagebind_a/config.json").read_text())
    small = Tower(width=8, blocks=1, heads=1)
    others = {name: small for name in imagebind.USED if name != tower}
    sizes = Sizes(**others, tokens=49_408 if tower == "text" else 1)
    with torch.device("meta"):
        rest = {
            n: tuple(v.shape) for n, v in ImageBind(sizes).state_dict().items() if n.split(".")[1] != tower
        }
    weights = used_tensors(made_weights({**rest, **own}, gain=1.0))
    weights |= {name: torch.tensor(value) for name, value in config["kept_values"].items() if name in weights}
    model = with_weights(lambda: ImageBind(sizes), weights, source="made")
    with torch.inference_mode():
        if tower == "vision":
            view = imagebind_inputs.views(arrays["video.square.frames"], 16)
            close(model.vision(view), arrays["huge.video.square.embedding"])
            close(model.vision(image_twice(arrays)), arrays["huge.image.embedding"])
        elif tower == "audio":
            mel = torch.from_numpy(arrays["audio.a16.mel"])
            close(model.audio(mel), arrays["huge.audio.a16.embedding"])
        else:
            ids = torch.from_numpy(arrays["text.tokens"]).long()
            close(model.text(ids), arrays["huge.text.embedding"])


def test_frames_and_half_seconds_give_the_javis_scores(shared: Path) -> None:
    arrays, _ = golden(shared, "imagebind_a")
    loaded = tiny(shared)
    clip = DecodedMedia(
        frames=arrays["video.square.frames"][::4],
        fps=4,
        audio=arrays["audio.a16.waveform"],
        sample_rate=16_000,
    )
    (frames,), (windows,) = ImageBindFrames(loaded)([clip]), ImageBindWindows(loaded)([clip])
    (audio,) = ImageBindAudio(loaded)([clip])
    assert not isinstance(frames, Refused) and not isinstance(windows, Refused)
    assert not isinstance(audio, Refused)
    assert frames["frames"].shape == (8, 24) and windows["windows"].shape == (4, 24)
    assert -1 <= avh_score(frames["frames"], audio["embedding"]) <= 1
    halves = [(frames["frames"][i : i + 4], windows["windows"][i // 2]) for i in (0, 4)]
    assert javis_score(halves) <= np.mean([avh_score(*half) for half in halves])


def test_the_licence_is_accepted_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"CC BY-NC-SA 4\.0.*accept_noncommercial_licence"):
        imagebind.load_imagebind(tmp_path, settings=ImageBindSettings())
    with pytest.raises(MissingWeightsError, match=r"imagebind_huge.pth \(4803 MB"):
        imagebind.load_imagebind(tmp_path, settings=ImageBindSettings(accept_noncommercial_licence=True))


def test_cleaned_text_is_clips() -> None:
    assert imagebind_inputs.cleaned("  A &amp;amp; B\n \u2019s ") == "a & b 's"
