import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from preprocessing.synthetic import clips
from preprocessing.synthetic.clips import clip_path, is_test, write_clips, write_one
from preprocessing.synthetic.scene import FIRST_S, GAP_S, NUMBERS, plan_scene
from preprocessing.synthetic.sound import render_audio
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.errors import UserError
from syncflow.media import MediaError, decode_audio, probe
from syncflow.onsets import audio_onsets, match_events


def config(folder: Path, **changes) -> SyntheticClipsConfig:
    small = {"count": 3, "seconds": 2.0, "size": 32, "fps": 16, "workers": 1}
    return SyntheticClipsConfig(output=folder, **{**small, **changes})


def tables(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in (".txt", ".csv")
    }


def test_folder_has_greatest_hits_layout_and_the_sound_is_where_the_table_says(tmp_path):
    assert write_clips(config(tmp_path)) == 3
    ids = (tmp_path / "train.txt").read_text().split() + (tmp_path / "test.txt").read_text().split()
    assert len(ids) == 3
    for clip_id in ids:
        rows = [line.split(" ") for line in (tmp_path / f"{clip_id}_times.txt").read_text().splitlines()]
        assert all(len(row) == 4 for row in rows)
        path = clip_path(tmp_path, clip_id)
        info = probe(path)
        assert info.has_video and info.has_audio and abs(info.duration_s - 2.0) < 0.03
        heard = audio_onsets(decode_audio(path, sample_rate=48_000), 48_000)
        truth = np.array([float(row[0]) for row in rows])
        assert len(match_events(heard, truth, tolerance_s=0.010)) == len(truth)


@pytest.mark.slow
def test_same_settings_give_the_same_bytes_whatever_the_number_of_workers(tmp_path):
    write_clips(config(tmp_path / "one"))
    write_clips(config(tmp_path / "two", workers=2))
    assert tables(tmp_path / "one") == tables(tmp_path / "two")
    for path in (tmp_path / "one").glob("*.mp4"):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_rerun_draws_only_what_lacks(tmp_path):
    write_clips(config(tmp_path))
    before = tables(tmp_path)
    assert write_clips(config(tmp_path)) == 0
    next(tmp_path.glob("*.mp4")).unlink()
    assert write_clips(config(tmp_path)) == 1
    assert tables(tmp_path) == before


def test_a_folder_of_other_settings_is_refused(tmp_path):
    write_clips(config(tmp_path, count=1))
    with pytest.raises(UserError, match=r"seed 0 \(asked: 1\)"):
        write_clips(config(tmp_path, count=1, seed=1))
    (tmp_path / clips.RESOLVED).unlink()
    with pytest.raises(UserError, match=r"no resolved\.yaml"):
        write_clips(config(tmp_path, count=1))


def test_a_clip_that_failed_leaves_no_mp4(tmp_path, monkeypatch):
    def fail(path, **_):
        raise RuntimeError("the encoder died")

    monkeypatch.setattr(clips, "write_clip", fail)
    with pytest.raises(RuntimeError):
        write_one(config(tmp_path), index=0)
    assert (tmp_path / f"{plan_scene(config(tmp_path), index=0).clip_id}_times.txt").is_file()
    assert not list(tmp_path.glob("*.mp4"))


def test_an_encoder_that_cannot_write_is_one_line(tmp_path, monkeypatch):
    def fail(path, **_):
        raise MediaError("unwritable", "No space left on device")

    monkeypatch.setattr(clips, "write_clip", fail)
    with pytest.raises(UserError, match="No space left"):
        write_clips(config(tmp_path))
    assert not (tmp_path / "train.txt").exists()


def test_clip_i_does_not_depend_on_how_many_there_are(tmp_path):
    few, many = config(tmp_path, count=3), config(tmp_path, count=900, test_share=0.5, workers=7)
    assert plan_scene(few, index=2) == plan_scene(many, index=2)
    assert plan_scene(few, index=2) != plan_scene(config(tmp_path, seed=1), index=2)


def test_test_share_is_exact_and_spread(tmp_path):
    chosen = [is_test(index, test_share=0.1) for index in range(160)]
    assert sum(chosen) == 16 and sum(chosen[:20]) == 2
    assert not any(is_test(index, test_share=0.0) for index in range(50))
    assert all(is_test(index, test_share=1.0) for index in range(50))


def test_impacts_keep_their_distance_and_the_caption_counts_them(tmp_path):
    for index in range(200):
        scene = plan_scene(config(tmp_path, seconds=4.0), index=index)
        times = [impact.time_s for impact in scene.impacts]
        assert 1 <= len(times) <= 6 and times[0] >= FIRST_S and times[-1] <= 4.0 - 0.3
        assert all(b - a >= GAP_S[scene.action] - 1e-3 for a, b in itertools.pairwise(times))
        assert scene.caption.endswith(NUMBERS[len(times) - 1]) and scene.material.phrase in scene.caption


def test_sound_before_the_first_impact_is_the_room_alone(tmp_path):
    scene = plan_scene(config(tmp_path), index=0)
    quiet = render_audio(scene, sample_rate=48_000)[: int(scene.impacts[0].time_s * 48_000)]
    level_db = 20 * np.log10(np.sqrt(np.mean(quiet**2)))
    assert -65 <= level_db <= -57
    loud = dataclasses.replace(scene, seconds=scene.seconds + 1)
    assert len(render_audio(loud, sample_rate=48_000)) == 3 * 48_000
