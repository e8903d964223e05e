"""What a GPU does in a training step beside its products, counted without one: passes, kernels, waits.

    PYTHONPATH=. python benchmarks/count_step.py

Passes are kernels that read and write tensors and multiply none: norms, modulation, rotary positions, sums,
casts, copies. Their bytes are told in units of one pass over the video tower's stream of tokens in bfloat16
(reading or writing it once), so that they do not depend on its size. Everything runs on torch's meta device,
which has no numbers, with kernels and casts as CUDA has them; compiled code is counted by Inductor's plan.
`--parts blocks` knows versions before 28 November 2026, too: PYTHONPATH is then a worktree of one.
"""

from collections.abc import Callable
from typing import Literal

import torch
from counting import AsOnCUDA, Counts, compiled, eager, one_kernel
from torch import Tensor, nn

from syncflow.command_ending import run
from syncflow.command_line import parse_arguments
from syncflow.config import Config
from syncflow.model.attention import rotary_frequencies, rotation
from syncflow.model.config import (
    AdaptorConfig,
    AudioTowerConfig,
    DualDiTConfig,
    SampleShape,
    VideoTowerConfig,
)
from syncflow.model.dual_dit import DualDiT

HALF = torch.bfloat16
Work = Callable[[], Tensor]
Part = Literal["blocks", "compiled", "step"]


class CountConfig(Config):
    """What is counted."""

    parts: tuple[Part, ...] = ("blocks", "compiled", "step")
    """`blocks`: a pair of blocks of the video tower; `compiled`: those that torch.compile makes kernels of;
    `step`: a step of stage audio, compiled too if that is counted."""
    batch: int = 16
    """Samples a step."""
    text_tokens: int = 300
    """Tokens of a prompt."""
    depth: int = 28
    """Layers of the counted step."""


