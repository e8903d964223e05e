"""Settings made for GPUs on a machine that shows none."""

import pytest
import torch

from infra.executors.ray_train import run_workers
from infra.launch.stage import NEEDS_GPU
from syncflow.errors import UserError


def test_it_is_refused_before_ray_starts(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("infra.executors.ray_train.ray_is_elsewhere", lambda: False)
    with pytest.raises(UserError, match=r"no GPU is visible, .*CUDA_VISIBLE_DEVICES, .*--no-engine\.bf16"):
        run_workers(print, None, workers=32, storage=tmp_path / "ray", needs_gpu=NEEDS_GPU)
    assert not list(tmp_path.iterdir()) and "starting" not in capsys.readouterr().out
