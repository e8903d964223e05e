"""The Triton kernel of attention over time, in Triton's interpreter: norm, turn, attention, gradients."""

import builtins
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from syncflow.errors import UserError
from syncflow.model.compiled import attend_in_one_kernel
from syncflow.model.config import DualDiTConfig
from syncflow.model.cost import meta_model


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed (pip install triton)")
def test_it_is_the_separate_steps(repository: Path) -> None:
    command = [sys.executable, str(Path(__file__).with_name("temporal_kernel_case.py"))]
    path = os.pathsep.join([str(repository), *sys.path])
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.stdout == "equal\n", done.stderr


def test_without_triton_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any) -> Any:
        if name.startswith(("triton", "syncflow.model.temporal_kernel")):
            raise ModuleNotFoundError(name="triton")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(
        UserError, match=r"engine\.temporal_kernel: Triton is not installed; pip install triton"
    ):
        attend_in_one_kernel(meta_model(DualDiTConfig()), setting="engine.temporal_kernel")
