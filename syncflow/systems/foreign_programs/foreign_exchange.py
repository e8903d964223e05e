"""What the programs of this folder share: the contract's folder, one-line errors, wavs.

It runs on Python 3.8 with the standard library; numpy only where a waveform is written.
"""

from __future__ import annotations

import argparse
import csv
import importlib
import importlib.util
import json
import os
import shutil
import sys
import traceback
import wave
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Sequence  # noqa: UP035  (Python 3.8)

VERSION = 1  # of the contract


class CannotRunError(Exception):
    """Why the program cannot work at all: one line with a remedy."""


class CannotMakeError(Exception):
    """Why one row has no audio."""


@dataclass(frozen=True)
class Places:
    """Where the system's files lie."""

    weights: Path
    source: Path | None  # checkout of the system's repository; None for one that pip installs
    temporary: Path  # folder for what the system itself writes on the way


@dataclass(frozen=True)
class Request:
    """One row of inputs.csv."""

    id: str
    video: Path
    prompt: str
    seed: int


@dataclass(frozen=True)
class Program:
    """A system, as `main` drives it."""

    name: str
    licences: Sequence[tuple[str, str]]  # what, licence
    packages: Sequence[str]  # that have to be importable, by module name
    install: str  # what brings them
    settings: dict[str, type]  # names and types of contract.json's settings, all of them required
    needs_source: bool
    tools: Sequence[str]  # programs that its own code starts
    check: Callable[[Places], None]  # raises CannotRunError where weights are missing or bad
    load: Callable[[Places, dict[str, Any]], Callable[[Request], tuple[Any, int]]]
    """From places and settings to a function that gives the waveform, float `m`, and its rate."""


@dataclass
class Exchange:
    """The folder of one call: what is asked for, and what has been answered."""

    folder: Path
    contract: dict[str, Any]
    failures: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> Exchange:
        """Raises CannotRunError where `folder` keeps no contract of this version."""
        try:
            contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CannotRunError(
                f"{folder}/contract.json: cannot be read ({error}); give a folder that make_audio.py wrote"
            ) from None
        if contract.get("version") != VERSION:
            raise CannotRunError(
                f"{folder}: contract version {contract.get('version')}, this program knows {VERSION}; "
                "use the program of the same release"
            )
        return cls(folder, contract)

    def requests(self) -> list[Request]:
        """Rows that have no wav yet."""
        with (self.folder / "inputs.csv").open(newline="", encoding="utf-8") as stream:
            rows = [
                Request(row["id"], Path(row["video"]), row["prompt"], int(row["seed"]))
                for row in csv.DictReader(stream)
            ]
        return [row for row in rows if not self.wav(row).is_file()]

    def wav(self, request: Request) -> Path:
        return self.folder / "outputs" / f"{request.id}.wav"

    def fail(self, request: Request, reason: str) -> None:
        """Tell why a row has no wav; the table is written anew, so that a cut leaves a whole one."""
        self.failures.append((request.id, " ".join(reason.split())[:300]))
        path = self.folder / "outputs" / "failures.csv"
        with path.open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("id", "reason"), *self.failures])


def write_wav(path: Path, audio: Any, rate: int) -> None:
    """A float waveform `m` as 16 bits, clipped to [-1, 1]; whole or not at all.

    Args:
        rate: samples per second, Hz.

    Raises:
        CannotMakeError: it has another shape, no samples, or NaN or Inf.
    """
    np = importlib.import_module("numpy")
    audio = np.asarray(audio, dtype=np.float64)
    if audio.ndim != 1 or not len(audio):
        raise CannotMakeError(f"the system gave audio of shape {audio.shape}")
    if not np.isfinite(audio).all():
        raise CannotMakeError("the system gave NaN or Inf")
    temporary = path.with_suffix(".part")
    with wave.open(str(temporary), "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes((np.clip(audio, -1, 1) * 32767).round().astype("<i2").tobytes())
    os.replace(temporary, path)  # noqa: PTH105


def seed_everything(seed: int) -> None:
    """Python's, numpy's and torch's generators."""
    import random

    random.seed(seed)
    importlib.import_module("numpy").random.seed(seed % 2**32)
    torch = importlib.import_module("torch")
    torch.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)


def module(name: str) -> Any:
    """A module of the system's environment."""
    return importlib.import_module(name)


