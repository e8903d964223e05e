"""Time the model: its video tower against diffusers' Latte, stage 2 against 3, and a GPU's peak share.

Rivals run in turns in one process, medians are compared, and against Latte it is time per counted
FLOP, since the two do not do quite the same work.
"""

from collections.abc import Callable

import torch
from diffusers import LatteTransformer3DModel
from timing import medians
from torch.utils.flop_counter import FlopCounterMode

from syncflow.checkpoint import StageName
from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.model.config import AudioTowerConfig, DualDiTConfig, SampleShape, VideoTowerConfig
from syncflow.model.dual_dit import DualDiT
from syncflow.records import AVLatents, TextBatch
from syncflow.training.stage.stages import STAGES, freeze

Work = Callable[[], object]
BATCHED = {torch.ops.aten.bmm, torch.ops.aten.baddbmm}
PRODUCTS = 50  # in a row: one alone is timed while the card's clocks still rise


class BenchConfig(Config):
    """What is timed; the defaults suit a CPU, `--depth 28 --batch 4 --device cuda` a GPU of 80 GB."""

    depth: int = 2
    """Layers (a spatial and a temporal block each); the width is always 1152."""
    batch: int = 1
    """Samples a step."""
    size: int = 128
    """Rows and columns of a frame, pixels."""
    text_tokens: int = 100
    """Tokens of a prompt."""
    repeats: int = 7
    """Rounds; each times every rival once."""
    device: str = "cpu"
    """torch device. On cuda the weights are bf16."""
    autocast: bool = False
    """On a CPU: products of both towers in bf16 (autocast); the weights are float32."""


def counted(work: Work) -> int:
    """FLOP of matrix products of one call.

    Batched ones are left out: on a CPU they are our attention, and the counter does not see torch's kernel.
    """
    with FlopCounterMode(display=False) as counter:
        work()
    found = counter.get_flop_counts()["Global"]
    return sum(flop for product, flop in found.items() if product not in BATCHED)


def step(forward: Callable[[], torch.Tensor], model: torch.nn.Module) -> Work:
    """Forward and backward; gradients are thrown away."""

    def work() -> None:
        forward().square().mean().backward()
        model.zero_grad(set_to_none=True)

    return work


def against_latte(config: BenchConfig, model: DualDiT, inputs: tuple) -> None:
    latents, t, text, clip = inputs
    video = model.settings.video
    latte = LatteTransformer3DModel(
        num_attention_heads=video.num_heads,
        attention_head_dim=video.hidden_size // video.num_heads,
        in_channels=video.in_channels,
        out_channels=2 * video.in_channels,
        num_layers=config.depth,
        attention_bias=True,
        sample_size=latents.video.shape[-1],
        patch_size=2,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        caption_channels=video.text_dim,
        video_length=latents.video.shape[2],
        cross_attention_dim=video.hidden_size,
    ).to(latents.video)

    def rounded() -> torch.autocast:
        return torch.autocast(latents.video.device.type, dtype=torch.bfloat16, enabled=config.autocast)

    def ours() -> torch.Tensor:
        with rounded():
            return model.video(latents.video, t, text, **clip).velocity

    def theirs() -> torch.Tensor:
        prompts = {"encoder_hidden_states": text.tokens}
        with rounded():
            return latte(latents.video, timestep=1000 * (1 - t), return_dict=False, **prompts)[0]

    def without_graph(forward: Callable[[], torch.Tensor]) -> Work:
        return torch.no_grad()(forward)

    tests = {
        "forward": {"ours": without_graph(ours), "Latte": without_graph(theirs)},
        "forward + backward": {"ours": step(ours, model), "Latte": step(theirs, latte)},
    }
    for name, rivals in tests.items():
        flop = {who: counted(work) for who, work in rivals.items()}
        seconds = medians(rivals, repeats=config.repeats, device=config.device)
        rate = {who: flop[who] / seconds[who] / 1e9 for who in rivals}
        for who in rivals:
            work = f"{seconds[who]:8.4f} s {flop[who] / 1e9:9.2f} GFLOP"
            print(f"{name:20} {who:6} {work} {rate[who]:9.1f} GFLOP/s")
        print(f"{name:20} ours / Latte, per FLOP: {rate['ours'] / rate['Latte']:.3f}")


def stages(config: BenchConfig, model: DualDiT, inputs: tuple) -> None:
    """Whole steps, with AdamW."""
    latents, t, text, clip = inputs

    def stage(name: StageName) -> Work:
        stage = STAGES[name]
        parameters = [p for part in stage.trains for p in getattr(model, part).parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
        x_t = AVLatents(video=latents.video, audio=latents.audio if "audio" in stage.scores else None)

        def work() -> None:
            freeze(model, stage)
            velocity = model(x_t, t, text, **clip, frame_times=SampleShape().frame_times)
            sum(getattr(velocity, each).square().mean() for each in stage.scores).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return work

    rivals = {name: stage(name) for name in STAGES}
    on_gpu = config.device.startswith("cuda")
    flop = {name: counted(work) for name, work in rivals.items()}
    if on_gpu:
        side = torch.randn(8192, 8192, device=config.device, dtype=torch.bfloat16)
        rivals["matrix product"] = lambda: [side @ side for _ in range(PRODUCTS)]
        flop["matrix product"] = PRODUCTS * 2 * 8192**3
        for name, work in rivals.items():
            torch.cuda.reset_peak_memory_stats()
            work()
            print(f"{name:20} peak memory {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB")
    seconds = medians(rivals, repeats=config.repeats, device=config.device)
    for name in rivals:
        print(f"{name:20} {seconds[name]:8.4f} s {flop[name] / seconds[name] / 1e12:8.3f} TFLOP/s")
    print(f"joint / audio step: {seconds['joint'] / seconds['audio']:.2f} times the time")
    if on_gpu:
        share = flop["video"] / seconds["video"] * seconds["matrix product"] / flop["matrix product"]
        print(f"video stage: {100 * share:.1f} % of the matrix product's rate")


def main() -> None:
    config = parse_arguments(BenchConfig, description=__doc__ or "")
    dtype = torch.bfloat16 if config.device.startswith("cuda") else torch.float32
    torch.manual_seed(0)
    settings = DualDiTConfig(
        video=VideoTowerConfig(depth=config.depth), audio=AudioTowerConfig(depth=config.depth)
    )
    model = torch.nn.Module.to(DualDiT.random(settings), config.device, dtype)
    model.eval()  # then a mask that hides nothing is left out, as the rival is given none
    sample = SampleShape()
    rows = config.size // 8  # the video VAE's stride in space
    make = {"device": config.device, "dtype": dtype}
    latents = AVLatents(
        video=torch.randn(config.batch, 4, sample.video_latents[0], rows, rows, **make),
        audio=torch.randn(config.batch, sample.audio_latents, 128, **make),
    )
    text = TextBatch(
        tokens=torch.randn(config.batch, config.text_tokens, 4096, **make),
        mask=torch.ones(config.batch, config.text_tokens, dtype=torch.bool, device=config.device),
        dropped=torch.zeros(config.batch, dtype=torch.bool, device=config.device),
    )
    t = torch.rand(config.batch, device=config.device)
    clip = {"fps": 16.0, "height": config.size, "width": config.size}
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {config}")
    against_latte(config, model, (latents, t, text, clip))
    if not config.autocast:
        stages(config, model, (latents, t, text, clip))


if __name__ == "__main__":
    run(main)
