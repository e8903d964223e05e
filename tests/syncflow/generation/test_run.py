"""A folder of generated clips: what is in it, what a second run adds, and where a clip comes from."""

import csv
from pathlib import Path

import numpy as np
import pytest

from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.plan import make_plan, plan_clips
from syncflow.generation.reproduce import reproduce_clip, settings_to_reproduce
from syncflow.generation.requests import read_rows
from syncflow.generation.sidecar import Sidecar
from syncflow.media import decode_frames, decode_window, probe, write_clip
from syncflow.sampling.pipeline import SyncFlowPipeline
from tests.syncflow.generation.generate_case import PROMPTS, SPEC, latents, make, settings

HALVES = (slice(0, 20_000), slice(28_000, 48_000))  # well before and after the middle of a second


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.mp4")}


def test_a_row_is_an_mp4_a_strip_a_sidecar_and_a_line(saved: Path, tmp_path: Path) -> None:
    make(settings(saved, tmp_path, strip=True, per_prompt=2, prompt=PROMPTS[:1]))
    lines = list(csv.DictReader((tmp_path / "manifest.csv").open()))
    assert [line["file"] for line in lines] == ["00000-0.mp4", "00000-1.mp4"]
    for line in lines:
        info = probe((tmp_path / line["file"]).resolve())
        assert (info.width, info.height) == (48, 32) and abs(info.video_end_s - 1.0) < 1e-3
        assert abs(info.audio_end_s - info.video_end_s) < 0.02
        assert (tmp_path / line["file"]).with_suffix(".png").is_file()
    assert len({str(each) for each in latents(tmp_path)}) == 2
    assert not list(tmp_path.glob(".*"))


def test_clips_do_not_depend_on_the_batch_but_for_rounding(saved: Path, tmp_path: Path) -> None:
    for size in (1, 3):
        make(settings(saved, tmp_path / str(size), batch_size=size))
    for row in range(len(PROMPTS)):
        one, other = (
            decode_window((tmp_path / str(size) / f"{row:05d}-0.mp4").resolve(), start_s=0, spec=SPEC)
            for size in (1, 3)
        )
        # the codecs blow single roundings up, here and there
        assert float(np.abs(one[0].astype(int) - other[0].astype(int)).mean()) < 0.2
        assert float(np.abs(one[1] - other[1]).mean()) < 2e-3


