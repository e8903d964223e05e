"""Windows decoded to shards: order, resume, sound-only files, and files that give none."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from syncflow.data.windows import decode as decode_windows
from syncflow.data.windows.decode import Windows, decoded_windows, listed_files, plan_groups
from syncflow.errors import UserError
from syncflow.records import ClipSpec
from tests.autoencoder_case import RATE, SIZE, write_clips

SPEC = ClipSpec(seconds=1.0, height=SIZE, width=SIZE)


def windows(folder: Path, cache: Path, kind: str = "audio") -> Windows:
    return Windows(folder=folder, kind=kind, spec=SPEC, per_clip=2, cache=cache)  # type: ignore[arg-type]


def write_wav(path: Path, seconds: float, seed: int = 0) -> None:
    sound = np.random.default_rng(seed).uniform(-0.5, 0.5, round(RATE * seconds))
    wavfile.write(path, RATE, (sound * 32_767).astype(np.int16))


def test_a_folder_of_wav_files_gives_their_samples_in_the_order_of_names(tmp_path: Path) -> None:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for seed, name in enumerate(("b.wav", "a.wav")):
        write_wav(folder / name, 2.5, seed)
    store = decoded_windows(windows(folder, tmp_path / "cache"))
    assert store.origins() == [("a.wav", 0), ("a.wav", 1), ("b.wav", 0), ("b.wav", 1)]
    expected = np.random.default_rng(1).uniform(-0.5, 0.5, round(RATE * 2.5))[RATE : 2 * RATE]
    assert np.abs(store[1].astype(np.float64) - expected).max() < 1e-3


def test_a_file_that_gives_no_window_is_a_row_with_its_reason(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips", count=2)
    (folder / "empty.mp4").touch()
    write_wav(folder / "short.wav", 0.3)
    store = decoded_windows(windows(folder, tmp_path / "cache"))
    assert len(store) == 2 and store.files == 4 and store.left_out == {"empty": 1, "too_short": 1}


def test_a_list_has_a_file_a_line_whatever_signs_its_name_holds(tmp_path: Path) -> None:
    names = ["rain\u2028on a roof.mp4", "a\u0085b.mp4", "/elsewhere/c.mp4"]
    (tmp_path / "train.txt").write_bytes("\r\n".join([*names, ""]).encode())
    assert listed_files(tmp_path / "train.txt") == sorted(tmp_path / name for name in names)


def test_what_is_decoded_is_not_decoded_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = windows(write_clips(tmp_path / "clips", count=2), tmp_path / "cache", "video")
    first = np.array(decoded_windows(job)[1])
    monkeypatch.setattr(decode_windows, "decode_group", lambda *_: pytest.fail("decoded again"))
    assert np.array_equal(decoded_windows(job)[1], first)


def test_a_cut_shard_is_decoded_again(tmp_path: Path) -> None:
    job = windows(write_clips(tmp_path / "clips", count=2), tmp_path / "cache", "video")
    first = np.array(decoded_windows(job)[0])
    (shard,) = (job.store / f"{group.name}.bin" for group in plan_groups(job))
    shard.write_bytes(shard.read_bytes()[:-100])
    assert np.array_equal(decoded_windows(job)[0], first)


def test_too_small_a_disk_is_told_before_anything_is_decoded(tmp_path, monkeypatch) -> None:
    job = windows(write_clips(tmp_path / "clips", count=1), tmp_path / "cache", "video")
    monkeypatch.setattr(decode_windows.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UserError, match="are free; set fewer windows_per_clip"):
        decoded_windows(job)
