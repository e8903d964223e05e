"""No place of a training or sampling step makes the CPU wait for a GPU."""

import dataclasses
from collections.abc import Callable

import pytest
import torch

from syncflow.data.batches import LatentDataset
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.flow.guidance import GuidedVelocity
from syncflow.flow.solver import solve
from syncflow.model.cost import meta_model
from syncflow.model.dual_dit import DualDiT
from syncflow.model.float8 import compute_in_float8
from syncflow.records import AVLatents, TextBatch
from syncflow.sampling.velocity import ClipVelocity
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.transfer import few_lengths, pin
from syncflow.training.waits import BlockingCopies, waits

META = torch.device("meta")
FP8 = {"frozen_fp8": True, "engine": {"bf16": True}}


@pytest.fixture
def make_batch(latents):
    data = LatentDataset(latents)
    batch = data.batch(0, batch_size=4)
    dropped = torch.tensor([False, True, False, False])
    return dataclasses.replace(batch, text=dataclasses.replace(batch.text, dropped=dropped)), data


@pytest.fixture
def step_of(settings, make_batch) -> Callable[..., tuple[FlowObjective, Callable[[], None]]]:
    """The objective of a stage, and a forward and backward pass of it, on a device."""

    def build(stage: str, device: str, **changes) -> tuple[FlowObjective, Callable[[], None]]:
        config: TrainConfig = settings(stage, **changes)
        model = meta_model(config.model)
        if device != "meta":
            model = DualDiT(**config.model.model_dump())
            torch.nn.Module.to(model, device)
        if config.frozen_fp8:
            torch.nn.Module.to(model.video_tower, torch.bfloat16)
            compute_in_float8(model, ["video_tower"], setting="frozen_fp8")
        batch, data = make_batch
        objective = FlowObjective(
            model,
            stage=STAGES[config.stage],
            flow=config.flow,
            spec=data.spec,
            frame_times=data.frame_times,
            seed=0,
        )
        return objective, lambda: objective(pin(batch))["loss"].backward()

    return build


@pytest.mark.parametrize("clean_video", [0.0, 0.5])
@pytest.mark.parametrize("stage", STAGES)
def test_a_step_copies_without_waiting_and_reads_nothing(step_of, stage: str, clean_video: float) -> None:
    _, step = step_of(stage, "meta", flow={"time": {"clean_video": clean_video}})
    with BlockingCopies() as found:
        step()  # to read a number of a meta tensor is an error
    assert not found.places


def test_neither_does_one_with_the_frozen_tower_in_float8(step_of) -> None:
    _, step = step_of("audio", "cpu", **FP8)
    step()
    _, step = step_of("audio", "meta", **FP8)
    with BlockingCopies() as found:
        step()
    assert not found.places


def test_a_blocking_copy_and_a_read_would_be_found() -> None:
    with BlockingCopies() as found:
        torch.ones(3).to(META)
        torch.empty(3, device=META).copy_(torch.ones(3))
        torch.ones(3).to(META, non_blocking=True)
    assert len(found.places) == 2 and all("test_waits.py" in place for place in found.places)
    with pytest.raises(Exception, match="meta"):
        torch.empty((), device=META).item()


@pytest.mark.parametrize(("method", "fp8"), [("euler", False), ("heun", False), ("euler", True)])
def test_sampling_neither(settings, make_batch, method: str, fp8: bool) -> None:
    config: TrainConfig = settings("joint")
    batch, data = make_batch
    model = meta_model(config.model).eval()
    if fp8:
        torch.nn.Module.to(model, torch.bfloat16)
        compute_in_float8(model, ["video_tower", "audio_tower"], setting="speed.fp8")
    there = lambda tensor: tensor.to(META)  # noqa: E731
    text = TextBatch(**{f.name: there(getattr(batch.text, f.name)) for f in dataclasses.fields(TextBatch)})
    noise = AVLatents(video=there(batch.latents.video), audio=there(batch.latents.audio))
    velocity = GuidedVelocity(
        ClipVelocity(model=model, spec=data.spec, frame_times=data.frame_times),
        text=text,
        negative=None,
        config=GuidanceConfig(start=0.3),
        prepare=model.prepare_text,
    )
    with torch.no_grad(), BlockingCopies() as found:
        solve(velocity, noise, config=SolverConfig(steps=3, method=method))
    assert not found.places


@pytest.mark.gpu
@pytest.mark.parametrize(("stage", "changes"), [*((stage, {}) for stage in STAGES), ("audio", FP8)])
def test_a_step_on_a_gpu_waits_nowhere(step_of, gpu: str, stage: str, changes: dict) -> None:
    _, step = step_of(stage, gpu, **changes)
    step()  # what is copied once
    assert waits(step) == []


def test_prompts_have_few_lengths(make_batch) -> None:
    batch = make_batch[0]
    found = few_lengths(batch, longest=300)
    assert found.text.tokens.shape[1] == found.text.mask.shape[1] == 32
    length = batch.text.tokens.shape[1]
    assert torch.equal(found.text.tokens[:, :length], batch.text.tokens)
    assert torch.equal(found.text.mask.sum(1), batch.text.mask.sum(1))
    longest = few_lengths(batch, longest=12)
    assert longest.text.tokens.shape[1] == 12
    wide = dataclasses.replace(batch, text=dataclasses.replace(found.text))
    assert few_lengths(few_lengths(wide, longest=300), longest=300).text.tokens.shape[1] == 32


def test_padded_prompts_have_the_loss_of_the_others(step_of, make_batch) -> None:
    objective, _ = step_of("joint", "cpu")
    batch = make_batch[0]
    plain, padded = (objective(each)["loss"].item() for each in (batch, few_lengths(batch, longest=12)))
    assert padded == pytest.approx(plain, rel=1e-5)
