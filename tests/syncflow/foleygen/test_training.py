"""FoleyGen in the one loop: it learns from frames, goes on exactly, refuses what does not fit."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.foleygen.checkpoint import read_foleygen
from syncflow.foleygen.config import CodeSamplingConfig
from syncflow.foleygen.dataset import CodeDataset
from syncflow.foleygen.run import run_foleygen
from syncflow.foleygen.sampling import sample_codes
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.training.loop import Callback
from tests.syncflow.foleygen.code_table import CODES, SMALL, write_table


class Seen(Callback):
    """Keeps what is logged, and may end training at a step as a kill would."""

    def __init__(self, die_at: int = 0) -> None:
        self.loss: dict[int, float] = {}
        self.validation: Mapping[str, float] = {}
        self.die_at = die_at

    def on_step(self, step: int) -> None:
        if step == self.die_at:
            raise KeyboardInterrupt

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        if "loss" in metrics:
            self.loss[step] = metrics["loss"]
        if "validation/loss" in metrics:
            self.validation = metrics


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_table(tmp_path_factory.mktemp("codes") / "latents", clips=60)


def config_of(data: Path, output: Path, **changes: object) -> FoleyGenTrainConfig:
    return validate(
        FoleyGenTrainConfig, {**SMALL, "data": str(data), "output": str(output), **changes}, source="test"
    )


def weights(config: FoleyGenTrainConfig) -> dict[str, torch.Tensor]:
    return load_file(config.output / "checkpoint" / "diffusion_pytorch_model.safetensors")


@pytest.mark.parametrize("version", ["prefix", "cross"])
def test_it_learns_which_codes_belong_to_which_frames(data: Path, tmp_path: Path, version: str) -> None:
    model = SMALL["model"] | {"version": version, "visual_attention": "causal"}  # type: ignore[operator]
    config = config_of(
        data, tmp_path, model=model, steps=160, validate_every=160, log_every=20, checkpoint_every=1000
    )
    seen = Seen()
    assert run_foleygen(config, callbacks=[seen]) == 160
    assert seen.loss[160] < 0.5 * seen.loss[20], seen.loss
    assert seen.validation["validation/loss_mismatched"] > 1.5 * seen.validation["validation/loss"]

    trained, manifest = read_foleygen(config.output / "checkpoint")
    assert (manifest.step, manifest.num_codes) == (160, CODES)
    held_out = CodeDataset(data, codes=config.table, split="test")
    batch = held_out.samples(range(8), among=range(8), per_step=8)
    drawn = sample_codes(
        trained,
        batch.features,
        num_codes=CODES,
        config=CodeSamplingConfig(guidance=2.0, top_k=1),
        seed=0,
        index=range(8),
    )
    chance = (drawn == batch.codes.roll(1, dims=0)).float().mean()
    assert (drawn == batch.codes).float().mean() > chance + 0.3


def test_a_run_that_was_killed_ends_as_one_that_was_not(data: Path, tmp_path: Path) -> None:
    whole, cut = config_of(data, tmp_path / "whole", steps=10), config_of(data, tmp_path / "cut", steps=10)
    run_foleygen(whole)
    with pytest.raises(KeyboardInterrupt):
        run_foleygen(cut, callbacks=[Seen(die_at=9)])
    seen = Seen()
    run_foleygen(cut, callbacks=[seen])
    assert min(seen.loss) in (5, 9)  # from the last state that was written whole
    expected = weights(whole)
    assert expected.keys() == weights(cut).keys()
    assert all(torch.equal(expected[name], value) for name, value in weights(cut).items())


def test_other_settings_are_refused_when_it_goes_on(data: Path, tmp_path: Path) -> None:
    run_foleygen(config_of(data, tmp_path, steps=4))
    with pytest.raises(UserError, match=r"frames_dropout was 0\.1, now 0\.5"):
        run_foleygen(config_of(data, tmp_path, steps=8, frames_dropout=0.5))
    assert run_foleygen(config_of(data, tmp_path, steps=6)) == 6


def test_a_table_of_another_dataset_is_refused(data: Path, tmp_path: Path) -> None:
    other = write_table(tmp_path / "other", clips=10)
    config = config_of(data, tmp_path / "out", codes=str(other / "foleygen"), steps=2)
    with pytest.raises(UserError, match=r"another state of .*run precompute_codes\.py again"):
        run_foleygen(config)


def test_weights_that_were_changed_are_refused(data: Path, tmp_path: Path) -> None:
    config = config_of(data, tmp_path, steps=2)
    run_foleygen(config)
    trained, _ = read_foleygen(config.output / "checkpoint")
    with torch.no_grad():
        trained.no_frames[0] += 1
    trained.save_pretrained(config.output / "checkpoint")
    with pytest.raises(UserError, match="not those of its manifest"):
        read_foleygen(config.output / "checkpoint")