class Blocks:
    """One layer of each kind, and what it is given.

    Args:
        width: of both towers.
        heads: likewise.
        device: meta, or cpu for what is compiled.
        half: all in bfloat16, as a frozen tower is held; else float32 weights, under autocast.
    """

    def __init__(
        self, width: int, heads: int, *, device: str, half: bool, batch: int, side: int, text_tokens: int
    ) -> None:
        sizes = {"hidden_size": width, "num_heads": heads, "depth": 1}
        settings = DualDiTConfig(
            video=VideoTowerConfig(**sizes),
            audio=AudioTowerConfig(**sizes),
            adaptor=AdaptorConfig(num_heads=heads),
        )
        shape, self.autocast = SampleShape(), not half
        frames, self.stream = shape.video_latents[0], (batch, shape.video_latents[0], side**2, width)
        with torch.device(device):
            model = nn.Module.to(DualDiT(**settings.model_dump()), HALF if half else torch.float32)
            self.turn = rotation(torch.arange(frames), rotary_frequencies(width // heads))
            self.modulation, self.text = (self.draw(batch, n, width) for n in (6, text_tokens))
            self.mask = torch.ones(batch, 1, 1, text_tokens, dtype=torch.bool)
            self.features = self.draw(batch, frames, width).detach()
            self.audio, self.context = (self.draw(batch, n, width) for n in (shape.audio_latents, frames + 1))
            places = [rotation(torch.arange(n), rotary_frequencies(width // heads))
                      for n in (shape.audio_latents, frames + 1)]  # fmt: skip
            self.x = self.draw(*self.stream)
        self.model, tower = model, model.video_tower
        self.spatial, self.temporal = tower.spatial_blocks[0], tower.temporal_blocks[0]
        adaptor, block = model.adaptors[0], model.audio_tower.blocks[0]
        self.adaptor: Work = lambda: adaptor(self.features, self.turn)
        self.audio_block: Work = lambda: block(self.audio, self.context, None, tuple(places))

    @staticmethod
    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, dtype=HALF).requires_grad_()

    def alone(self, block: nn.Module) -> Work:
        """A block of the video tower."""
        return lambda: block(self.x, self.modulation, self.text, self.mask, self.turn)[0]

    def pair(self) -> Tensor:
        """Both blocks of a layer of the video tower, on a stream of the type that they leave."""
        given = (self.modulation, self.text, self.mask, self.turn)
        return self.temporal(self.spatial(self.x, *given)[0], *given)[0]

    def settle(self) -> None:
        """Give the pair a stream of the type that it returns."""
        with AsOnCUDA(), torch.autocast("cpu", dtype=HALF, enabled=self.autocast):
            kind = self.pair().dtype
        self.x = self.x.detach().to(kind).requires_grad_()

    def units(self, counts: Counts) -> float:
        """Bytes of passes, over those of the stream in bfloat16."""
        return counts.bytes_of_passes / (2 * torch.Size(self.stream).numel())


def small(*, half: bool, device: str) -> Blocks:
    """In a size that a CPU compiles; head width 72 as in the large model."""
    return Blocks(144, 2, device=device, half=half, batch=2, side=8, text_tokens=30)


def frozen(blocks: Blocks, count: Callable[..., tuple[Counts, Counts]], name: str) -> None:
    """The forward pass of the pair as a frozen tower has it, its products in bfloat16 and in float8."""
    blocks.model.requires_grad_(False)
    blocks.x = blocks.x.detach()
    given = blocks.modulation, blocks.text
    blocks.modulation, blocks.text = (each.detach() for each in given)
    for products in ("bfloat16", "float8"):
        if products == "float8":
            try:
                from syncflow.model.float8 import compute_in_float8
            except ModuleNotFoundError:  # versions before it
                return
            compute_in_float8(blocks.model, ["video_tower"], setting="products")
        with torch.no_grad():
            kinds = [blocks.alone(block) for block in (blocks.spatial, blocks.temporal)]
            first, second = (count(work, autocast=False)[0] for work in kinds)
        of_pair(blocks, f"frozen, products in {products}, {name}", (first + second,))


def line(name: str, *found: str) -> None:
    print(f"{name:44}" + "".join(f"{each:>22}" for each in found))


def of_pair(blocks: Blocks, name: str, counts: tuple[Counts, ...]) -> None:
    line(name, *(f"{blocks.units(each):.0f} u ({each.kernels} kernels)" for each in counts))


def count_blocks(config: CountConfig) -> None:
    line("a pair of blocks of the video tower", "forward", "backward")
    for half in (False, True):
        blocks = Blocks(
            1152, 16, device="meta", half=half, batch=config.batch, side=16, text_tokens=config.text_tokens
        )
        name = "bfloat16" if half else "bfloat16 autocast"
        blocks.settle()
        of_pair(blocks, f"{name}, eager", eager(blocks.pair, autocast=not half))
        if hasattr(blocks.temporal.self_attention, "kernel"):
            blocks.temporal.self_attention.kernel = one_kernel
            of_pair(blocks, f"{name}, one kernel over time", eager(blocks.pair, autocast=not half))
            blocks.temporal.self_attention.kernel = None
        if half:
            frozen(blocks, eager, "eager")


def count_compiled() -> None:
    for half in (False, True):
        blocks = small(half=half, device="cpu")
        kinds = [blocks.alone(block) for block in (blocks.spatial, blocks.temporal)]
        found = [compiled(work, autocast=not half) for work in kinds]
        together = tuple(first + second for first, second in zip(*found, strict=True))
        of_pair(blocks, f"{'bfloat16' if half else 'bfloat16 autocast'}, each compiled", together)
        if half:
            frozen(blocks, compiled, "each compiled")


def of_layer(device: str, count: Callable[..., tuple[Counts, Counts]]) -> Counts:
    """All blocks of one layer in a step of stage audio, forward and, of those that train, backward."""
    frozen, trained = small(half=True, device=device), small(half=False, device=device)
    total = Counts()
    with torch.no_grad():
        for block in (frozen.spatial, frozen.temporal):
            total += count(frozen.alone(block), autocast=False)[0]
    for work in (trained.adaptor, trained.audio_block):
        forward, backward = count(work, autocast=True)
        total += forward + backward
    return total


def count_step(config: CountConfig, *, with_compiled: bool) -> None:
    from counted_step import audio_step

    counts, places = audio_step(config.depth, batch=config.batch, text_tokens=config.text_tokens)
    print(f"a step of stage audio, {config.depth} layers, {config.batch} samples")
    line("places that wait for the GPU", str(len(places)))
    line("kernels, eager", str(counts.kernels))
    if with_compiled:
        layer, fused = of_layer("meta", eager), of_layer("cpu", compiled)
        rest = counts - layer.times(config.depth)
        line("kernels, blocks and adaptors compiled", str((rest + fused.times(config.depth)).kernels))
        line("  a layer, eager and compiled", str(layer.kernels), str(fused.kernels))
        line("  all that is in no block", str(rest.kernels))


def main() -> None:
    config = parse_arguments(CountConfig, description=__doc__ or "")
    if "blocks" in config.parts:
        count_blocks(config)
    if "compiled" in config.parts:
        count_compiled()
    if "step" in config.parts:
        count_step(config, with_compiled="compiled" in config.parts)


if __name__ == "__main__":
    run(main)