def typed(settings: dict[str, str], types: dict[str, type]) -> dict[str, Any]:
    """contract.json's settings as numbers.

    Raises:
        CannotRunError: one is missing, unknown or no number.
    """
    wrong = sorted(set(settings) ^ set(types))
    if wrong:
        state = "unknown" if wrong[0] in settings else "missing"
        raise CannotRunError(f"foreign.settings: {wrong[0]} is {state}; expected {', '.join(sorted(types))}")
    values = {}
    for name, kind in types.items():
        try:
            values[name] = kind(settings[name])
        except ValueError:
            raise CannotRunError(
                f"foreign.settings.{name}: expected {kind.__name__}, got {settings[name]!r}"
            ) from None
    return values


def check_environment(name: str, packages: Sequence[str], install: str, *, tools: Sequence[str] = ()) -> None:
    """Packages and tools, those beside this Python first, as in an activated environment.

    Args:
        packages: names that have to be importable.
        install: the command that installs them.

    Raises:
        CannotRunError: one is not there.
    """
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise CannotRunError(f"{name}: no module {missing[0]} in {sys.executable}; {install}")
    own = Path(sys.executable).parent
    os.environ["PATH"] = os.pathsep.join([str(own), os.environ.get("PATH", os.defpath)])
    for tool in tools:
        if shutil.which(tool) is None:
            raise CannotRunError(f"{name}: no {tool} in {own} nor on the PATH; {install}")


def check_source(source: Path | None, marker: str, remedy: str) -> Path:
    """The checkout, which has the file `marker`, on the path of imports.

    Args:
        remedy: what to do, for the message.

    Raises:
        CannotRunError: it is not there.
    """
    if source is None or not (source / marker).is_file():
        raise CannotRunError(f"source {source}: no {marker} there; {remedy}")
    if str(source) not in sys.path:
        sys.path.insert(1, str(source))
    return source


def main(program: Program, arguments: Sequence[str] | None = None) -> int:
    """Answer the requests of a folder, or only check what the system needs.

    Returns:
        0, or 1 after one line that says what is missing.
    """
    parser = argparse.ArgumentParser(description=f"{program.name} for make_audio.py (docs/systems.md).")
    parser.add_argument("folder", nargs="?", type=Path, help="the exchange folder; not with --check")
    parser.add_argument("--check", action="store_true", help="only look at weights, source and packages")
    parser.add_argument("--weights", type=Path, help="with --check: folder of the weights")
    parser.add_argument("--source", type=Path, help="with --check: checkout of the system's repository")
    given = parser.parse_args(arguments)
    if given.check == bool(given.folder):
        parser.error("give either the exchange folder or --check")
    try:
        exchange = None if given.check else Exchange.read(given.folder)
        contract: dict[str, Any] = exchange.contract if exchange else {}
        weights, source = given.weights or contract.get("weights_folder"), given.source
        source = source or contract.get("source")
        if not weights:
            raise CannotRunError("no weights: set foreign.weights_folder, or --weights with --check")
        if program.needs_source and not source:
            raise CannotRunError("no source: set foreign.source to a checkout, or --source with --check")
        places = Places(
            Path(weights).resolve(),
            Path(source).resolve() if source else None,
            (given.folder.resolve() if given.folder else Path.cwd()) / "temporary",
        )
        for what, licence in program.licences:
            print(f"{program.name}: {what}, licence {licence}", flush=True)
        program.check(places)
        check_environment(program.name, program.packages, program.install, tools=program.tools)
        if exchange is None:
            print(f"{program.name}: weights and packages are there", flush=True)
            return 0
        return _answer(program, exchange, places)
    except CannotRunError as error:
        print(error, file=sys.stderr, flush=True)
        return 1


def _answer(program: Program, exchange: Exchange, places: Places) -> int:
    settings = typed(exchange.contract["settings"], program.settings)
    requests = exchange.requests()
    if not requests:
        return 0
    places.temporary.mkdir(exist_ok=True)
    try:
        make = program.load(places, settings)
    except CannotRunError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise CannotRunError(_line(f"{program.name}: cannot be loaded ({_told(error)})")) from error
    for number, request in enumerate(requests, start=1):
        try:
            audio, rate = make(request)
            write_wav(exchange.wav(request), audio, rate)
        except Exception as error:  # the others may go well
            if not isinstance(error, CannotMakeError):
                traceback.print_exc()
            exchange.fail(request, str(error) if isinstance(error, CannotMakeError) else _told(error))
        print(f"{number} of {len(requests)}", flush=True)
    return 0


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _line(text: str) -> str:
    return " ".join(text.split())[:400]
