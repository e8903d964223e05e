from pathlib import Path

import numpy as np
from matplotlib.image import imread

from syncflow.generation.figure import write_strip


def strip(path: Path, audio: np.ndarray, colour: int = 200) -> np.ndarray:
    frames = np.full((32, 64, 64, 3), colour, dtype=np.uint8)
    write_strip(path, frames=frames, audio=audio, fps=16, sample_rate=48_000, title="$5 for _metal_")
    return imread(path)[..., :3]


def test_a_click_of_one_sample_is_seen_and_silence_is_flat(tmp_path: Path) -> None:
    silence = np.zeros(96_000, dtype=np.float32)
    click = silence.copy()
    click[50_000] = 1.0
    flat, peaked = strip(tmp_path / "a.png", silence), strip(tmp_path / "b.png", click)
    differing = np.flatnonzero((flat != peaked).any(axis=(0, 2)))
    assert len(differing) and abs(differing.mean() / flat.shape[1] - 50_000 / 96_000) < 0.02


def test_the_same_clip_gives_the_same_bytes(tmp_path: Path) -> None:
    sound = np.sin(np.arange(96_000, dtype=np.float32) / 50)
    for name in ("a.png", "b.png"):
        strip(tmp_path / name, sound)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_picture_shows_the_frames(tmp_path: Path) -> None:
    silence = np.zeros(96_000, dtype=np.float32)
    dark, light = (strip(tmp_path / f"{c}.png", silence, c) for c in (20, 230))
    assert light.mean() - dark.mean() > 0.1
