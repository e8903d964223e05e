"""Text to a clip: one mp4 with video and audio, by the small pipeline that comes with the package.

python examples/text_to_clip.py "a drumstick hits a metal object twice" out/examples
"""

import sys
from pathlib import Path

from syncflow import SyncFlowPipeline, write_clip


def main(prompt: str = "a drumstick hits a metal object three times", output: str = "out/examples") -> Path:
    pipeline = SyncFlowPipeline.from_pretrained("tiny")  # or the folder of a pipeline of your own
    clip = pipeline(
        prompt,
        seed=0,
        num_inference_steps=10,  # the quality of the shipped model was measured with 25
        guidance_scale=1.5,
        audio_guidance_scale=2.0,
        clean_video=True,  # makes the video first, then the audio for it
    )
    path = Path(output) / "text_to_clip.mp4"
    fps, sample_rate = pipeline.config["fps"], pipeline.audio_vae.config.sample_rate
    write_clip(path, frames=clip.frames[0], audio=clip.audio[0], fps=fps, sample_rate=sample_rate)
    print(path)
    return path


if __name__ == "__main__":
    main(*sys.argv[1:])
