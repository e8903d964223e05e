"""Whole training steps: the product's loop, engine, moving average and batches, without Ray."""

import gc
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch

from gpu_parts.runner import Found
from gpu_parts.setting import Setting
from syncflow.checkpoint import StageName
from syncflow.model.compiled import attend_in_one_kernel, compile_blocks
from syncflow.model.float8 import compute_in_float8
from syncflow.training.ema import MovingAverage
from syncflow.training.engine import Engine
from syncflow.training.loop import Callback, train
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.parts import torch_engine
from syncflow.training.stage.stages import hold_in_bf16
from syncflow.training.waits import waits

PROFILED = 3  # steps


def as_one_worker() -> None:
    """The variables that DeepSpeed looks for; the port is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def make_engine(objective: FlowObjective, config: TrainConfig) -> Engine[Any]:
    if config.engine.kind == "torch":
        return torch_engine(objective, config)
    from infra.zero.engine import zero_engine

    as_one_worker()
    return zero_engine(objective, config)


@contextmanager
def prepared(
    setting: Setting, stage: StageName, *, batch: int, text_tokens: int, **engine: Any
) -> Iterator[tuple[Engine[Any], Iterator[Any], list[Callback]]]:
    """The engine, its endless batches, and the callbacks of a stage."""
    config = setting.train_config(stage, batch=batch, **engine)
    model = setting.random_model()
    if config.engine.bf16 and stage == "audio":
        hold_in_bf16(model.video_tower, "video_tower")
    if config.frozen_fp8:
        compute_in_float8(model, ["video_tower"], setting="frozen_fp8")
    if config.engine.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    if config.engine.temporal_kernel:
        attend_in_one_kernel(model, setting="engine.temporal_kernel")
    if config.engine.compile == "always":
        compile_blocks(model, setting="engine.compile")
    objective = setting.objective(model, config)
    made = make_engine(objective, config)
    batches = setting.batches(objective, config, text_tokens=text_tokens)
    try:
        yield made, batches, [MovingAverage(made, decay=config.ema_decay)]
    finally:
        batches.close()  # type: ignore[attr-defined]
        del made, model, objective
        gc.collect()
        if setting.on_gpu:
            torch.cuda.empty_cache()


def measure(
    setting: Setting,
    found: Found,
    name: str,
    stage: StageName,
    *,
    batch: int,
    text_tokens: int,
    predicted_ms: float | None = None,
    floor_ms: float | None = None,
    steps: int = 15,
    warm: int = 5,
    **engine: Any,
) -> None:
    """Milliseconds a step, what the GPU computes of it, kernels, memory, and TFLOP/s."""
    if setting.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with prepared(setting, stage, batch=batch, text_tokens=text_tokens, **engine) as (
        made,
        batches,
        callbacks,
    ):

        def run(count: int) -> float:
            setting.wait()
            start = time.perf_counter()
            train(made, batches, steps=count, log_every=count, callbacks=callbacks)
            setting.wait()
            return time.perf_counter() - start

        first = run(setting.of(warm, 1))
        seconds = run(setting.of(steps, 1)) / setting.of(steps, 1)
        rate = setting.flop(stage, text_tokens=text_tokens) * batch / seconds / 1e12
        found.add(f"{name}: a step", 1e3 * seconds, "ms", predicted=predicted_ms, floor=floor_ms)
        found.add(f"{name}: rate", rate, "TFLOP/s")
        if setting.ceilings:
            found.add(f"{name}: share of the product's rate", 100 * rate / setting.ceilings["product"], "%")
        found.details[f"{name}: first {setting.of(warm, 1)} steps, s"] = first
        if setting.on_gpu:
            found.add(f"{name}: peak memory", torch.cuda.max_memory_allocated() / 2**30, "GiB")
            busy, kernels, top = _profiled(lambda: run(PROFILED))
            found.add(f"{name}: GPU busy", busy / PROFILED, "ms")
            found.add(f"{name}: kernels a step", kernels / PROFILED, "")
            found.details[f"{name}: longest kernels, ms of {PROFILED} steps"] = top


def _profiled(work: Any) -> tuple[float, int, dict[str, float]]:
    """Milliseconds of all kernels, their number, and the 15 that take longest."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
    events = [e for e in profiler.key_averages() if e.self_device_time_total > 0]
    events.sort(key=lambda e: -e.self_device_time_total)
    top = {f"{e.key[:90]} x{e.count}": e.self_device_time_total / 1e3 for e in events[:15]}
    busy = sum(e.self_device_time_total for e in events if not e.key.startswith("ProfilerStep")) / 1e3
    return busy, sum(e.count for e in events), top


