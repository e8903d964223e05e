"""The contract with a system of another environment, kept by a program that imports nothing of ours."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from syncflow.config import validate
from syncflow.errors import UserError
from syncflow.media import decode_audio, probe
from syncflow.systems.card import SystemCard
from syncflow.systems.config import MakeAudioConfig
from syncflow.systems.make_audio import make_audio
from tests.syncflow.systems.videos import SPEC, write_videos

PROGRAM = """
import csv, json, os, struct, sys, wave
assert "syncflow" not in sys.modules and "PYTHONPATH" not in os.environ
folder = sys.argv[1]
contract = json.load(open(os.path.join(folder, "contract.json")))
assert contract["version"] == 1, contract
print("given", folder)
with open(os.path.join(folder, "inputs.csv"), newline="") as stream:
    rows = list(csv.DictReader(stream))
with open(os.path.join(folder, "outputs", "failures.csv"), "w") as failures:
    failures.write("id,reason\\n")
    for place, row in enumerate(rows):
        assert os.path.getsize(row["video"]) > 0
        if "number 2" in row["prompt"]:
            failures.write(row["id"] + ",it has the hiccups\\n")
            continue
        seconds = 0.1 if "number 1" in row["prompt"] else 10.0
        level = 1000 + int(row["seed"]) % 1000
        with wave.open(os.path.join(folder, "outputs", row["id"] + ".wav"), "wb") as out:
            out.setnchannels(2); out.setsampwidth(2); out.setframerate(22050)
            out.writeframes(struct.pack("<hh", level, level) * int(22050 * seconds))
        if MORTAL and place == 0:
            sys.exit("struck down")
"""


def program(path: Path, *, mortal: bool = False) -> list[str]:
    path.write_text(PROGRAM.replace("MORTAL", str(mortal)), encoding="utf-8")
    return [sys.executable, "-I", str(path)]


def settings(folder: Path, command: list[str], **changes: object) -> MakeAudioConfig:
    values: dict[str, object] = {
        "system": "foreign",
        "video": str(folder / "videos"),
        "output": str(folder / "made"),
        "clip": SPEC.model_dump(),
        "foreign": {
            "command": command,
            "name": "Elsewhere",
            "weights": ["someone/weights"],
            "licence": "MIT",
            "video_seconds": 1.25,
        },
        "seed": 4,
    }
    return validate(MakeAudioConfig, {**values, **changes}, source="test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_videos(tmp_path / "videos", 4)
    return tmp_path


def test_each_video_gets_the_wav_that_the_program_wrote_or_a_reason(folder: Path, capfd) -> None:
    lines = make_audio(settings(folder, program(folder / "other.py")))
    assert "Elsewhere: someone/weights, licence MIT" in capfd.readouterr().out
    reasons = {line.clip.prompt or "broken": line.failure.partition(":")[0] for line in lines}
    assert reasons == {
        "broken": "undecodable", "a sound number 0": "", "a sound number 1": "too_short",
        "a sound number 2": "no_output", "a sound number 3": "",
    }  # fmt: skip
    made = folder / "made"
    with (made / "manifest.csv").open(newline="", encoding="utf-8") as stream:
        table = {row["prompt"]: row for row in csv.DictReader(stream)}
    row = table["a sound number 3"]
    assert row["video"].endswith("clip3.mp4") and "hiccups" in table["a sound number 2"]["failure"]
    info = probe((made / row["file"]).resolve())
    assert info.has_video and info.has_audio
    audio = decode_audio((made / row["file"]).resolve(), sample_rate=16_000)
    assert abs(len(audio) - 8000) < 1100  # trimmed to the clip; AAC rounds up to its frames
    assert np.abs(audio[2000:6000] - np.median(audio[2000:6000])).max() < 0.01 < np.median(audio[2000:6000])
    # the video is held up to the length that the system wants
    given = next((made / "exchange" / "inputs").iterdir())
    assert abs(probe(given).video_end_s - 1.25) < 0.07
    assert SystemCard.read(made).kind == "video_to_audio"


def test_a_program_that_dies_costs_nothing_that_it_wrote(folder: Path) -> None:
    config = settings(folder, program(folder / "other.py", mortal=True))
    with pytest.raises(UserError, match=r"exit status 1 \(struck down\).*again asks for the rest"):
        make_audio(config)
    written = sorted((folder / "made" / "exchange" / "outputs").glob("*.wav"))
    assert len(written) == 1
    before = written[0].stat().st_mtime_ns
    lines = make_audio(settings(folder, program(folder / "other.py")))
    assert sum(not line.failure for line in lines) == 2
    assert written[0].stat().st_mtime_ns == before


def test_an_answer_to_another_video_is_not_taken(folder: Path) -> None:
    config = settings(folder, program(folder / "other.py"))
    make_audio(config)
    contract = json.loads((folder / "made" / "exchange" / "contract.json").read_text())
    assert (contract["seconds"], contract["seed"]) == (0.5, 4)
    (folder / "videos" / "clip0.mp4").write_bytes((folder / "videos" / "clip3.mp4").read_bytes())
    make_audio(config)
    asked = (folder / "made" / "exchange" / "inputs.csv").read_text().splitlines()[1:]
    assert [line.split(",")[2] for line in asked if "number 0" in line] == ["a sound number 0"]


def test_what_may_not_or_cannot_run_is_one_line(folder: Path) -> None:
    command = program(folder / "other.py")
    foreign = {"command": command, "name": "E", "weights": ["w"], "licence": "CC BY-NC 4.0"}
    with pytest.raises(UserError, match=r"w: licence CC BY-NC 4\.0.*--accept-noncommercial-licence"):
        make_audio(settings(folder, command, foreign=foreign))
    with pytest.raises(UserError, match=r"/nowhere/python: does not start .*full path"):
        make_audio(settings(folder, ["/nowhere/python"], output=str(folder / "other")))
    make_audio(settings(folder, command, limit=2))
    with pytest.raises(UserError, match="another system or settings; give another --output"):
        make_audio(settings(folder, command, foreign={**foreign, "licence": "MIT", "name": "F"}))
