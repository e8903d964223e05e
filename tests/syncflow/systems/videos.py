"""A folder of small videos, as a dataset ships them."""

from pathlib import Path

import numpy as np

from syncflow.media import write_clip
from syncflow.records import ClipSpec

SPEC = ClipSpec(seconds=0.5, fps=16, height=16, width=16, sample_rate=16_000)


def write_videos(folder: Path, count: int) -> Path:
    """`count` clips of half a second with captions, and one that is no video."""
    folder.mkdir(parents=True)
    lines = ["clip_id,caption"]
    for number in range(count):
        draw = np.random.default_rng(number)
        frames = draw.integers(0, 255, (8, 16, 16, 3), dtype=np.uint8)
        audio = draw.uniform(-0.5, 0.5, 8000).astype(np.float32)
        write_clip(folder / f"clip{number}.mp4", frames=frames, audio=audio, fps=16, sample_rate=16_000)
        lines.append(f"clip{number},a sound number {number}")
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "captions.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