def waiting(setting: Setting, found: Found) -> None:
    """The places of a stage-audio and a stage-joint step in which the CPU waits for the GPU."""
    if not setting.on_gpu:
        return
    for stage in ("audio", "joint"):
        with prepared(setting, stage, batch=4, text_tokens=300, kind="torch") as (made, batches, _):
            made.step([next(batches)], step=0)
            following = next(batches)
            places = waits(partial(made.step, [following], step=1))
        found.add(f"stage {stage}: places that wait", len(places), "", predicted=0)
        found.details[f"stage {stage}: places that wait"] = places


def where_it_can(setting: Setting) -> str:
    """`engine.compile`: a compiled miniature on a CPU would take minutes and tell nothing."""
    return "always" if setting.on_gpu else "never"


def stage_audio_eager(setting: Setting, found: Found) -> None:
    batch, tokens = setting.of(16, 2), setting.of(300, 12)
    foretold, floor = setting.predicted(338, 300), setting.predicted(145, 136)
    engines = {"plain": {"kind": "torch"}, "ZeRO-1": {"kind": "deepspeed", "zero_stage": 1}}
    for name, engine in engines.items():
        measure(
            setting,
            found,
            f"stage audio of {batch}, eager, {name}",
            "audio",
            batch=batch,
            text_tokens=tokens,
            predicted_ms=foretold,
            floor_ms=floor,
            compile="never",
            **engine,
        )


def stage_audio_compiled(setting: Setting, found: Found) -> None:
    batch = setting.of(16, 2)
    for tokens, foretold in ((setting.of(300, 12), (215, 199)), (setting.of(30, 6), (206, 190))):
        measure(
            setting,
            found,
            f"stage audio of {batch}, compiled, {tokens} tokens",
            "audio",
            batch=batch,
            text_tokens=tokens,
            predicted_ms=setting.predicted(*foretold),
            floor_ms=setting.predicted(145, 136),
            kind="torch",
            compile=where_it_can(setting),
        )


def stage_audio_one_kernel(setting: Setting, found: Found) -> None:
    """As `stage_audio_compiled`, with attention over time in one kernel; only on a GPU."""
    if setting.on_gpu:
        measure(setting, found, "stage audio of 16, one kernel over time, 300 tokens", "audio", batch=16,
                text_tokens=300, kind="torch", compile=where_it_can(setting),
                temporal_kernel=True)  # fmt: skip


def stage_audio_float8(setting: Setting, found: Found) -> None:
    """As `stage_audio_compiled`, with the frozen tower's products in float8."""
    batch, tokens = setting.of(16, 2), setting.of(300, 12)
    measure(setting, found, f"stage audio of {batch}, frozen tower in float8, {tokens} tokens", "audio",
            batch=batch, text_tokens=tokens, predicted_ms=setting.predicted(192, 171), kind="torch",
            bf16=True, frozen_fp8=True, compile=where_it_can(setting))  # fmt: skip


def stage_video(setting: Setting, found: Found) -> None:
    batch = setting.of(8, 2)
    measure(setting, found, f"stage video of {batch}", "video", batch=batch, text_tokens=setting.of(300, 12),
            predicted_ms=setting.predicted(310, 283), floor_ms=setting.predicted(204, 200),
            steps=6, warm=3, kind="torch", compile=where_it_can(setting))  # fmt: skip


def stage_joint(setting: Setting, found: Found) -> None:
    for batch in (setting.of(2, 1), setting.of(8, 2)):
        measure(setting, found, f"stage joint of {batch}", "joint", batch=batch,
                text_tokens=setting.of(300, 12), steps=6, warm=3, kind="torch",
                compile=where_it_can(setting))  # fmt: skip
