"""Features: computed once a clip and an extractor, kept whole or not at all, and every failure counted."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from syncflow.errors import UserError
from syncflow.evaluation.extraction import Item, clip_item, extract, store_of, text_item
from syncflow.evaluation.extractors.base import DecodedMedia, Outputs, Refused
from syncflow.evaluation.feature_store import PART, FeatureRow
from syncflow.media import MediaError, write_clip
from syncflow.media.evaluation_set import ClipFile
from syncflow.records import ClipSpec

SPEC = ClipSpec(seconds=0.5, height=16, width=16, sample_rate=16_000)


class Loudness:
    """A real, if small, extractor: level and peak of the sound; silence is refused."""

    name, modality, outputs = "loudness", "audio", ("levels",)

    def __init__(self, scale: float = 1.0) -> None:
        self.identity, self.scale, self.seen = {"scale": scale}, scale, 0

    def __call__(self, clips: Sequence[DecodedMedia]) -> list[Outputs | Refused]:
        self.seen += len(clips)
        found: list[Outputs | Refused] = []
        for clip in clips:
            level = float(np.sqrt(np.square(clip.waveform).mean()))
            peak = float(np.abs(clip.waveform).max())
            array = np.array([[level, peak]], np.float32) * self.scale
            found.append({"levels": array} if peak else Refused(reason="silent"))
        return found


def tone(level: float) -> Item:
    audio = (level * np.sin(np.arange(800))).astype(np.float32)
    media = DecodedMedia(audio=audio, sample_rate=16_000)
    return Item(key=f"{level:g}", load=lambda: media)


def broken() -> Item:
    def load() -> DecodedMedia:
        raise MediaError("undecodable", "no picture comes out")

    return Item(key="broken", load=load)


def test_a_rerun_computes_only_what_is_missing(tmp_path: Path) -> None:
    first = Loudness()
    extract([tone(0.1), tone(0.2)], [first], root=tmp_path)
    again, other = Loudness(), Loudness(scale=2.0)
    reports: list[int] = []
    done = extract([tone(0.1), tone(0.2), tone(0.3)], [again, other], root=tmp_path, report=reports.append)
    assert (first.seen, again.seen, other.seen) == (2, 1, 3)
    assert done.computed["loudness"] == 3 and reports == [0, 3]
    assert set(store_of(again, tmp_path).known()) == {"0.1", "0.2", "0.3"}
    one = store_of(again, tmp_path).load(["0.2"], "levels")["0.2"]
    two = store_of(other, tmp_path).load(["0.2"], "levels")["0.2"]
    assert one.shape == (1, 2) and (2 * one == two).all()  # another identity, another store


def test_one_broken_clip_is_one_counted_row(tmp_path: Path) -> None:
    done = extract([tone(0.1), broken(), tone(0.0), tone(0.2)], [Loudness()], root=tmp_path)
    assert done.failures["loudness"] == {"broken": "undecodable: no picture comes out", "0": "silent"}
    again = Loudness()
    assert extract([broken(), tone(0.2)], [again], root=tmp_path).failures["loudness"].keys() == {"broken"}
    assert again.seen == 0


def test_a_reason_that_may_pass_is_told_and_tried_again(tmp_path: Path) -> None:
    def slow() -> DecodedMedia:
        raise MediaError("timeout", "over 30 s")

    item = Item(key="slow", load=slow)
    assert extract([item], [Loudness()], root=tmp_path).failures["loudness"]["slow"].startswith("timeout")
    assert not store_of(Loudness(), tmp_path).known()
    media = tone(0.5).load()
    done = extract([Item(key="slow", load=lambda: media)], [Loudness()], root=tmp_path)
    assert done.computed["loudness"] == 1 and not done.failures["loudness"]


def test_equal_clips_are_computed_once(tmp_path: Path) -> None:
    extractor = Loudness()
    extract([tone(0.1), tone(0.1)], [extractor], root=tmp_path)
    assert extractor.seen == 1


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_extraction import Loudness, tone
from syncflow.evaluation import extraction
from syncflow.evaluation.extraction import extract
extraction.GROUP = 8
def report(done):
    if done >= 16:
        os.kill(os.getpid(), signal.SIGKILL)
extract([tone(i / 100) for i in range(1, 31)], [Loudness()], root=Path(sys.argv[1]), report=report)
"""


def test_after_a_kill_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "killed"), str(Path(__file__).parent)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == -signal.SIGKILL
    items = [tone(i / 100) for i in range(1, 31)]
    resumed, whole = Loudness(), Loudness()
    extract(items, [resumed], root=tmp_path / "killed")
    extract(items, [whole], root=tmp_path / "whole")
    assert (resumed.seen, whole.seen) == (14, 30)
    keys = [item.key for item in items]
    first = store_of(resumed, tmp_path / "killed").load(keys, "levels")
    second = store_of(whole, tmp_path / "whole").load(keys, "levels")
    assert first.keys() == second.keys() and all((first[k] == second[k]).all() for k in keys)


def test_a_damaged_part_is_named_and_deleting_it_heals(tmp_path: Path) -> None:
    extract([tone(0.1)], [Loudness()], root=tmp_path)
    store = store_of(Loudness(), tmp_path)
    (part,) = store.folder.glob(PART)
    content = part.read_bytes()
    for place in range(0, len(content), 37):
        part.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        for read in (store.known, lambda: store.load(["0.1"], "levels")):
            with pytest.raises(UserError, match=part.name):
                read()
    part.unlink()
    assert extract([tone(0.1)], [Loudness()], root=tmp_path).computed["loudness"] == 1


def test_what_is_not_finite_is_never_kept(tmp_path: Path) -> None:
    store = store_of(Loudness(), tmp_path)
    with pytest.raises(ValueError, match="not finite"):
        store.append([FeatureRow(clip="x", outputs={"levels": np.array([np.nan])})])
    assert not store.known()


def test_a_clips_key_is_its_bytes_and_its_window(tmp_path: Path) -> None:
    audio = np.random.default_rng(0).normal(0, 0.1, 16_000).astype(np.float32)
    frames = np.zeros((16, 16, 16, 3), np.uint8)
    write_clip(tmp_path / "a.mp4", frames=frames, audio=audio, fps=16, sample_rate=16_000)
    (tmp_path / "b.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    a, b = (clip_item(ClipFile(id=n, path=tmp_path / f"{n}.mp4"), SPEC) for n in "ab")
    later = clip_item(ClipFile(id="a", path=tmp_path / "a.mp4", start_s=0.25), SPEC)
    assert a.key == b.key != later.key
    assert a.load().video.shape == (8, 16, 16, 3) and a.load().waveform.shape == (8000,)
    with pytest.raises(MediaError, match="not_a_file"):
        clip_item(ClipFile(id="c", path=tmp_path / "c.mp4"), SPEC)
    assert text_item("a dog").key != text_item("a cat").key
