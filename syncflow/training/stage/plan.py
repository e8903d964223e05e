"""What a stage needs, counted before anything starts: parameters, FLOPs, memory, hours, data rate, disk."""

from dataclasses import dataclass, replace
from typing import Literal

from rich.console import Console
from rich.table import Table

from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.model.config import SampleShape
from syncflow.model.cost import StageCost, deep_stage_cost, meta_model, state_bytes
from syncflow.model.float8 import float8_parameters
from syncflow.model.lora import lora_parameters
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.machine import (
    MEASURED,
    MEASURED_MFU,
    PEAK_TFLOPS,
    peak_tflops,
    sample_shape,
    tokens_of,
)
from syncflow.training.stage.stages import STAGES

FP16, FP32, GIB = 2, 4, 1 << 30  # bytes
Zero = Literal[0, 1, 2, 3]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Figures of a stage; memory in bytes a worker."""

    cost: StageCost  # of a sample
    sample: SampleShape
    update_samples: int
    update_flop: float
    tokens: int  # a sample
    states: dict[Zero, float]  # weights, gradients, moments, moving average, by ZeRO stage
    activations: float  # of a forward pass, about
    peak: float  # FLOP/s of a worker
    mfu: float  # share of it that training is taken to reach
    step_seconds: float
    hours: float
    windows: int  # to train on; 0: no dataset is there yet, and `plan_windows` is not set
    has_data: bool
    bytes_a_sample: float  # as stored
    state_bytes: float  # on disk
    checkpoint_bytes: float
    samples: int  # of all steps

    @property
    def passes(self) -> float:
        """How often each window is trained on; 0 where their number is not known."""
        return self.samples / self.windows if self.windows else 0.0


def make_plan(config: TrainConfig) -> Plan:
    """Count a stage on the meta device; where `data` is not there yet the sample is the paper's.

    Raises:
        UserError: the GPU's peak rate is not known.
    """
    stage, draws, machine = STAGES[config.stage], config.flow.audio_draws, config.machine
    peak = (machine.peak_tflops or peak_tflops(machine.gpu)) * 1e12
    if not peak:
        raise UserError(
            f"machine.gpu {machine.gpu}: its peak rate is not known (those of {', '.join(PEAK_TFLOPS)} are); "
            "give --machine.peak-tflops"
        )
    dataset = LatentDataset(config.data, filters=config.filters) if config.data.exists() else None
    sample = sample_shape(dataset) if dataset else SampleShape(text_tokens=config.model.video.max_text_tokens)
    cost = deep_stage_cost(config.model, sample, trains=stage.trains, scores=stage.scores, audio_draws=draws)  # type: ignore[arg-type]
    held = (
        cost.frozen if config.stage == "audio" and config.engine.bf16 else 0
    )  # the video tower, in bfloat16
    small = float8_parameters(meta_model(config.model), ["video_tower"]) if config.frozen_fp8 else 0
    if config.lora.rank:
        every, lora = meta_model(config.model), config.lora
        count = lora_parameters(every, parts=stage.trains, layers=lora.layers, rank=lora.rank)
        cost = replace(cost, trained=count, frozen=cost.trained + cost.frozen)
    flop = float(cost.total) * config.update_samples
    again = 0.0
    if config.engine.gradient_checkpointing:  # the forward of what trains, half of its backward
        again = (cost.total - cost.forward) / 2 * config.update_samples
    mfu = machine.mfu or MEASURED_MFU[config.stage]
    seconds = (flop + again) / (config.workers * peak * mfu)
    t, h, w = sample.video_latents
    latents = t * h * w * config.model.video.in_channels
    latents += sample.audio_latents * config.model.audio.latent_dim
    return Plan(
        cost=cost,
        sample=sample,
        update_samples=config.update_samples,
        update_flop=flop,
        tokens=tokens_of(config.model, sample, stage=stage, audio_draws=draws),
        states={
            zero: states_in_memory(cost, config, zero=zero, in_bf16=held - small, in_fp8=small)
            for zero in (0, 1, 2, 3)
        },
        activations=activations(cost, config, sample) * config.batch_size,
        peak=peak,
        mfu=mfu,
        step_seconds=seconds,
        hours=seconds * config.steps / 3600,
        windows=len(dataset) if dataset else config.plan_windows,
        has_data=dataset is not None,
        bytes_a_sample=FP16 * (2 * latents + sample.text_tokens * config.model.video.text_dim),
        state_bytes=FP32 * cost.trained * (4 if config.ema_decay else 3),
        checkpoint_bytes=FP32 * (cost.trained + cost.frozen),
        samples=config.steps * config.update_samples,
    )


def states_in_memory(
    cost: StageCost, config: TrainConfig, *, zero: Zero, in_bf16: int = 0, in_fp8: int = 0
) -> float:
    """Bytes a worker holds besides activations.

    Args:
        zero: ZeRO stage.
        in_bf16: frozen parameters that are held in half of the memory.
        in_fp8: those that are held in a quarter of it.
    """
    return state_bytes(
        trained=cost.trained,
        frozen=cost.frozen,
        workers=config.workers,
        zero=zero,
        in_bf16=in_bf16,
        in_fp8=in_fp8,
        average=bool(config.ema_decay),
    )


def activations(cost: StageCost, config: TrainConfig, sample: SampleShape) -> float:
    """Bytes a sample that the backward pass needs, about: half of float32's under bf16."""
    size, stage, model = float(cost.activations), STAGES[config.stage], config.model
    if config.engine.gradient_checkpointing:  # what enters each block, and all of one layer
        layer = size / model.video.depth
        tokens = tokens_of(model, sample, stage=stage, audio_draws=config.flow.audio_draws)
        size = layer + 2 * model.video.depth * tokens * model.video.hidden_size * FP32
    return size / 2 if config.engine.bf16 else size


