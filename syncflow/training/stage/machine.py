"""The machine of a stage: what runs compiled on it, what GPUs can do at most, how much of it a run uses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil
import torch

from syncflow.checkpoint import StageName
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.model.compiled import attend_in_one_kernel, compile_blocks, no_compiler
from syncflow.model.config import DualDiTConfig, SampleShape
from syncflow.model.cost import deep_stage_cost
from syncflow.model.dual_dit import DualDiT
from syncflow.training.distributed import device, rank, world_size
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.stages import STAGES, Stage

GIB = 1 << 30
PEAK_TFLOPS = {  # bfloat16 matrix products without sparsity, by a part of the device's name
    "B200": 2250.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "A100": 312.0,
    "L40S": 362.0,
    "A10G": 70.0,
    "RTX 4090": 165.0,
}
MEASURED = " (measured on one GPU, November 2026)"
MEASURED_MFU: dict[StageName, float] = {"video": 0.20, "audio": 0.13, "joint": 0.11}  # docs/performance.md
Rates = Callable[[float], Mapping[str, float]]


def peak_tflops(name: str) -> float:
    """Peak rate of the GPU of this name, TFLOP/s; 0 when it is not known."""
    return next((peak for part, peak in PEAK_TFLOPS.items() if part.lower() in name.lower()), 0.0)


def sample_shape(dataset: LatentDataset) -> SampleShape:
    """The sizes of the dataset's samples; prompts as long as they are on average."""
    _, t, h, w = dataset.video_shape
    spec = dataset.spec
    return SampleShape(
        video_latents=(t, h, w),
        audio_latents=dataset.audio_shape[0],
        text_tokens=round(dataset.mean_text_tokens),
        fps=float(spec.fps),
        height=spec.height,
        width=spec.width,
    )


def tokens_of(model: DualDiTConfig, sample: SampleShape, *, stage: Stage, audio_draws: int) -> int:
    """Tokens of a sample that go through the towers: patches of the video, latents of the audio."""
    t, h, w = (-(-n // p) for n, p in zip(sample.video_latents, model.video.patch_size, strict=True))
    hears = "audio" in stage.scores
    sees = "video" in stage.scores or model.audio.context != "text"
    return sees * t * h * w + hears * sample.audio_latents * audio_draws


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Rates of a run, of all workers together, by its updates a second."""

    samples: int  # an update
    tokens: int  # an update
    flop: float  # an update: the model's, without what is computed twice
    peak: float  # FLOP/s of all workers; 0: not known

    def __call__(self, steps_per_second: float) -> dict[str, float]:
        rates = {
            "samples_per_second": self.samples * steps_per_second,
            "tokens_per_second": self.tokens * steps_per_second,
            "tflop_per_second": self.flop * steps_per_second / 1e12,
            "memory_gib": peak_memory() / GIB,
        }
        if self.peak:
            rates["mfu"] = self.flop * steps_per_second / self.peak
        return rates


def throughput_of(config: TrainConfig, dataset: LatentDataset) -> Rates:
    """What the first worker reports; the others report nothing, and count nothing."""
    if rank():
        return lambda _: {}
    stage, sample, draws = STAGES[config.stage], sample_shape(dataset), config.flow.audio_draws
    cost = deep_stage_cost(config.model, sample, trains=stage.trains, scores=stage.scores, audio_draws=draws)  # type: ignore[arg-type]
    tokens = tokens_of(config.model, sample, stage=stage, audio_draws=draws)
    peak = 0.0
    if device().type == "cuda" and config.engine.bf16:
        peak = config.machine.peak_tflops or peak_tflops(torch.cuda.get_device_name())
    return Throughput(
        samples=config.update_samples,
        tokens=tokens * config.update_samples,
        flop=float(cost.total) * config.update_samples,
        peak=peak * 1e12 * world_size(),  # of those that run: an elastic run may have fewer than `workers`
    )


def peak_memory() -> int:
    """Bytes of this worker: the most on its GPU since it was last asked, or what the process holds now."""
    if device().type != "cuda":
        return psutil.Process().memory_info().rss
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return most


def compile_where_asked(model: DualDiT, config: TrainConfig) -> bool:
    """Compile the model's blocks, if the settings ask for it or leave it to what is there; whether they are.

    Attention over time becomes one kernel before that, if they ask for it.

    Raises:
        UserError: they ask for it, and there is no C++ compiler, GPU or Triton.
    """
    if config.engine.temporal_kernel:
        if device().type != "cuda":
            raise UserError("engine.temporal_kernel: no GPU here, and its kernel is for one; leave it off")
        attend_in_one_kernel(model, setting="engine.temporal_kernel")
    asked = config.engine.compile
    if asked == "never" or (asked == "auto" and device().type != "cuda"):
        return False
    if asked == "auto" and (reason := no_compiler() or config.engine.not_compiled):
        if rank() == 0:
            print(f"blocks run uncompiled, slower: {reason}", flush=True)
        return False
    compile_blocks(
        model,
        setting="engine.compile",
        memory_budget=config.engine.activation_memory_budget,
        or_eager=asked == "auto",
    )
    if rank() == 0:
        print("blocks are compiled as they are called: the first steps take a minute or more", flush=True)
    return True
