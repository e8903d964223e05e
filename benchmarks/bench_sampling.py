"""Time of a sampled clip against that of the model's forwards alone, and what batching gains.

Random weights: neither time nor memory depends on what they are. Rivals take turns; medians.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from pydantic import Field
from timing import medians

from syncflow.autoencoders.spans import frame_spans, frame_times
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config, validate
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.flow.guidance import GuidedVelocity
from syncflow.model.config import DualDiTConfig
from syncflow.model.dual_dit import DualDiT
from syncflow.preset import read_preset
from syncflow.records import AVLatents, ClipSpec, TextBatch
from syncflow.sampling.given import Given
from syncflow.sampling.options import SampleOptions
from syncflow.sampling.prompts import Prompts
from syncflow.sampling.sample import sample
from syncflow.sampling.velocity import ClipVelocity

Work = Callable[[], object]


class BenchConfig(Config):
    """Sizes of the bench."""

    model: Path | None = Path("pipelines/configs/tiny/model.yaml")
    """Preset with a `model` group."""
    size: int = 64
    """Rows and columns of a frame, pixels."""
    batch: int = Field(default=1, ge=1)
    """Clips that are made at once."""
    steps: int = Field(default=16, ge=1)
    """Euler steps."""
    text_tokens: int = 40
    """Tokens of a prompt."""
    video_steps_per_batch: int = 8
    """Video to sound: flow times in one forward."""
    repeats: int = 5
    """Rounds; each times every rival once."""
    device: str = "cpu"
    """torch device. On cuda the weights are bf16."""


def _model(config: BenchConfig) -> DualDiT:
    settings = DualDiTConfig()
    if config.model is not None:
        settings = validate(DualDiTConfig, read_preset(config.model)["model"], source=str(config.model))
    dtype = torch.bfloat16 if config.device.startswith("cuda") else torch.float32
    torch.manual_seed(0)
    return torch.nn.Module.to(DualDiT.random(settings), config.device, dtype).eval()


@torch.no_grad()
def main() -> None:
    config = parse_arguments(BenchConfig, description=__doc__ or "")
    model = _model(config)
    settings, device = model.settings, config.device
    spec = ClipSpec(height=config.size, width=config.size)
    spans = frame_spans(spec.num_frames, frames_per_chunk=17, stride=4)  # as the video VAE cuts them
    side = config.size // 8  # the video VAE's stride in space
    noise = AVLatents(
        video=torch.randn(config.batch, settings.video.in_channels, len(spans), side, side, device=device),
        audio=torch.randn(config.batch, 100, settings.audio.latent_dim, device=device),
    )
    shape = (config.batch, config.text_tokens)
    text = TextBatch(
        tokens=torch.randn(*shape, settings.video.text_dim, device=device),
        mask=torch.ones(shape, dtype=torch.bool, device=device),
        dropped=torch.zeros(config.batch, dtype=torch.bool, device=device),
    )
    prompts = Prompts(text=text, negative=None)
    clip = ClipVelocity(model=model, spec=spec, frame_times=frame_times(spans, fps=spec.fps))
    kept, anew = (
        GuidedVelocity(
            clip,
            text=text,
            negative=None,
            config=GuidanceConfig(),
            prepare=partial(model.prepare_text, keys_values=kept),
        )
        for kept in (True, False)
    )
    t = torch.full((config.batch,), 0.5, device=device)
    doubled = AVLatents(video=torch.cat([noise.video] * 2), audio=torch.cat([noise.audio] * 2))

    def follow(given: Given, per_batch: int, *, clean: bool = False) -> AVLatents:
        return sample(
            clip,
            noise,
            prompts=prompts,
            given=given,
            options=SampleOptions(
                solver=SolverConfig(steps=config.steps), video_steps_per_batch=per_batch, clean_video=clean
            ),
        )

    def forwards(field: GuidedVelocity) -> None:
        for _ in range(config.steps):
            clip(doubled, torch.cat([t, t]), field.prompts("conditional", "unconditional"))

    def two_passes() -> None:
        for each in ("conditional", "unconditional"):
            clip(noise, t, kept.prompts(each))

    nothing = Given(latents=AVLatents(video=None, audio=None), keep=AVLatents(video=None, audio=None))
    whole = torch.ones(1, 1, 1, 1, 1, dtype=torch.bool, device=device)
    video = Given(latents=AVLatents(video=noise.video, audio=None), keep=AVLatents(video=whole, audio=None))
    rivals: dict[str, Work] = {
        "text to clip": lambda: follow(nothing, 1),
        "its forwards alone": lambda: forwards(kept),
        "its forwards, keys of text anew": lambda: forwards(anew),
        "guidance, one batch": lambda: clip(
            doubled, torch.cat([t, t]), kept.prompts("conditional", "unconditional")
        ),
        "guidance, two passes": two_passes,
        "video to sound, batched": lambda: follow(video, config.video_steps_per_batch),
        "video to sound, step by step": lambda: follow(video, 1),
        "video to sound, clean picture": lambda: follow(video, 1, clean=True),
    }
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {config}")
    seconds = medians(rivals, repeats=config.repeats, device=device)
    for name, value in seconds.items():
        line = f"{name:32} {value:9.4f} s"
        if device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats()
            rivals[name]()
            line += f"  peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB"
        print(line)
    over = seconds["text to clip"] / seconds["its forwards alone"] - 1
    gain = seconds["its forwards, keys of text anew"] / seconds["its forwards alone"]
    print(f"forwards, text's keys and values anew / once a clip: {gain:.3f}")
    print(f"overhead over the forwards: {100 * over:.1f} %")
    print(f"two passes / one batch: {seconds['guidance, two passes'] / seconds['guidance, one batch']:.2f}")
    for other in ("batched", "clean picture"):
        gain = seconds["video to sound, step by step"] / seconds[f"video to sound, {other}"]
        print(f"video to sound, step by step / {other}: {gain:.2f}")


if __name__ == "__main__":
    run(main)
