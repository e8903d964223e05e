"""NaN and Inf: no update is made from them, no state or checkpoint holds them, and the told remedies work."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from syncflow.errors import UserError
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.training.autoencoder.adversarial import adversarial_engine
from syncflow.training.autoencoder.run import build_vae, train_autoencoder
from syncflow.training.engine import TorchEngine
from syncflow.training.finite import NotFiniteError, UpdateGuard
from syncflow.training.loop import Callback, train
from syncflow.training.resume import MANIFEST, latest_state, saved_steps
from syncflow.training.saver import Saver
from syncflow.training.schedule import learning_rate
from syncflow.training.stage.checkpoint import write_checkpoint
from syncflow.training.stage.parts import torch_engine
from syncflow.training.stage.run import run_stage
from tests.autoencoder_case import small_config, write_clips
from tests.syncflow.training.small import poisoned

BAD = 3  # the batch, from 0, that is not finite


class Line(nn.Module):
    """Its loss is 1e39 = Inf in float32 for the number 1e39, though its gradient would be finite."""

    def __init__(self) -> None:
        super().__init__()
        self.fit = nn.Parameter(torch.tensor([0.5, -0.5]))

    def forward(self, batch: Tensor) -> dict[str, Tensor]:
        constant = batch.sum() if batch.isinf().any() else 0.0
        return {"loss": (self.fit * batch.nan_to_num(nan=torch.nan, posinf=1.0)).square().mean() + constant}


def batches(*, bad: float | None, without: int | None = None) -> Iterator[Tensor]:
    for step in range(8):
        batch = torch.randn(2, generator=torch.Generator().manual_seed(step))
        if step == BAD and bad is not None:
            batch[1] = bad
        if step != without:
            yield batch


def engine(limit: int = 0) -> TorchEngine[Tensor]:
    model = Line()
    optimizer = torch.optim.AdamW(model.parameters())
    return TorchEngine(model, optimizer=optimizer, schedule=lambda _: 0.1, guard=UpdateGuard(limit=limit))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_training_ends_before_the_update(bad: float) -> None:
    subject, before = engine(), engine()
    with pytest.raises(NotFiniteError, match=r"step 4: gradient norm is nan; the loss is (nan|inf)"):
        train(subject, batches(bad=bad), steps=8)
    train(before, batches(bad=None), steps=BAD)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(subject.state(), before.state(), strict=True))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_update_that_is_left_out_leaves_no_trace(bad: float, capsys) -> None:
    logged: dict[int, Mapping[str, float]] = {}

    class Log(Callback):
        def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
            logged[step] = metrics

    subject, without = engine(limit=1), engine()
    train(subject, batches(bad=bad), steps=8, log_every=1, callbacks=[Log()])
    train(without, batches(bad=None, without=BAD), steps=7)
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(subject.state(), without.state(), strict=True))
    assert "update left out (1 of at most 1)" in capsys.readouterr().out
    assert [logged[step]["skipped_updates"] for step in (3, 4, 8)] == [0, 1, 1]
    assert "loss" not in logged[4] and np.isfinite([*logged[4].values(), *logged[5].values()]).all()


def test_no_more_are_left_out_than_allowed() -> None:
    subject = engine(limit=1)
    source = (torch.full((2,), torch.nan) for _ in range(3))
    with pytest.raises(NotFiniteError, match=r"step 2: .*\(1 updates were left out before it\)"):
        train(subject, source, steps=3)


class Numbers:
    value = 1.0

    def state(self) -> Iterator[tuple[str, Tensor]]:
        yield "weight/a", torch.tensor([1.0, self.value])
        yield "step/a", torch.tensor(3)

    def restore(self, state: Mapping[str, Tensor]) -> None: ...


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_state_that_is_not_finite_is_not_saved_and_the_last_good_one_stays(
    tmp_path: Path, bad: float, wait: bool
) -> None:
    numbers = Numbers()
    saver = Saver(tmp_path, [numbers], every=1, keep=1, settings={})
    saver.save(1, wait=True)
    numbers.value = bad
    with pytest.raises(NotFiniteError, match="the state of step 2 cannot be saved: weight/a is not finite"):
        saver.save(2, wait=wait)
        saver.on_end(2)
    assert [path.name for path in saved_steps(tmp_path)] == ["step_00000001"]
    assert latest_state(tmp_path) is not None


def test_a_state_of_an_earlier_version_is_looked_at(tmp_path: Path, capsys) -> None:
    import json

    numbers = Numbers()
    saver = Saver(tmp_path, [numbers], every=1, keep=2, settings={})
    saver.save(1, wait=True)
    saver.save(2, wait=True)
    last = tmp_path / "step_00000002"
    part = last / "part_00000.safetensors"
    save_file(load_file(part) | {"weight/a": torch.tensor([torch.nan, 0.0])}, part)
    manifest = json.loads((last / MANIFEST).read_text())
    for name in ("sha256", "run", "finite"):
        del manifest[name]
    manifest["files"][part.name] = file_sha256(part)
    manifest["sha256"] = settings_sha256(manifest)
    (last / MANIFEST).write_text(json.dumps(manifest))
    state = latest_state(tmp_path)
    assert state is not None and state.step == 1
    assert "step_00000002: damaged (weight/a is not finite)" in capsys.readouterr().out


def test_a_stage_that_diverges_goes_on_at_a_lower_rate(settings) -> None:
    run_stage(settings("video", steps=3))
    steep = {"lr": 1e38, "warmup_steps": 4}
    with pytest.raises(UserError, match=r"step 5: .*the last state is \S+step_00000003: .*--optimizer\.lr"):
        run_stage(settings("video", optimizer=steep, allow_change=["optimizer.lr"]))
    config = settings("video", optimizer={"lr": 1e-4, "warmup_steps": 4}, allow_change=["optimizer.lr"])
    assert run_stage(config) == 6


def test_a_bad_sample_is_named_and_can_be_left_out(settings) -> None:
    make_engine = poisoned(torch_engine, at=lambda batch, training: training and 18 in batch.index)
    config = settings("video")
    with pytest.raises(
        UserError, match=r"step 5: .* samples \[16, 17, 18, 19\] have loss nan; .*0003: the sa"
    ):
        run_stage(config, make_engine=make_engine)
    assert not (config.folder / "checkpoint").exists()
    leaving_out = settings("video", optimizer={"lr": 1e-3, "warmup_steps": 4, "skip_not_finite": 1})
    assert run_stage(leaving_out, make_engine=make_engine) == 6
    state = latest_state(config.folder / "engine")
    assert state is not None and all(tensor.isfinite().all() for tensor in state.values())


def test_a_validation_that_is_not_finite_ends_training_in_one_line(settings) -> None:
    make_engine = poisoned(torch_engine, at=lambda batch, training: not training)
    with pytest.raises(UserError, match=r"step 4: in validation, samples .* the last state is \S+00000003"):
        run_stage(settings("video", validate_every=4), make_engine=make_engine)


def test_a_hand_over_that_is_not_finite_is_not_written(settings) -> None:
    config = settings("video")
    run_stage(config)
    before = (config.folder / "checkpoint" / "manifest.json").read_text()
    state = latest_state(config.folder / "engine")
    assert state is not None
    bad = _Changed(state, {name: t * torch.nan for name, t in state.items() if name.startswith("ema/")})
    from syncflow.data.batches import LatentDataset
    from syncflow.training.stage.start import starting_model

    model, _ = starting_model(config)
    dataset = LatentDataset(config.data)
    with pytest.raises(NotFiniteError, match=r"not written, video_tower.* is not finite"):
        write_checkpoint(
            config.folder / "checkpoint",
            config=config,
            untrained={n: t for n, t in model.state_dict().items() if not n.startswith("video_tower.")},
            states=[bad],  # type: ignore[list-item]
            dataset=dataset.manifest,
            dataset_fingerprint=dataset.fingerprint,
            text_tokens=5.0,
            initialised_from="",
            initialised_from_sha256="",
        )
    assert (config.folder / "checkpoint" / "manifest.json").read_text() == before


class _Changed(dict[str, Tensor]):
    """A state with other tensors."""

    def __init__(self, state, changes: Mapping[str, Tensor]) -> None:
        super().__init__({name: state[name] for name in state} | dict(changes))
        self.step, self.folder = state.step, state.folder


@pytest.mark.parametrize("adversarial", [False, True])
def test_an_autoencoder_that_diverges_saves_nothing(tmp_path: Path, adversarial: bool) -> None:
    config = small_config(
        "audio",
        clips=write_clips(tmp_path / "clips"),
        output=tmp_path / "vae",
        optimizer={"lr": 1e30, "warmup_steps": 0},
        adversarial={"enabled": adversarial, "from_step": 0},
    )
    with pytest.raises(UserError, match=r"there is no state yet: begin with a lower --optimizer\.lr"):
        train_autoencoder(config)
    assert not list(config.output.glob("*.safetensors")) and not saved_steps(config.output / "engine")


def poison_judge(subject) -> None:
    with torch.no_grad():
        next(subject.judge.objective.parameters())[:] = torch.nan


@pytest.mark.parametrize("limit", [0, 1])
def test_discriminators_that_are_not_finite_spoil_nothing(tmp_path: Path, limit: int) -> None:
    from syncflow.training.autoencoder.objective import Segments

    config = small_config(
        "audio",
        clips=tmp_path,
        output=tmp_path / "vae",
        adversarial={"enabled": True, "from_step": 0},
        optimizer={"lr": 1e-3, "skip_not_finite": limit},
    )
    torch.manual_seed(0)
    vae = build_vae(config)
    schedule: Callable[[int], float] = learning_rate(config.optimizer, steps=6)
    subject = adversarial_engine(
        vae, config=config.adversarial, optimizer=config.optimizer, schedule=schedule, bf16=False
    )
    poison_judge(subject)
    before = {name: tensor.clone() for name, tensor in subject.weights()}
    batch = Segments(data=torch.randn(2, 1, 4800).clamp(-1, 1)[:, 0], generator=torch.Generator())
    if limit:
        subject.step([batch], step=0)
    else:
        with pytest.raises(NotFiniteError, match="gradient norm is nan"):
            subject.step([batch], step=0)
    assert all(torch.equal(before[name], tensor) for name, tensor in subject.weights())
    assert all(tensor.isfinite().all() for tensor in subject.objective.balancer.buffers())
