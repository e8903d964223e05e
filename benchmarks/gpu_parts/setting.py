"""What is measured: a card, a model of its size with random weights, and batches of random latents."""

import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from syncflow.checkpoint import StageName
from syncflow.config import validate
from syncflow.model.config import DualDiTConfig, SampleShape
from syncflow.model.cost import deep_stage_cost
from syncflow.model.dual_dit import DualDiT
from syncflow.preset import read_preset
from syncflow.records import AVLatents, ClipSpec, LatentBatch, TextBatch
from syncflow.training.prefetch import prefetch
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.pairing import paired
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.transfer import pin

TINY = Path(__file__).resolve().parents[2] / "pipelines/configs/tiny/model.yaml"
VARIED = 4  # prompts differ between as many batches; latents in every one


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The card and the sizes."""

    device: str
    small: bool  # everything in miniature, to try the benchmark itself
    ceilings: dict[str, float]  # measured: `product` TFLOP/s, `copy` TB/s

    @property
    def on_gpu(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def product_type(self) -> torch.dtype:
        """Of what is multiplied."""
        return torch.bfloat16 if self.on_gpu else torch.float32

    @property
    def card(self) -> str:
        """H100, H200 or whatever the device is called."""
        name = torch.cuda.get_device_name() if self.on_gpu else "CPU"
        return next((known for known in ("H100", "H200") if known in name), name)

    @property
    def model(self) -> DualDiTConfig:
        if not self.small:
            return DualDiTConfig()
        tiny = validate(DualDiTConfig, read_preset(TINY)["model"], source=str(TINY))
        parts = {name: getattr(tiny, name).model_copy(update={"depth": 2}) for name in ("video", "audio")}
        return tiny.model_copy(update=parts)

    @property
    def pixels(self) -> int:
        return 32 if self.small else 256

    def of(self, full: int, small: int) -> int:
        """A count at full size, or in miniature."""
        return small if self.small else full

    def predicted(self, h100: float, h200: float | None = None) -> float | None:
        """The prediction for this card at full size, where there is one."""
        return None if self.small else {"H100": h100, "H200": h200}.get(self.card)

    def sample(self, *, text_tokens: int) -> SampleShape:
        rows = self.pixels // 8  # the video VAE's stride in space
        frames = SampleShape().video_latents[0]
        return SampleShape(
            video_latents=(frames, rows, rows),
            text_tokens=text_tokens,
            height=self.pixels,
            width=self.pixels,
        )

    def random_model(self, *, dtype: torch.dtype = torch.float32) -> DualDiT:
        """No weight is zero, so that every product has something to do."""
        with torch.device("meta"):
            model = DualDiT(**self.model.model_dump())
        model.to_empty(device=self.device)
        model.initialize()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.02)
        return torch.nn.Module.to(model, dtype)

    def latents(self, batch: int, *, device: str, dtype: torch.dtype = torch.float32) -> AVLatents:
        shape, model = self.sample(text_tokens=1), self.model
        make = {"device": device, "dtype": dtype}
        return AVLatents(
            video=torch.randn(batch, model.video.in_channels, *shape.video_latents, **make),
            audio=torch.randn(batch, shape.audio_latents, model.audio.latent_dim, **make),
        )

    def text(
        self, batch: int, *, tokens: int, device: str, dtype: torch.dtype = torch.float16, whole: bool = False
    ) -> TextBatch:
        """Prompts of up to `tokens` tokens; all of them as long if `whole`."""
        lengths = torch.full((batch,), tokens) - (0 if whole else torch.arange(batch) % max(1, tokens // 4))
        return TextBatch(
            tokens=torch.randn(batch, tokens, self.model.video.text_dim, device=device, dtype=dtype),
            mask=(torch.arange(tokens) < lengths[:, None]).to(device),
            dropped=(torch.arange(batch) % 10 == 9).to(device),
        )

    def train_config(
        self, stage: StageName, *, batch: int, frozen_fp8: bool = False, **engine: Any
    ) -> TrainConfig:
        """The stage at full size (the VGGSound preset's flow), one worker."""
        return TrainConfig(
            stage=stage,
            data=Path("none"),
            model=self.model,
            flow={"coupling": {"score": "video"}},  # type: ignore[arg-type]
            engine={"bf16": self.on_gpu, **engine},  # type: ignore[arg-type]
            frozen_fp8=frozen_fp8,
            batch_size=batch,
            workers=1,
        )

    def objective(self, model: DualDiT, config: TrainConfig) -> FlowObjective:
        spec = ClipSpec(height=self.pixels, width=self.pixels)
        times = self.sample(text_tokens=1).frame_times
        stage = STAGES[config.stage]
        return FlowObjective(model, stage=stage, flow=config.flow, spec=spec, frame_times=times, seed=0)

    def batches(
        self, objective: FlowObjective, config: TrainConfig, *, text_tokens: int
    ) -> Iterator[LatentBatch]:
        """As a stage's: made and paired with noise ahead, in pinned memory."""

        def made() -> Iterator[LatentBatch]:
            prompts = [self.text(config.batch_size, tokens=text_tokens, device="cpu") for _ in range(VARIED)]
            for number in itertools.count():
                index = torch.arange(config.batch_size) + number * config.batch_size
                yield LatentBatch(
                    latents=self.latents(config.batch_size, device="cpu"),
                    text=prompts[number % VARIED],
                    index=index,
                    noise_index=index,
                )

        return prefetch(map(pin, paired(made(), objective=objective, passes=1)))

    def flop(self, stage: StageName, *, text_tokens: int) -> int:
        """Of a sample, forward and backward."""
        chosen = STAGES[stage]
        cost = deep_stage_cost(
            self.model, self.sample(text_tokens=text_tokens), trains=chosen.trains, scores=chosen.scores
        )
        return cost.total

    def wait(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize()

    def seconds(self, work: Callable[[], object], *, repeats: int = 5, warm: int = 2) -> float:
        """Median of `repeats` calls: by events on a GPU, by the wall clock elsewhere."""
        for _ in range(warm):
            work()
        self.wait()
        found = []
        for _ in range(repeats):
            if self.on_gpu:
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                work()
                end.record()
                end.synchronize()
                found.append(start.elapsed_time(end) / 1e3)
            else:
                begun = time.perf_counter()
                work()
                found.append(time.perf_counter() - begun)
        return statistics.median(found)

    def rate(self, work: Callable[[], object], *, calls: int, warm: int = 3) -> float:
        """Seconds of one of `calls` calls in a row: what a queue that never empties does."""
        for _ in range(warm):
            work()
        self.wait()

        def all_of_them() -> None:
            for _ in range(calls):
                work()

        return self.seconds(all_of_them, repeats=1, warm=0) / calls
