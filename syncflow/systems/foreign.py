"""A system in an environment of its own, by one contract: a folder of inputs in, a folder of wavs out.

    <exchange>/contract.json   version, seconds and rate of the clips, seed, settings, places of weights
    <exchange>/inputs.csv      id, video, prompt, seed; videos are silent mp4 files in inputs/
    <exchange>/outputs/        the command writes <id>.wav, of any rate and number of channels, at least as
                               long as the clip; and, if it wants, failures.csv (id, reason)

The command runs with the folder as its last argument and as its working directory. What is there already is
not asked for again. Programs for the systems of the paper lie in foreign_programs/.
"""

import csv
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from syncflow.errors import UserError
from syncflow.hashing import file_sha256, settings_sha256
from syncflow.media import MediaError, decode_audio, write_clip
from syncflow.records import ClipSpec
from syncflow.systems.card import SystemCard, UsedWeights
from syncflow.systems.config import ForeignConfig
from syncflow.systems.contract import AudioRequest, NoAudio, fitted

CONTRACT_VERSION = 1
PROGRAMS = Path(__file__).resolve().parent / "foreign_programs"
SHORT = 0.01  # seconds by which a wav may be shorter than the clip


class ForeignSystem:
    """Any program that keeps the contract.

    Args:
        config: the command, and what its card says.
        exchange: folder for inputs and outputs; kept, so that a run that was cut goes on.
    """

    def __init__(self, config: ForeignConfig, *, exchange: Path, spec: ClipSpec) -> None:
        self.config, self.exchange, self.spec = config, exchange.absolute(), spec
        self.ids: dict[int, str] = {}
        self.card = SystemCard(
            name=config.name,
            kind="video_to_audio" if config.listens_to == "video" else "text_to_audio",
            weights=tuple(_used(config, name) for name in config.weights),
            settings={
                **config.settings,
                "video_seconds": config.video_seconds or spec.seconds,
                "fill": config.fill if config.video_seconds > spec.seconds else "",
            },
        )

    def __call__(self, requests: Sequence[AudioRequest], *, seed: int) -> list[np.ndarray | NoAudio]:
        """Raises UserError where the command does not start, fails or takes too long; what it wrote stays."""
        self.ids = {r.number: _id(r, seed=seed, card=self.card) for r in requests}
        refused = self._write_inputs(requests, seed=seed)
        if any(not self._output(r).is_file() and r.number not in refused for r in requests):
            self._run()
        failures = self._failures()
        return [refused.get(r.number) or self._answer(r, failures) for r in requests]

    def _write_inputs(self, requests: Sequence[AudioRequest], *, seed: int) -> dict[int, NoAudio]:
        """Write what the command reads; the requests whose videos cannot be read."""
        (self.exchange / "outputs").mkdir(parents=True, exist_ok=True)
        (self.exchange / "inputs").mkdir(exist_ok=True)
        refused: dict[int, NoAudio] = {}
        rows = []
        for request in requests:
            name = self.ids[request.number]
            video = self.exchange / "inputs" / f"{name}.mp4"
            if not video.is_file():
                try:
                    self._write_video(video, request.frames())
                except MediaError as error:
                    refused[request.number] = NoAudio(reason=f"{error.reason}: {error.detail}")
                    continue
            if not self._output(request).is_file():
                rows.append((name, str(video), request.prompt, seed * 1_000_003 + request.number))
        with (self.exchange / "inputs.csv").open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(("id", "video", "prompt", "seed"))
            writer.writerows(rows)
        contract = {
            "version": CONTRACT_VERSION,
            "seconds": self.spec.seconds,
            "sample_rate": self.spec.sample_rate,
            "fps": self.spec.fps,
            "video_seconds": self.config.video_seconds or self.spec.seconds,
            "seed": seed,
            "settings": self.config.settings,
            "weights_folder": _place(self.config.weights_folder),
            "source": _place(self.config.source),
        }
        (self.exchange / "contract.json").write_text(json.dumps(contract, indent=1), encoding="utf-8")
        return refused

    def _write_video(self, path: Path, frames: np.ndarray) -> None:
        """The clip, silent, held or looped up to the length that the system wants."""
        wanted = max(len(frames), round(self.config.video_seconds * self.spec.fps))
        places = np.arange(wanted)
        places = places % len(frames) if self.config.fill == "loop" else places.clip(max=len(frames) - 1)
        longer = frames[places]
        samples = round(len(longer) / self.spec.fps * self.spec.sample_rate)
        silence = np.zeros(samples, np.float32)
        write_clip(path, frames=longer, audio=silence, fps=self.spec.fps, sample_rate=self.spec.sample_rate)

    def _run(self) -> None:
        log = self.exchange / "log.txt"
        command = [*command_of(self.config), str(self.exchange)]
        apart = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")}
        try:
            with log.open("wb") as stream:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=stream,
                    stderr=subprocess.STDOUT,
                    cwd=self.exchange,
                    env=apart,
                    timeout=self.config.timeout_s,
                    check=False,
                )
        except subprocess.TimeoutExpired:
            raise UserError(
                f"foreign.command: not done after {self.config.timeout_s:g} s; its log is {log}; the same "
                "command again asks for the rest; or raise foreign.timeout_s"
            ) from None
        except OSError as error:
            raise UserError(
                f"foreign.command {command[0]}: does not start ({error.strerror}); give its full path"
            ) from None
        if done.returncode:
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = lines[-1] if lines else "it printed nothing"
            raise UserError(
                f"foreign.command: exit status {done.returncode} ({last[:200]}); log: {log}; mend it; the "
                "same command again asks for the rest"
            )

    def _failures(self) -> dict[str, str]:
        path = self.exchange / "outputs" / "failures.csv"
        if not path.is_file():
            return {}
        with path.open(newline="", encoding="utf-8", errors="replace") as stream:
            return {row.get("id") or "": (row.get("reason") or "")[:300] for row in csv.DictReader(stream)}

    def _answer(self, request: AudioRequest, failures: dict[str, str]) -> np.ndarray | NoAudio:
        path, spec = self._output(request), self.spec
        if not path.is_file():
            return NoAudio(
                reason=f"no_output: {failures.get(self.ids[request.number], 'the command wrote no wav')}"
            )
        try:
            audio = decode_audio(path, sample_rate=spec.sample_rate)
        except MediaError as error:
            return NoAudio(reason=f"{error.reason}: {error.detail}")
        if len(audio) < (spec.seconds - SHORT) * spec.sample_rate:
            return NoAudio(reason=f"too_short: {len(audio) / spec.sample_rate:.3f} s of {spec.seconds:g}")
        return fitted(audio, spec)

    def _output(self, request: AudioRequest) -> Path:
        return self.exchange / "outputs" / f"{self.ids[request.number]}.wav"


