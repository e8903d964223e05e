"""Samples that are not finite, at one of two workers: engines leave out one update and end at the next."""

from pathlib import Path

import pytest
import torch

from syncflow.training.resume import SavedState, saved_steps
from syncflow.training.stage.config import TrainConfig
from tests.infra.zero_case import Launcher, errors

pytestmark = pytest.mark.slow

ENGINES = (None, 0, 1, 2, 3)  # plain torch, and ZeRO's stages
SAMPLES = "13,29"  # of updates 2 and 4, eight each; worker 1 has the last four


@pytest.fixture(scope="module")
def runs(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int | None, TrainConfig]:
    launcher = Launcher(tmp_path_factory.mktemp("finite"), repository)
    optimizer = {"lr": 1e-3, "warmup_steps": 4, "skip_not_finite": 1}
    built = {
        zero: launcher.config(
            f"zero_{zero}",
            workers=2,
            zero=zero,
            steps=6,
            optimizer=optimizer,
            checkpoint={"every": 1, "keep": 2},
        )
        for zero in ENGINES
    }
    launcher.launch((2, list(built.values())), POISONED_SAMPLES=SAMPLES)
    return built


@pytest.mark.parametrize("zero", ENGINES)
def test_all_workers_end_before_the_update_with_one_message(runs, zero: int | None) -> None:
    first, second = errors(runs[zero])
    assert first == second
    assert first.startswith("step 4: gradient norm is ") and "samples [28, 29, 30, 31] have loss nan" in first
    assert "engine/step_00000003: the same command goes on from it" in first
    assert saved_steps(runs[zero].folder / "engine")[0].name == "step_00000003"


@pytest.mark.parametrize("zero", ENGINES)
def test_an_update_that_is_left_out_leaves_the_same_weights_in_all(runs, zero: int | None) -> None:
    plain, subject = (SavedState(saved_steps(runs[z].folder / "engine")[0]) for z in (None, zero))
    assert set(plain) == set(subject)
    assert {float(plain[name]) for name in plain if name.startswith("step/")} == {2.0}  # of three
    for name, tensor in plain.items():
        assert tensor.isfinite().all()
        torch.testing.assert_close(subject[name], tensor, rtol=1e-4, atol=1e-6)
