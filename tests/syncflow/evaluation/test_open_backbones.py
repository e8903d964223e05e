"""Open backbones: the known outputs of their real weights, and nothing unknown is read."""

import hashlib
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from syncflow.errors import UserError
from syncflow.evaluation import open_backbones
from syncflow.evaluation.backbone_config import default_folder
from syncflow.evaluation.extractors import aisfx, efficientnet, soundnet
from syncflow.evaluation.extractors.base import DecodedMedia, Refused
from syncflow.evaluation.extractors.weight_files import MissingWeightsError
from tests.syncflow.evaluation.golden_weights import close, golden


@pytest.fixture(scope="module")
def folder() -> Path:
    folder = default_folder()
    if not (folder / aisfx.FILE.name).is_file():
        pytest.skip(f"no open backbones in {folder}: run pipelines/fetch_backbones.py")
    return folder


@pytest.mark.weights
def test_soundnet_equals_its_known_output(shared: Path, folder: Path) -> None:
    arrays, _ = golden(shared, "registry_a")
    extractor = soundnet.SoundNetExtractor.load(folder)
    (found,) = extractor([DecodedMedia(audio=arrays["choir.waveform_22050"], sample_rate=22_050)])
    assert not isinstance(found, Refused)
    close(found["pool5"], arrays["soundnet.choir.pool5_mean"])
    layers: list[torch.Tensor] = []
    extractor.model.bn7.register_forward_hook(lambda module, given, made: layers.append(made.relu()))
    extractor([DecodedMedia(audio=arrays["choir.waveform_22050"], sample_rate=22_050)])
    close(layers[0][0].mean(-1), arrays["soundnet.choir.conv7_mean"])
    close(np.exp(found["objects"]), arrays["soundnet.choir.imagenet_probabilities"])
    close(np.exp(found["places"]), arrays["soundnet.choir.places_probabilities"])


@pytest.mark.weights
def test_aisfx_equals_its_known_output(shared: Path, folder: Path) -> None:
    arrays, _ = golden(shared, "registry_a")
    sound = arrays["choir.pcm16_44100"].astype(np.float32) / 32768
    close(aisfx.log_mel(sound) * np.float32(aisfx.LOG_SCALE), arrays["aisfx.choir.log_mel"])
    (found,) = aisfx.AiSfxExtractor.load(folder)([DecodedMedia(audio=sound, sample_rate=44_100)])
    assert not isinstance(found, Refused)
    close(found["embedding"], arrays["aisfx.choir.embedding"])
    close(found["logits"], arrays["aisfx.choir.ucsMixed_logits"])


@pytest.mark.weights
@pytest.mark.parametrize("clip", ["crystal", "elf", "rabbit"])
def test_efficientnet_equals_its_known_output(shared: Path, folder: Path, clip: str) -> None:
    arrays, _ = golden(shared, "registry_a")
    model = efficientnet.EfficientNetExtractor.load(folder).model
    with torch.inference_mode():
        features, logits = model(efficientnet.pixels(arrays[f"lite0.cc0_{clip}.frame"][None]))
    close(features[0], arrays[f"lite0.cc0_{clip}.features_1280"])
    close(logits[0], arrays[f"lite0.cc0_{clip}.logits"])


def small_extractor() -> efficientnet.EfficientNetExtractor:
    torch.manual_seed(0)
    model = efficientnet.EfficientNetLite0().eval()
    return efficientnet.EfficientNetExtractor(model, weights_sha256="x")


def test_frozen_frames_have_no_motion_and_shuffled_ones_the_same_mean() -> None:
    frames = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3)).astype(np.uint8)
    clips = [frames, frames[[0] * 8], frames[[4, 1, 0, 3, 6, 5, 2, 7]]]
    found = small_extractor()([DecodedMedia(frames=f, fps=16) for f in clips])
    moving, frozen, shuffled = (item for item in found if not isinstance(item, Refused))
    assert moving["motion"].max() > 0 and frozen["motion"].max() < 1e-6
    assert np.allclose(moving["frames"], shuffled["frames"], atol=1e-6)


def test_missing_open_backbones_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        MissingWeightsError, match=r"aisfx\.safetensors \(25 MB, CC BY 4\.0\).*fetch_backbones\.py brings"
    ):
        aisfx.AiSfxExtractor.load(tmp_path)


class Marker:
    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path(Marker.path),)

    path = ""


def test_bytes_that_are_not_the_known_ones_are_not_read(tmp_path: Path) -> None:
    member = tmp_path / "checkpoint.pth"
    member.write_bytes(b"other")
    with pytest.raises(UserError, match="it is not used"):
        open_backbones.convert(open_backbones.BACKBONES[1], member, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".pth", ".npy"])
def test_a_pickle_that_runs_code_is_refused_in_the_child(tmp_path: Path, suffix: str) -> None:
    Marker.path = str(tmp_path / "ran")
    member = tmp_path / f"weights{suffix}"
    content = pickle.dumps({"x": Marker()})
    if suffix == ".npy":
        header = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
        header += b" " * (117 - len(header)) + b"\n"
        content = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + content
    member.write_bytes(content)
    known = hashlib.sha256(content).hexdigest()
    backbone = replace(open_backbones.BACKBONES[0], member_sha256=known)
    with pytest.raises(UserError, match="not converted"):
        open_backbones.convert(backbone, member, tmp_path / "out.safetensors")
    assert not (tmp_path / "ran").exists() and not (tmp_path / "out.safetensors").exists()


def test_a_fetch_takes_one_file_of_the_archive_and_leaves_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = open_backbones.BACKBONES[-1]
    content = b"words"
    archive = tmp_path / "clip.whl"
    with zipfile.ZipFile(archive, "w") as whole:
        whole.writestr(words.member, content)
        whole.writestr("../evil", b"x")
    known = replace(words, member_sha256=hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(open_backbones, "BACKBONES", (known,))
    calls: list[str] = []
    monkeypatch.setattr(
        open_backbones, "_download", lambda backbone, folder, python: calls.append(backbone.name) or archive
    )
    for _ in range(2):
        (path,) = open_backbones.fetch(tmp_path / "cache")
        assert path.read_bytes() == content
    assert calls == ["clip_words"] and sorted(p.name for p in (tmp_path / "cache").iterdir()) == [
        words.file.name
    ]