def command_of(config: ForeignConfig) -> list[str]:
    """The command without the exchange folder: a relative path of the program's Python is of this folder."""
    first, *others = config.command
    if "/" in first:
        first = str(Path(first).absolute())  # not resolved: a venv's Python is a link
    return [first, *(part.replace("{programs}", str(PROGRAMS)) for part in others)]


def is_there(config: ForeignConfig) -> bool:
    """Whether the command's program can be started."""
    return shutil.which(command_of(config)[0]) is not None


def _used(config: ForeignConfig, name: str) -> UsedWeights:
    """With the hash of the last file of that name, or pattern, in the folder of weights, if there is one."""
    folder = config.weights_folder
    files = sorted(path for path in folder.glob(name) if path.is_file()) if folder else []
    sha256 = file_sha256(files[-1]) if files else ""
    return UsedWeights(name=files[-1].name if files else name, sha256=sha256, licence=config.licence)


def _place(folder: Path | None) -> str:
    return str(folder.resolve()) if folder else ""


def _id(request: AudioRequest, *, seed: int, card: SystemCard) -> str:
    """The row's number and a hash of all that the answer follows from: no older answer is taken for it."""
    sha256 = file_sha256(request.video) if request.video.is_file() else ""
    spec = request.spec.model_dump(mode="json")
    made_by: list[Any] = [sha256, request.prompt, seed, card.sha256, spec]
    if request.start_s:
        made_by.append(request.start_s)
    return f"{request.number:05}-{settings_sha256(made_by)[:12]}"
