"""New audio for a video (zero-shot video-to-audio, Section 5), and how well the two agree in time.

The video is drawn here, so that the instants of its impacts are known. Of your own file,
`syncflow.media.decode_window` reads a window as the same array of frames.

    python examples/video_to_audio.py out/examples
"""

import sys
from pathlib import Path

from preprocessing.synthetic.draw import render_frames
from preprocessing.synthetic.scene import plan_scene
from preprocessing.synthetic_config import SyntheticClipsConfig
from syncflow import SyncFlowPipeline
from syncflow.evaluation.sync import sync_score
from syncflow.media import write_clip


def main(output: str = "out/examples") -> Path:
    drawn = SyntheticClipsConfig(output=Path(output), size=64, seconds=2.0, fps=16)
    scene = plan_scene(drawn, index=0)
    frames = render_frames(scene, size=drawn.size, fps=drawn.fps)  # uint8, f h w c

    pipeline = SyncFlowPipeline.from_pretrained("tiny")
    made = pipeline(scene.caption, video=frames, seed=0, num_inference_steps=10, clean_video=True)
    sample_rate = pipeline.audio_vae.config.sample_rate

    path = Path(output) / "video_to_audio.mp4"
    write_clip(path, frames=frames, audio=made.audio[0], fps=drawn.fps, sample_rate=sample_rate)
    score = sync_score(frames, made.audio[0], fps=drawn.fps, sample_rate=sample_rate)
    impacts = ", ".join(f"{impact.time_s:.2f}" for impact in scene.impacts)
    print(f"{path}: impacts at {impacts} s, sync F1 {score.f1:.2f}")
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
