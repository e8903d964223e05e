"""The GPU benchmark runs whole in miniature on a CPU, and what it writes is complete after every part."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_part_runs_in_miniature(repository: Path, tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "benchmarks/bench_gpu.py", "--output", str(output), "--minutes", "13"],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository), "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"},
        capture_output=True,
        text=True,
        timeout=800,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(output.read_text())
    assert not {name: part["trouble"] for name, part in found["parts"].items() if part["trouble"]}
    assert len(found["parts"]["checks"]["details"]["checks"]) == 12
    assert found["parts"]["stage audio, eager"]["figures"]


def test_a_part_that_fails_or_lasts_too_long_is_told_and_the_others_run(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(repository / "benchmarks"))
    from gpu_parts.runner import Found, Part, run_parts

    def broken(found: Found) -> None:
        raise ValueError("no such thing")

    def endless(found: Found) -> None:
        found.add("begun", 1.0, "s")
        while True:
            pass

    parts = [
        Part(name="broken", seconds=5, work=broken),
        Part(name="endless", seconds=0.1, work=endless),
        Part(name="false", seconds=5, work=lambda found: found.check("one is two", 1 == 2)),
        Part(name="good", seconds=5, work=lambda found: found.add("two", 2.0, "s")),
    ]
    output = tmp_path / "figures.json"
    assert run_parts(parts, output=output, machine={}) == 3
    found = json.loads(output.read_text())["parts"]
    assert found["broken"]["trouble"] == "ValueError: no such thing"
    assert found["endless"]["trouble"].startswith("cut short") and found["endless"]["figures"]
    assert found["false"]["trouble"] == "one is two does not hold"
    assert found["good"]["figures"][0]["value"] == 2.0 and not found["good"]["trouble"]
    assert run_parts([parts[1], parts[3]], output=output, machine={}, limit_s=0.05) == 2
    found = json.loads(output.read_text())["parts"]
    assert found["endless"]["trouble"] == "cut short after 0.05 s"
    assert found["good"]["trouble"] == "the 0.05 s of all are over" and not found["good"]["figures"]
