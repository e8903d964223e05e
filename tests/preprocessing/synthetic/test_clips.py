import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from preprocessing.synthetic import clips
from preprocessing.synthetic.backdrop import draw_backdrop
from preprocessing.synthetic.clips import clip_path, is_test, write_clips, write_one
from preprocessing.synthetic.draw import render_frames
from preprocessing.synthetic.scene import FIRST_S, GAP_S, NUMBERS, plan_scene
from preprocessing.synthetic.sound import render_audio
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow.errors import UserError
from syncflow.media import MediaError, decode_audio, probe
from syncflow.onsets import audio_onsets, match_events, motion_peaks


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
    def tested(count: int, share: float) -> list[bool]:
        asked = config(tmp_path, test_share=share)
        return [is_test(plan_scene(asked, index=index), config=asked) for index in range(count)]

    chosen = tested(160, 0.1)
    assert sum(chosen) == 16 and sum(chosen[:20]) == 2
    assert not any(tested(50, 0.0)) and all(tested(50, 1.0))


def test_a_combination_is_held_out_whole_or_not_at_all(tmp_path):
    asked = config(tmp_path, hold_out="combinations", test_share=0.15, most_impacts=4)
    scenes = [plan_scene(asked, index=index) for index in range(700)]
    captions = {True: set(), False: set()}
    for scene in scenes:
        captions[is_test(scene, config=asked)].add(scene.caption)
    assert not captions[True] & captions[False]
    assert 4 <= len(captions[True]) <= 24 and len(captions[False]) > 40
    assert len({scene.combination for scene in scenes}) == len({scene.caption for scene in scenes})


def test_no_variety_leaves_one_background_and_the_materials_own_colours(tmp_path):
    plain = [plan_scene(config(tmp_path, variety=0.0), index=index) for index in range(0, 70, 7)]
    for scene in plain:
        assert scene.colour in scene.material.colours
        # the table's edge moves with the contact; above it there is nothing but the wall
        assert len(np.unique(np.asarray(draw_backdrop(scene, pixels=64))[:20].reshape(-1, 3), axis=0)) == 1
    varied = [plan_scene(config(tmp_path), index=index) for index in range(0, 70, 7)]
    walls = {draw_backdrop(scene, pixels=64).getpixel((0, 0)) for scene in varied}
    assert len(walls) == len(varied)


def test_a_wider_stick_covers_more_and_touches_at_the_same_instant(tmp_path):
    changed = []
    for width in (1.0, 2.0):
        scene = plan_scene(config(tmp_path, variety=0.0, stick_width=width), index=0)
        frames = render_frames(scene, size=64, fps=16).astype(int)
        wall = np.asarray(draw_backdrop(scene, pixels=64)).astype(int)[:10]
        changed.append((np.abs(frames[0, :10] - wall).max(-1) > 40).sum())
        assert len(motion_peaks(frames.astype(np.uint8), 16)) == len(scene.impacts)
    assert changed[1] > 1.5 * changed[0]


def test_no_more_impacts_than_asked_for(tmp_path):
    for index in range(60):
        scene = plan_scene(config(tmp_path, seconds=4.0, most_impacts=2), index=index)
        assert len(scene.impacts) <= 2


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
