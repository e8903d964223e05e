"""Systems compared: numbers only where the clips add up, every failure counted, and one protocol a table."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from syncflow.errors import UserError
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.backbones import Backbones
from syncflow.evaluation.comparison import Comparison, Row, compare, is_number
from syncflow.evaluation.comparison_table import FILES, logged, write_comparison
from syncflow.evaluation.evaluation_plan import plan_evaluation
from syncflow.evaluation.evaluation_set import System, reference_clips, system_of
from syncflow.evaluation.extraction import clip_item, text_item
from syncflow.evaluation.extractors.base import DecodedMedia, Extractor, Outputs, Refused
from syncflow.evaluation.metrics.catalogue import chosen_metrics
from syncflow.media import write_clip
from syncflow.media.evaluation_set import ClipFile, read_evaluation_set, write_evaluation_set
from syncflow.records import ClipSpec

SPEC = ClipSpec(seconds=0.5, height=16, width=16, sample_rate=16_000)
COUNT = 6


class Bands:
    """Log energies of four bands of the sound, under the name and outputs of aiSFX."""

    name, modality, outputs = "aisfx", "audio", ("embedding", "logits")

    def __init__(self, scale: float = 1.0) -> None:
        self.identity, self.scale = {"scale": scale}, scale

    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        found: list[Outputs | Refused] = []
        for clip in clips:
            energy = np.square(np.abs(np.fft.rfft(clip.waveform)))
            bands = np.log([part.mean() + 1e-6 for part in np.array_split(energy, 4)]) * self.scale
            found.append({"embedding": bands, "logits": bands})
        return found


class Small(Backbones):
    """The project's own table of extractors, one of them small."""

    def __init__(self, folder: Path, bands: Bands) -> None:
        super().__init__(BackboneConfig(folder=folder))
        self.bands = bands

    def extractor(self, name: str) -> Extractor:
        return self.bands if name == "aisfx" else super().extractor(name)


def write(path: Path, seed: int, *, noise: float = 0.0, level: float = 0.1) -> None:
    generator = np.random.default_rng(seed)
    audio = level * np.sin(np.arange(8000) * generator.uniform(0.05, 0.5))
    audio = audio + noise * generator.normal(size=8000)
    frames = generator.integers(0, 255, (8, 16, 16, 3)).astype(np.uint8)
    write_clip(path, frames=frames, audio=audio.astype(np.float32), fps=16, sample_rate=16_000)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("clips")
    for name, noise in (("real", 0.0), ("good", 0.001), ("bad", 0.3)):
        (root / name).mkdir()
        for seed in range(COUNT):
            write(root / name / f"clip{seed}.mp4", seed, noise=noise)
    return {name: root / name for name in ("real", "good", "bad")}


NAMES = ("sound_distance_aisfx", "sound_distance_aisfx_kernel", "kl_aisfx", "av_align", "fad", "desync")


def run(
    tmp_path: Path, systems: dict[str, Path], real: Path, *, bands: Bands | None = None, max_failed: int = 0
) -> Comparison:
    return compare(
        [system_of(n, folder, sorted(folder.glob("*.mp4")), None) for n, folder in systems.items()],
        reference_clips(real, split="all"),
        chosen_metrics(NAMES),
        backbones=Small(tmp_path, bands or Bands()),
        spec=SPEC,
        features=tmp_path / "features",
        max_failed=max_failed,
    )


def row(comparison: Comparison, metric: str, system: str) -> Row:
    return next(r for r in comparison.rows if (r.metric.name, r.system) == (metric, system))