def show(plan: Plan, config: TrainConfig, console: Console) -> None:
    """Print it.

    Args:
        console: where to print.
    """
    engine, machine, cost = config.engine, config.machine, plan.cost
    t, h, w = plan.sample.video_latents
    where = f"{config.data}" if plan.has_data else f"{config.data} (not there yet: the paper's sizes)"
    table = Table(title=f"Stage {config.stage}: {config.steps:,} steps", show_header=False)
    rows = {
        "data": where,
        "sample": f"{t} x {h} x {w} video latents, {plan.sample.audio_latents} audio latents, "
        f"{plan.sample.text_tokens} text tokens; {plan.tokens:,} tokens go through the towers",
        "parameters": f"{cost.trained:,} trained, {cost.frozen:,} frozen",
        "an update": f"{plan.update_samples} samples = {config.batch_size} x {config.workers} workers"
        f" x {config.accumulate} passes, {plan.update_flop / 1e12:,.3g} TFLOP",
        "FLOPs of a sample": f"{cost.forward / 1e12:.3g} TFLOP forward, {cost.total / 1e12:.3g} in all",
        "a step": f"{plan.step_seconds:.3g} s at MFU {plan.mfu:g}{'' if machine.mfu else MEASURED} of "
        f"{plan.peak / 1e12:g} TFLOP/s ({machine.gpu}), without waiting for data or other workers",
        "all steps": f"{plan.hours:,.3g} h, {plan.hours * config.workers:,.3g} GPU hours",
        "passes": f"{plan.passes:.3g} over each of {plan.windows:,} windows" if plan.windows else "",
        "data rate": f"{plan.bytes_a_sample / 1e6:.3g} MB a sample, "
        f"{plan.bytes_a_sample * plan.update_samples / plan.step_seconds / 1e6:,.3g} MB/s for all workers",
        "disk": f"{plan.state_bytes / GIB:.3g} GiB a state, {config.checkpoint.keep + 1} at once "
        f"({(config.checkpoint.keep + 1) * plan.state_bytes / GIB:.3g} GiB); "
        f"checkpoint {plan.checkpoint_bytes / GIB:.3g} GiB",
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, value)
    console.print(table)
    memory = Table("ZeRO", "states", "activations, about", "of", title="Memory of a worker, GiB")
    for zero, states in plan.states.items():
        chosen = zero == (engine.zero_stage if config.uses_zero else 0)
        total = states + plan.activations
        fits = "" if total < machine.memory_gib * GIB else "  too much"
        memory.add_row(
            f"{zero}{' (chosen)' * chosen}",
            f"{states / GIB:.3g}",
            f"{plan.activations / GIB:.3g}",
            f"{machine.memory_gib:g}{fits}",
        )
    console.print(memory)