def test_a_second_run_makes_only_what_lacks_and_with_the_same_bits(saved: Path, tmp_path: Path) -> None:
    config = settings(saved, tmp_path, batch_size=2)
    make(config)
    before, hashes = (
        {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.mp4")},
        latents(tmp_path),
    )
    (tmp_path / "00001-0.json").unlink()
    make(config)
    after = times(tmp_path)
    assert [name for name in before if before[name] != after[name]] == ["00001-0.mp4"]
    assert latents(tmp_path) == hashes


def test_which_clips_are_made_together_does_not_depend_on_what_is_done(saved: Path, tmp_path: Path) -> None:
    def batches(folder: Path) -> list[tuple[list[str], tuple[int, ...]]]:
        config = settings(saved, folder, batch_size=2)
        plan = make_plan(plan_clips(read_rows(config), per_prompt=1), config)
        return [([clip.name for clip in batch.clips], batch.wanted) for batch in plan.batches]

    fresh = [(["00000-0", "00001-0"], (0, 1)), (["00002-0"], (0,))]
    assert batches(tmp_path) == fresh
    make(settings(saved, tmp_path, batch_size=2, limit=1))
    assert batches(tmp_path) == [(["00000-0", "00001-0"], (1,)), fresh[1]]


def test_the_best_of_several_candidates_is_kept_and_can_be_made_again(saved: Path, tmp_path: Path) -> None:
    loud = settings(saved, tmp_path / "best", prompt=PROMPTS[:2], best_of=3, wav=True)
    make(loud, score=lambda frames, audio, spec: float(np.abs(audio).mean()))
    for name in ("00000-0", "00001-0"):
        sidecar = Sidecar.read(tmp_path / "best" / f"{name}.json")
        assert len(set(sidecar.scores)) == 3
        assert sidecar.candidate == int(np.argmax(sidecar.scores))
        assert (tmp_path / "best" / f"{name}.wav").is_file()
    own = settings_to_reproduce(sidecar, GenerateConfig(output=tmp_path / "again"))
    assert reproduce_clip(sidecar, own)
    alike = settings(saved, tmp_path / "alike", prompt=PROMPTS[:1], best_of=2)
    make(alike, score=lambda frames, audio, spec: 0.5)
    make(settings(saved, tmp_path / "one", prompt=PROMPTS[:1]))
    assert latents(tmp_path / "alike") == latents(tmp_path / "one")  # of equals, the first


def test_a_folder_of_other_settings_is_refused(saved: Path, tmp_path: Path) -> None:
    make(settings(saved, tmp_path, prompt=PROMPTS[:1]))
    with pytest.raises(UserError, match=r"00000-0 has other settings; give another --output"):
        make(settings(saved, tmp_path, prompt=PROMPTS[:1], seed=1))


def test_an_output_that_is_a_file_is_refused_before_a_clip_is_made(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").touch()
    scored: list[int] = []

    def score(frames: np.ndarray, audio: np.ndarray, spec: object) -> float:
        scored.append(len(frames))
        return 0.0

    with pytest.raises(UserError, match=r"film.mp4 is a file; give a folder"):
        make(settings(saved, tmp_path / "film.mp4", prompt=PROMPTS[:1], best_of=2), score=score)
    assert not scored


def test_a_sidecar_makes_the_same_latents_again_bit_for_bit(saved: Path, tmp_path: Path) -> None:
    make(settings(saved, tmp_path / "first", batch_size=3))
    sidecar = Sidecar.read(tmp_path / "first" / "00001-0.json")
    own = settings_to_reproduce(sidecar, GenerateConfig(output=tmp_path / "again"))
    assert reproduce_clip(sidecar, own)
    assert [p.name for p in (tmp_path / "again").glob("*.mp4")] == ["00001-0.mp4"]
    again = (tmp_path / "again" / "00001-0.mp4").read_bytes()
    assert again == (tmp_path / "first" / "00001-0.mp4").read_bytes()
    other = sidecar.model_copy(update={"weights": {**sidecar.weights, "dual_dit": "0" * 64}})
    with pytest.raises(UserError, match="other weights of dual_dit"):
        reproduce_clip(other, own)


def a_video(path: Path) -> Path:
    generator = np.random.default_rng(0)
    frames = np.repeat(generator.integers(0, 255, (32, 4, 6, 3), dtype=np.uint8), 8, axis=1).repeat(8, axis=2)
    sound = generator.uniform(-0.3, 0.3, 96_000).astype(np.float32)
    write_clip(path, frames=frames, audio=sound, fps=16, sample_rate=48_000)
    return path


def test_video_to_sound_keeps_the_picture_and_makes_new_sound(saved: Path, tmp_path: Path) -> None:
    video = a_video(tmp_path / "in.mp4")
    make(settings(saved, tmp_path / "out", prompt=(), video=video))
    given = decode_window(video.resolve(), start_s=0, spec=SPEC)
    found = decode_window((tmp_path / "out" / "00000-0.mp4").resolve(), start_s=0, spec=SPEC)
    assert float(np.abs(given[0].astype(float) - found[0].astype(float)).mean()) < 6
    assert abs(float(np.corrcoef(given[1], found[1])[0, 1])) < 0.1 and float(found[1].std()) > 0


def test_a_real_clip_without_sound_gets_one(saved: Path, shared: Path, tmp_path: Path) -> None:
    video = shared / "data" / "clips" / "av1_noaudio.mkv"
    make(settings(saved, tmp_path, prompt=("a fan",), video=video))
    given = decode_frames(video.resolve(), start_s=0, spec=SPEC)
    found, sound = decode_window((tmp_path / "00000-0.mp4").resolve(), start_s=0, spec=SPEC)
    assert float(np.corrcoef(given.ravel(), found.ravel())[0, 1]) > 0.95  # H.264 halves the colour
    assert float(sound.std()) > 0


def test_a_clip_given_in_part_keeps_that_part_and_makes_the_rest(saved: Path, tmp_path: Path) -> None:
    video = a_video(tmp_path / "in.mp4")
    sounds = []
    for seed in (1, 2):
        keep = {
            "keep_video": "0-0.5",
            "keep_audio": "0-0.5",
            "video": video,
            "prompt": ("rain",),
            "seed": seed,
        }
        make(settings(saved, tmp_path / str(seed), **keep))
        sounds.append(
            decode_window((tmp_path / str(seed) / "00000-0.mp4").resolve(), start_s=0, spec=SPEC)[1]
        )
    first, last = (np.abs(np.subtract(*(s[part] for s in sounds))).mean() for part in HALVES)
    assert first < 0.2 * last
    edited = settings(
        saved, tmp_path / "edited", video=video, keep_video="none", strength=0.5, prompt=("rain",)
    )
    make(edited)
    assert probe((tmp_path / "edited" / "00000-0.mp4").resolve()).has_audio


def test_a_bad_video_is_a_line_with_its_reason_and_alone_an_error(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    a_video(folder / "good.mp4")
    (folder / "bad.mp4").write_bytes(b"")
    lines = make(settings(saved, tmp_path / "out", prompt=(), video=folder))
    assert [bool(line.failure) for line in lines] == [True, False]
    assert [(tmp_path / "out" / line.file).is_file() for line in lines] == [False, True]
    with pytest.raises(UserError, match=r"bad\.mp4: empty"):
        make(settings(saved, tmp_path / "alone", prompt=(), video=folder / "bad.mp4"))


def test_text_to_sound_writes_wav(text_to_audio: SyncFlowPipeline, tmp_path: Path) -> None:
    text_to_audio.save_pretrained(tmp_path / "saved")
    make(settings(tmp_path / "saved", tmp_path / "out", modalities="audio", prompt=PROMPTS[:1]))
    assert (tmp_path / "out" / "00000-0.wav").stat().st_size == 44 + 2 * 48_000


def test_a_video_longer_than_the_clip_is_said_and_one_that_is_shorter_gets_a_remedy_that_works(
    saved: Path, tmp_path: Path
) -> None:
    video = a_video(tmp_path / "in.mp4")  # 2 s
    half = SPEC.model_copy(update={"seconds": 0.5})
    (line,) = make(settings(saved, tmp_path / "half", prompt=(), video=video, clip=half))
    assert "is 2.00 s long and its first 0.5 s are used; --clip.seconds 2 takes it whole" in line.note
    two = SPEC.model_copy(update={"seconds": 2.0})
    (whole,) = make(settings(saved, tmp_path / "whole", prompt=(), video=video, clip=two))
    assert not whole.note
    long = SPEC.model_copy(update={"seconds": 2.5})
    with pytest.raises(UserError, match=r"too_short.*; give --clip\.seconds 2 or less"):
        make(settings(saved, tmp_path / "long", prompt=(), video=video, clip=long))
