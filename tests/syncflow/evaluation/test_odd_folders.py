"""Folders as people have them: every clip is counted once, what is missing is told, faults come at once."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syncflow.errors import UserError
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.comparison import Comparison, compare, is_number
from syncflow.evaluation.evaluation_set import reference_clips, system_of
from syncflow.evaluation.extractors.base import DecodedMedia, Extractor, Modality, Outputs, Refused
from syncflow.evaluation.metrics.catalogue import chosen_metrics
from syncflow.evaluation.metrics_config import MetricsConfig
from syncflow.evaluation.suite import list_clips, score_clips
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.media import write_clip
from syncflow.records import ClipSpec
from syncflow.studies.scores import evaluate

SPEC = ClipSpec(seconds=0.5, height=16, width=16, sample_rate=16_000)
COUNT = 4
METRICS = ("sound_distance_aisfx", "kl_aisfx")


class Spectrum:
    """Log energies of four bands, as aiSFX's outputs; NaN for a sound without any energy."""

    name = "aisfx"
    modality: Modality = "audio"
    outputs = ("embedding", "logits")
    identity: dict[str, Any] = {}  # noqa: RUF012

    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            energy = np.square(np.abs(np.fft.rfft(clip.waveform)))
            with np.errstate(all="ignore"):
                bands = np.array([part.sum() for part in np.array_split(energy, 4)]) / energy.sum()
            found.append({"embedding": bands, "logits": bands})
        return found


class OneBackbone(Backbones):
    def extractor(self, name: str) -> Extractor:
        return Spectrum() if name == "aisfx" else super().extractor(name)