def test_damage_raises_every_distance_and_real_clips_are_at_none(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    done = run(tmp_path, folders, folders["real"])
    for metric in ("sound_distance_aisfx", "kl_aisfx"):
        values = [row(done, metric, name).measured.value for name in ("real", "good", "bad")]
        assert values[0] == pytest.approx(0, abs=1e-6) and values[0] <= values[1] < values[2]
    for name in NAMES[:3]:
        measured = row(done, name, "bad").measured
        assert measured.low <= measured.value <= measured.high and measured.used == COUNT
    floor = row(done, "sound_distance_aisfx", "bad").floor
    assert floor.clips == COUNT // 2 and 0 < floor.mean <= floor.largest
    assert not done.failures and logged(done)["bad/kl_aisfx"] > 0


def test_a_metric_without_its_weights_names_them_and_gives_no_number(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    done = run(tmp_path, {"good": folders["good"]}, folders["real"])
    for metric, words in (("fad", "vggish-10086976.pth (289 MB, Apache-2.0)"), ("desync", "4.8 s")):
        measured = row(done, metric, "good").measured
        assert not is_number(measured) and words in measured.note
    assert "vggish" in done.card.fields["without_weights"]


@pytest.mark.parametrize("fault", ["missing", "broken", "duplicate"])
def test_a_clip_that_fails_is_counted_and_the_number_withheld(
    tmp_path: Path, folders: dict[str, Path], fault: str
) -> None:
    folder = tmp_path / "system"
    folder.mkdir()
    for path in folders["bad"].glob("*.mp4"):
        (folder / path.name).write_bytes(path.read_bytes())
    if fault == "broken":
        (folder / "clip1.mp4").write_bytes(b"no clip")
    elif fault == "duplicate":
        (folder / "clip1.mp4").write_bytes((folder / "clip0.mp4").read_bytes())
    else:
        lines = [
            "file,row,copy,seed,prompt,video,failure",
            *(f"clip{k}.mp4,{k},0,0,x,," for k in range(COUNT)),
        ]
        (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
        (folder / "clip1.mp4").unlink()
    files = [folder / f"clip{k}.mp4" for k in range(COUNT)]
    found = {}
    for allowed in (0, 1):
        found[allowed] = compare(
            [system_of("system", folder, files, None)],
            reference_clips(folders["real"], split="all"),
            chosen_metrics(("sound_distance_aisfx", "kl_aisfx")),
            backbones=Small(tmp_path, Bands()),
            spec=SPEC,
            features=tmp_path / "features",
            max_failed=allowed,
        )
    for metric in ("sound_distance_aisfx", "kl_aisfx"):
        withheld, given = row(found[0], metric, "system"), row(found[1], metric, "system")
        assert not is_number(withheld.measured) and withheld.measured.note == "withheld: 1 of 6 clips failed"
        assert is_number(given.measured) and (given.expected, given.measured.used, given.failed) == (6, 5, 1)
    ((system, clip, reason),) = found[1].failures
    assert (system, clip) == ("system", "clip1") and reason
    assert found[0].card.differences(found[1].card) == [("max_failed", 0, 1)]


def test_silent_and_black_clips_are_told(tmp_path: Path, folders: dict[str, Path]) -> None:
    folder = tmp_path / "system"
    folder.mkdir()
    black = np.zeros((8, 16, 16, 3), np.uint8)
    sound = (0.1 * np.sin(np.arange(8000))).astype(np.float32)
    write_clip(folder / "black.mp4", frames=black, audio=sound, fps=16, sample_rate=16_000)
    write(folder / "silent.mp4", 3, level=0.0)
    done = run(tmp_path, {"system": folder}, folders["real"])
    assert set(done.remarks) == {"system: 1 clips silent: silent", "system: 1 clips black: black"}


def test_an_evaluation_set_says_what_is_expected_and_surplus_clips_withhold_numbers(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    rows = [ClipFile(id=f"v{k}", path=folders["real"] / f"clip{k}.mp4", prompt=f"p{k}") for k in range(COUNT)]
    assert write_evaluation_set(tmp_path / "set.csv", rows) == COUNT
    expected = read_evaluation_set(tmp_path / "set.csv")
    assert expected == rows
    folder = tmp_path / "system"
    folder.mkdir()
    for k in range(COUNT + 1):
        source = folders["bad"] / f"clip{k % COUNT}.mp4"
        (folder / f"{k:05d}-0.mp4").write_bytes(source.read_bytes())
    files = sorted(folder.glob("*.mp4"))
    whole = system_of("x", folder, files[:COUNT], expected)
    assert [clip.id for clip in whole.clips] == [f"v{k}" for k in range(COUNT)]
    assert [clip.prompt for clip in whole.clips] == [f"p{k}" for k in range(COUNT)]
    lacking = system_of("x", folder, files[1:COUNT], expected)
    assert len(lacking.clips) == COUNT and not lacking.extra
    surplus = system_of("x", folder, files, expected)
    assert surplus.extra == ("00006-0.mp4",)

    def measured(system: System) -> Any:
        metrics = chosen_metrics(("kl_aisfx",))
        options: Any = {"backbones": Small(tmp_path, Bands()), "spec": SPEC, "features": tmp_path / "f"}
        return row(compare([system], expected, metrics, **options), "kl_aisfx", "x").measured

    assert is_number(measured(whole))
    assert measured(lacking).note == "withheld: 1 of 6 clips failed"
    assert measured(surplus).note == "withheld: 1 clips too many, as 00006-0.mp4"


@pytest.mark.parametrize("fault", ["twice", "column", "start", "empty"])
def test_an_evaluation_set_that_is_wrong_is_refused(tmp_path: Path, fault: str) -> None:
    text = {
        "twice": "id,prompt,video,start_s\na,p,v.mp4,0\na,p,w.mp4,0\n",
        "column": "id,prompt,start_s\na,p,0\n",
        "start": "id,prompt,video,start_s\na,p,v.mp4,soon\n",
        "empty": "id,prompt,video,start_s\n",
    }[fault]
    (tmp_path / "set.csv").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"set\.csv"):
        read_evaluation_set(tmp_path / "set.csv")


def test_the_tables_agree_and_earlier_rows_join_only_under_one_protocol(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    good = run(tmp_path, {"good": folders["good"]}, folders["real"])
    bad = run(tmp_path, {"bad": folders["bad"]}, folders["real"])
    write_comparison(tmp_path / "first", good)
    text = write_comparison(tmp_path / "second", bad, compare_with=[tmp_path / "first"])
    assert sorted(p.name for p in (tmp_path / "second").iterdir()) == sorted(FILES)
    value = f"{row(bad, 'kl_aisfx', 'bad').measured.value:.6g}"
    for name in ("metrics.md", "metrics.html", "metrics.csv", "metrics.tex"):
        content = (tmp_path / "second" / name).read_text(encoding="utf-8")
        assert value in content and "good" in content and "bad" in content, name
    assert f"Protocol {bad.card.sha256[:16]}" in text and "vggish-10086976.pth" in text
    with (tmp_path / "second" / "metrics.csv").open(newline="", encoding="utf-8") as stream:
        assert {line["system"] for line in csv.DictReader(stream)} == {"good", "bad"}
    other = run(tmp_path, {"bad": folders["bad"]}, folders["real"], bands=Bands(scale=2.0))
    with pytest.raises(UserError, match=r"extractors\.aisfx\.scale is 2\.0 and 1\.0"):
        write_comparison(tmp_path / "third", other, compare_with=[tmp_path / "first"])
    with pytest.raises(UserError, match="is a system of both"):
        write_comparison(tmp_path / "third", good, compare_with=[tmp_path / "first"])


def test_the_plan_times_each_backbone_and_names_missing_weights(
    tmp_path: Path, folders: dict[str, Path]
) -> None:
    items = [clip_item(clip, SPEC) for clip in reference_clips(folders["real"], split="all")]
    metrics = chosen_metrics(("kl_aisfx", "clap"))
    options: Any = {"backbones": Small(tmp_path, Bands()), "features": tmp_path / "features"}
    planned = {p.name: p for p in plan_evaluation(items, [text_item("p")], metrics, **options)}
    assert planned["aisfx"].missing == COUNT and (planned["aisfx"].seconds_per_clip or 0) > 0
    assert "614 MB" in planned["clap_audio"].line() and not (tmp_path / "features").exists()


def test_an_unknown_metric_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="groups open, paper, all"):
        chosen_metrics(("fid",))
