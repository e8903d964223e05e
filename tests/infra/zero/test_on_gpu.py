"""Training on a GPU: the CPU's losses, with plain torch and under every ZeRO stage, and resumes."""

import dataclasses
import os
from functools import partial
from pathlib import Path

import pytest

from syncflow.training.resume import SavedState, saved_steps
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.stages import STAGES
from tests.infra.zero_case import Launcher, losses
from tests.syncflow.training.small import SMALL

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
STEPS = 8
ENGINES = (None, 0, 1, 2, 3)  # plain torch, and ZeRO's stages


@dataclasses.dataclass(frozen=True)
class Runs:
    cpu: dict[str, TrainConfig]  # by stage
    gpu: dict[tuple[str, int | None], TrainConfig]  # by stage and engine
    bf16: dict[int | None, TrainConfig]  # by engine, stage joint
    broken: dict[int | None, TrainConfig]  # by engine, stage joint in two parts
    white: list[TrainConfig]  # stage audio on whitened features, CPU and GPU


@pytest.fixture(scope="module")
def runs(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    launcher = Launcher(tmp_path_factory.mktemp("gpu"), repository)
    last = {"every": STEPS, "keep": 1}
    build = partial(launcher.config, steps=STEPS, checkpoint=last, validate_every=4, validation_batches=1)
    cpu = {stage: build("cpu", zero=None, stage=stage) for stage in STAGES}
    gpu = {(s, z): build(f"gpu{z}", zero=z, stage=s) for s in STAGES for z in ENGINES}
    bf16 = {z: build(f"bf16{z}", zero=z, stage="joint", engine=engine(z) | {"bf16": True}) for z in (None, 1)}
    halves = {
        z: [build(f"broken{z}", zero=z, stage="joint", steps=n) for n in (STEPS // 2, STEPS)]
        for z in (None, 1)
    }
    model = SMALL["model"] | {"adaptor": {"num_heads": 2, "whiten": True}}
    white = [
        build(name, zero=None, stage="audio", model=model, whitening_samples=16)
        for name in ("white_cpu", "white_gpu")
    ]
    launcher.launch((1, [*cpu.values(), white[0]]), CUDA_VISIBLE_DEVICES="")
    seen = {"DS_ACCELERATOR": "cuda", "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0")}
    launcher.launch((1, [*gpu.values(), *bf16.values(), *halves[None], *halves[1], white[1]]), **seen)
    return Runs(cpu=cpu, gpu=gpu, bf16=bf16, broken={z: half[-1] for z, half in halves.items()}, white=white)


def engine(zero: int | None) -> dict[str, object]:
    return {"kind": "torch"} if zero is None else {"kind": "deepspeed", "zero_stage": zero}


@pytest.mark.parametrize("zero", ENGINES)
@pytest.mark.parametrize("stage", STAGES)
def test_the_gpu_has_the_losses_of_the_cpu(runs: Runs, stage: str, zero: int | None) -> None:
    found = losses(runs.gpu[stage, zero])
    assert len(found) == STEPS and found == pytest.approx(losses(runs.cpu[stage]), rel=1e-4)


def test_so_it_has_on_whitened_features(runs: Runs) -> None:
    cpu, gpu = (losses(config) for config in runs.white)
    assert len(gpu) == STEPS and gpu == pytest.approx(cpu, rel=1e-3)


@pytest.mark.parametrize("zero", [None, 1])
def test_bfloat16_has_nearly_the_same(runs: Runs, zero: int | None) -> None:
    found, exact = losses(runs.bf16[zero]), losses(runs.gpu["joint", zero])
    assert found == pytest.approx(exact, rel=1e-2) and found != exact


@pytest.mark.parametrize("zero", [None, 1])
def test_a_run_in_two_parts_ends_with_the_weights_of_a_whole_one(runs: Runs, zero: int | None) -> None:
    whole, parts = (
        SavedState(saved_steps(config.folder / "engine")[0])
        for config in (runs.gpu["joint", zero], runs.broken[zero])
    )
    assert whole.step == parts.step == STEPS
    distance = sum(float((whole[name] - parts[name]).square().sum()) for name in whole)
    norm = sum(float(whole[name].square().sum()) for name in whole)
    assert (distance / norm) ** 0.5 < 1e-6