def write(path: Path, seed: int, *, silent: bool = False) -> Path:
    generator = np.random.default_rng(seed)
    audio = 0.1 * np.sin(np.arange(8000) * generator.uniform(0.05, 0.5)) + generator.normal(0, 0.01, 8000)
    frames = generator.integers(0, 255, (8, 16, 16, 3)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    waveform = np.zeros(8000, np.float32) if silent else audio.astype(np.float32)
    write_clip(path, frames=frames, audio=waveform, fps=16, sample_rate=16_000)
    return path


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Clips of distinct content."""
    root = tmp_path_factory.mktemp("clips")
    return [write(root / f"clip{seed}.mp4", seed) for seed in range(2 * COUNT)]


def copies(folder: Path, clips: Sequence[Path]) -> Path:
    folder.mkdir(parents=True)
    for place, clip in enumerate(clips):
        (folder / f"clip{place}.mp4").write_bytes(clip.read_bytes())
    return folder


def compared(tmp_path: Path, made: Path, real: Path, *, max_failed: int = 0) -> Comparison:
    return compare(
        [system_of("made", made, list_clips(made), None)],
        reference_clips(real, split="all"),
        chosen_metrics(METRICS),
        backbones=OneBackbone(BackboneConfig(folder=tmp_path)),
        spec=SPEC,
        features=tmp_path / "features",
        max_failed=max_failed,
    )


def test_a_clip_that_is_listed_or_lies_there_twice_counts_once(tmp_path: Path, clips: list[Path]) -> None:
    folder = copies(tmp_path / "made", clips[:2])
    (folder / "again").mkdir()
    (folder / "again" / "clip0.mp4").write_bytes(clips[0].read_bytes())  # of the same name
    scores = score_clips(list_clips(folder), spec=SPEC, tolerance_s=0.1)
    assert [s.failure for s in scores if s.failure] == ["duplicate: the same bytes as clip0.mp4"]
    (folder / "manifest.csv").write_text("\ufefffile,row\nclip0.mp4,0\nclip0.mp4,1\n", encoding="utf-8")
    scores = score_clips(list_clips(folder), spec=SPEC, tolerance_s=0.1)
    assert [s.failure for s in scores] == ["", "duplicate: the same bytes as clip0.mp4"]


def test_files_of_one_name_in_several_folders_are_all_expected(tmp_path: Path, clips: list[Path]) -> None:
    folder = tmp_path / "made"
    for place, part in enumerate("abc"):
        (folder / part).mkdir(parents=True)
        (folder / part / "clip.mp4").write_bytes(clips[place].read_bytes())
    system = system_of("made", folder, list_clips(folder), None)
    assert [clip.path for clip in system.clips] == [folder / part / "clip.mp4" for part in "abc"]
    with pytest.raises(UserError, match=r"two files have the id 'clip'.*a/clip\.mp4.*b/clip\.mp4"):
        reference_clips(folder, split="all")


@pytest.mark.parametrize("content", [b"file,row\n\xff\xfe.mp4,0\n", b"row\n0\n", b"file,row\n,0\n"])
def test_a_manifest_that_cannot_be_read_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"manifest\.csv"):
        list_clips(tmp_path)


def test_clips_without_a_reference_of_their_id_are_failed_clips(tmp_path: Path, clips: list[Path]) -> None:
    made = copies(tmp_path / "made", clips[:COUNT])
    real = copies(tmp_path / "real", clips[COUNT:])
    (real / "clip3.mp4").rename(real / "another.mp4")
    distance, kl = compared(tmp_path, made, real).rows
    assert is_number(distance.measured) and distance.failed == 0
    assert not is_number(kl.measured) and kl.measured.note == "withheld: 1 of 4 clips failed"
    allowed = compared(tmp_path, made, real, max_failed=1)
    assert (allowed.rows[1].measured.used, allowed.rows[1].failed) == (3, 1)
    assert allowed.failures == (("made", "clip3", "no reference clip of this id"),)


def test_real_clips_have_their_captions_as_prompts(tmp_path: Path, clips: list[Path]) -> None:
    folder = copies(tmp_path / "real", clips[:2])
    (folder / "captions.csv").write_text("clip_id,caption\nclip1,rain\n", encoding="utf-8")
    system = system_of("real", folder, list_clips(folder), None)
    assert [clip.prompt for clip in system.clips] == ["", "rain"]
    (folder / "captions.csv").write_text("video,text\nclip1,rain\n", encoding="utf-8")  # another tool's
    assert not any(clip.prompt for clip in system_of("real", folder, list_clips(folder), None).clips)


def test_without_any_pair_the_note_says_what_pairs_them_and_no_clip_has_failed(
    tmp_path: Path, clips: list[Path]
) -> None:
    made = copies(tmp_path / "made", clips[:COUNT])
    real = copies(tmp_path / "real", clips[COUNT:])
    for file in real.iterdir():
        file.rename(real / f"other_{file.name}")
    done = compared(tmp_path, made, real)
    assert "no clip has a reference clip of its id" in done.rows[1].measured.note
    assert not done.failures and is_number(done.rows[0].measured)


def test_reference_clips_that_cannot_be_used_are_told_and_withhold_distances(
    tmp_path: Path, clips: list[Path]
) -> None:
    made = copies(tmp_path / "made", clips[:COUNT])
    real = copies(tmp_path / "real", clips[COUNT:])
    (real / "clip1.mp4").write_bytes(b"no clip")
    done = compared(tmp_path, made, real)
    assert done.rows[0].measured.note == "withheld: 1 of 4 reference clips failed"
    assert ("reference", "clip1") in {(system, clip) for system, clip, _ in done.failures}
    assert done.card.fields["reference"]["failed"] == ["clip1"]
    allowed = compared(tmp_path, made, real, max_failed=1)
    assert is_number(allowed.rows[0].measured)


def test_features_that_are_not_finite_are_a_failed_clip_and_no_end_of_the_job(
    tmp_path: Path, clips: list[Path]
) -> None:
    made = copies(tmp_path / "made", clips[:COUNT])
    write(made / "silent.mp4", 9, silent=True)
    done = compared(tmp_path, made, copies(tmp_path / "real", clips[COUNT:]), max_failed=1)
    assert ("made", "silent", "not_finite: embedding of aisfx") in done.failures
    assert done.rows[0].measured.used == COUNT


def configured(tmp_path: Path, clips: Path, **metrics: Any) -> EvaluateConfig:
    return EvaluateConfig(
        clips=(clips,),
        output=tmp_path / "scores",
        clip=SPEC,
        tracking_uri="none",
        metrics=MetricsConfig(**metrics),
    )


def refused(config: EvaluateConfig, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `evaluate` says before it decodes any clip."""
    monkeypatch.setattr("syncflow.evaluation.suite.decode_window", lambda *a, **k: pytest.fail("too late"))
    with pytest.raises(UserError) as told:
        evaluate(config, track=lambda *a: None)
    return str(told.value)


def test_what_is_wrong_with_the_settings_is_told_before_any_clip_is_decoded(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = copies(tmp_path / "made", clips[:1])
    (tmp_path / "empty").mkdir()
    real: dict[str, Any] = {"reference": made}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"names": ("openn",), **real}, "did you mean 'open'?"),
        ({"names": ("open",), "reference": tmp_path / "reel"}, "reel: no such folder"),
        ({"names": ("open",), "reference": tmp_path / "empty"}, "empty: no clips in it"),
        ({"names": ("open",), **real, "compare_with": (tmp_path / "empty",)}, "protocol.json"),
    ]
    for metrics, words in cases:
        assert words in refused(configured(tmp_path, made, **metrics), monkeypatch)
    (tmp_path / "scores").write_text("a file")
    assert "scores: cannot be written" in refused(configured(tmp_path, made), monkeypatch)


def test_features_that_cannot_be_kept_are_told_before_any_is_computed(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = copies(tmp_path / "made", clips[:COUNT])
    (tmp_path / "features").write_text("a file")
    monkeypatch.setattr(Spectrum, "__call__", lambda *a: pytest.fail("too late"))
    with pytest.raises(UserError, match="features: cannot be written"):
        compared(tmp_path, made, made)


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        ({"reference": "real"}, "without metrics.names"),
        ({"names": ("open",), "reference": "real", "evaluation_set": "set.csv"}, "give one of them"),
    ],
)
def test_settings_that_would_be_passed_over_are_refused(metrics: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        configured(Path("out"), Path("clips"), **metrics)
