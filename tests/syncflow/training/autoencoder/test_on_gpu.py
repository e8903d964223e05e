"""Autoencoders train on a GPU as on the CPU, and go on from a state."""

from pathlib import Path

import pytest
import torch

from syncflow.training import distributed
from syncflow.training.autoencoder import run as autoencoder_run
from syncflow.training.autoencoder.run import train_autoencoder
from tests.autoencoder_case import small_config, write_clips
from tests.syncflow.training.autoencoder.test_run import Watch, weights

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(
    ("kind", "adversarial"), [("audio", False), ("audio", True), ("video", False)], ids=str
)
def test_a_gpu_trains_what_the_cpu_trains(
    gpu: str, kind: str, adversarial: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = write_clips(tmp_path / "clips")
    seen = {}
    for device in ("cpu", gpu):
        for module in (autoencoder_run, distributed):
            monkeypatch.setattr(module, "device", lambda device=device: torch.device(device))
        config = small_config(
            kind, clips=clips, output=tmp_path / device, adversarial={"enabled": adversarial}
        )
        if device == gpu:
            with pytest.raises(KeyboardInterrupt):
                train_autoencoder(config, callbacks=[Watch(die_at=5)])
        seen[device] = Watch()
        train_autoencoder(config, callbacks=[seen[device]])
    found = {step: metrics["loss"] for step, metrics in seen[gpu].seen.items()}
    expected = {step: seen["cpu"].seen[step]["loss"] for step in found}
    assert list(found) == [4, 5, 6] and found == pytest.approx(expected, rel=1e-2)
    assert all(tensor.isfinite().all() for tensor in weights(config).values())
