import pytest

from syncflow.model.config import DualDiTConfig, SampleShape
from syncflow.training.machine import Throughput, peak_tflops, tokens_of
from syncflow.training.stages import STAGES


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
