import pytest
import torch

from syncflow.data.batches import LatentDataset
from syncflow.model.config import DualDiTConfig, SampleShape
from syncflow.training.stage import machine
from syncflow.training.stage.machine import Throughput, peak_tflops, tokens_of
from syncflow.training.stage.stages import STAGES


def test_rates_are_what_an_update_holds_times_the_updates_a_second() -> None:
    rates = Throughput(samples=8, tokens=100, flop=4e12, peak=16e12)(2.0)
    assert rates.pop("memory_gib") > 0
    expected = {"samples_per_second": 16, "tokens_per_second": 200, "tflop_per_second": 8, "mfu": 0.5}
    assert rates == expected
    assert "mfu" not in Throughput(samples=8, tokens=100, flop=4e12, peak=0.0)(2.0)


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989.0), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA A100-SXM4-80GB", 312.0)],
)
def test_the_peak_is_known_by_the_name(name: str, peak: float) -> None:
    assert peak_tflops(name) == peak


def test_a_gpu_of_no_known_name_has_no_peak() -> None:
    assert peak_tflops("Voodoo 2") == 0


def test_tokens_are_the_patches_that_a_stage_sees_and_the_latents_that_it_hears() -> None:
    model, sample = DualDiTConfig(), SampleShape()
    assert tokens_of(model, sample, stage=STAGES["video"], audio_draws=1) == 9 * 16 * 16
    assert tokens_of(model, sample, stage=STAGES["audio"], audio_draws=3) == 9 * 16 * 16 + 3 * 100
    deaf = model.model_copy(update={"audio": model.audio.model_copy(update={"context": "text"})})
    assert tokens_of(deaf, sample, stage=STAGES["audio"], audio_draws=1) == 100


def test_the_peak_is_that_of_the_workers_that_run(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An elastic run may have fewer than it asked for; an update's samples stay the same."""
    config = settings(
        "audio",
        workers=4,
        min_workers=1,
        engine={"bf16": True},
        machine={"peak_tflops": 100.0},
        flow={"coupling": {"scope": "update"}},
    )
    monkeypatch.setattr(machine, "device", lambda: torch.device("cuda"))
    monkeypatch.setattr(machine, "world_size", lambda: 3)
    rates = machine.throughput_of(config, LatentDataset(config.data))
    assert isinstance(rates, Throughput)
    assert rates.peak == 3 * 100e12 and rates.samples == 4 * config.batch_size
