"""Pickled weights -> safetensors: those of a folder, a file or a hub id, each file in a child process.

    <output>/model.safetensors                       or model-00001-of-00002.safetensors ... and
             model.safetensors.index.json            which file holds which tensor, where there are several
             config.json, tokenizer files            copied
             conversion.json                         hashes of every file before and after

The folder is written under a temporary name and renamed when it is whole.
"""

import json
import re
import resource
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from syncflow.conversion.config import ConvertConfig
from syncflow.errors import UserError
from syncflow.hashing import file_sha256
from syncflow.media.errors import MediaError
from syncflow.media.process import run_command
from syncflow.version import __version__
from syncflow.weight_files import PICKLED, pickled_files

CHILD = Path(__file__).with_name("unpickle_child.py")
NOTE = "conversion.json"
WHOLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED_INDEX = "pytorch_model.bin.index.json"
BESIDE = ("*.json", "*.model", "*.txt")  # configuration, tokenizers and their vocabularies
LISTING_BYTES = 64 << 20  # of names and sizes that a child may print
GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is to convert."""

    folder: Path
    weights: list[Path]
    beside: list[Path] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What a child made of one file."""

    file: str
    entry: str
    names: list[str]
    left_out: list[str]


def convert_to_safetensors(config: ConvertConfig) -> Path:
    """Write the folder (or the one file) that `config.output` names; what is there already is left.

    Raises:
        UserError: no weights there, more in a pickled file than tensors, several places of tensors in it,
            or an output that holds something else.
    """
    found = find_weights(config.source)
    single = config.output.suffix == ".safetensors"
    if single and len(found.weights) > 1:
        raise UserError(
            f"output {config.output}: one file, and {found.folder} has {len(found.weights)}; give a folder"
        )
    note = config.output.with_name(f"{config.output.name}.json") if single else config.output / NOTE
    before = {path.name: file_sha256(path) for path in found.weights}
    if config.output.exists():
        _check_same(note, before, config)
        print(f"{config.output}: converted before; nothing to do", flush=True)
        return config.output
    partial = config.output.with_name(f".{config.output.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        converted = _convert_files(found.weights, partial, config)
        after = {each.file: file_sha256(partial / each.file) for each in converted}
        values = {
            "source": config.source,
            "entry": config.entry,
            "entries": {name: each.entry for name, each in zip(before, converted, strict=True)},
            "left_out": sorted(name for each in converted for name in each.left_out),
            "sha256_before": before,
            "sha256_after": after,
            "version": __version__,
        }
        written = partial / (note.name if single else NOTE)
        written.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
        if single:
            written.replace(note)
            (partial / converted[0].file).rename(config.output)
        else:
            _finish_folder(found, converted, partial)
            partial.rename(config.output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    tensors = sum(len(each.names) for each in converted)
    print(f"{config.output}: {tensors} tensors of {len(before)} files; hashes in {note}", flush=True)
    return config.output


def find_weights(source: str) -> Found:
    """The weights of a folder, of a file, or of a hub id: safetensors where there are any, else pickled ones.

    Raises:
        UserError: none, several of which one must be chosen, or an index that names files elsewhere.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return Found(folder=path.parent, weights=[path])
    folder = path if path.is_dir() else _from_hub(source)
    beside = sorted(
        each
        for pattern in BESIDE
        for each in folder.glob(pattern)
        if not each.name.endswith(".bin.index.json") and each.name != NOTE
    )
    weights = sorted(folder.glob("*.safetensors")) or _pickled(folder)
    return Found(folder=folder, weights=weights, beside=beside)


def _from_hub(source: str) -> Path:
    from syncflow.autoencoders.loading import download  # imports torch, which this process does not need

    folder = download(source, setting="source", patterns=[*BESIDE, "*.safetensors"])
    if any(folder.glob("*.safetensors")):
        return folder
    return download(source, setting="source", patterns=[*BESIDE, *(f"*{suffix}" for suffix in PICKLED)])


def _pickled(folder: Path) -> list[Path]:
    index = folder / PICKLED_INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{index}: cannot be read ({error!r}); copy the folder again") from None
        outside = [name for name in names if not isinstance(name, str) or Path(name).name != name]
        missing = [name for name in names if name not in outside and not (folder / name).is_file()]
        if outside or missing:
            raise UserError(
                f"{index}: names {(outside or missing)[0]!r}, no file beside it; copy all of the folder"
            )
        return [folder / name for name in names]
    whole = folder / "pytorch_model.bin"
    if whole.is_file():
        return [whole]
    found = pickled_files(folder)
    if len(found) != 1:
        told = f"several: {', '.join(path.name for path in found)}; give one of them" if found else "none"
        raise UserError(f"source {folder}: weights (.safetensors, {', '.join(PICKLED)}): {told}")
    return found


def _convert_files(files: Sequence[Path], target: Path, config: ConvertConfig) -> list[Converted]:
    if files[0].suffix == ".safetensors":
        converted = [_copied(file, target / file.name) for file in files]
    else:
        print(f"reading {', '.join(map(str, files))} in a child process", flush=True)
        converted = unpickle(files, target, config)
    seen: dict[str, str] = {}
    for file, made in zip(files, converted, strict=True):
        for name in made.names:
            if name in seen:
                raise UserError(f"{file}: {name} is in {seen[name]} too; copy the folder again")
            seen[name] = file.name
    return converted


def unpickle(files: Sequence[Path], target: Path, config: ConvertConfig) -> list[Converted]:
    """Convert files, one after the other, in one child process with limits on memory and time.

    Args:
        target: folder of the safetensors.

    Raises:
        UserError: the child refused one: it holds more than tensors, or too much.
    """
    count = len(files)
    names = (
        [WHOLE] if count == 1 else [f"model-{k:05}-of-{count:05}.safetensors" for k in range(1, count + 1)]
    )
    largest = max(file.stat().st_size for file in files)
    request = {
        "files": [
            [str(file.resolve()), str(target.resolve() / name)]
            for file, name in zip(files, names, strict=True)
        ],
        "entry": config.entry,
        "memory_bytes": round(config.memory_gib * GIB) or 3 * largest + 2 * GIB,
    }
    try:
        done = run_command(
            [sys.executable, "-I", str(CHILD), json.dumps(request)],
            timeout_s=config.timeout_s,
            memory_bytes=resource.RLIM_INFINITY,  # the child sets its own, on top of its imports
            output_bytes=(LISTING_BYTES,),
        )
    except MediaError as error:
        raise UserError(f"{files[0]}: {error}; raise --timeout-s or take another copy") from None
    if done.returncode:
        said = done.messages.strip().splitlines() or [f"{files[0]}: ended with status {done.returncode}"]
        raise UserError(f"not converted: {_plainly(said[-1])}")
    made = [json.loads(line) for line in bytes(done.outputs[0]).splitlines()]
    return [Converted(file=name, **each) for name, each in zip(names, made, strict=True)]


def _plainly(said: str) -> str:
    """What torch says of a pickle, without its advice to switch the check off."""
    if not re.search(r"nsupported (global|operand|class)|eights.only", said):
        return said
    file, name = said.partition(": ")[0], re.search(r"GLOBAL ([\w.]+)", said)
    what = name[1] if name else "more than tensors"
    return f"{file} holds {what}, which weights do not need; take weights from elsewhere"


def _copied(file: Path, target: Path) -> Converted:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as stream:
            names = list(stream.keys())
    except (OSError, SafetensorError) as error:
        raise UserError(f"{file}: cannot be read ({error}); copy it again") from None
    shutil.copyfile(file, target)
    return Converted(file=target.name, entry="", names=names, left_out=[])


def _finish_folder(found: Found, converted: Sequence[Converted], partial: Path) -> None:
    """Copy what lies beside the weights, and write the index that transformers expects of several files."""
    for path in found.beside:
        shutil.copyfile(path, partial / path.name)
    if len(converted) == 1 or found.weights[0].suffix == ".safetensors":  # these bring their own index
        return
    index = {
        "metadata": {"total_size": sum((partial / each.file).stat().st_size for each in converted)},
        "weight_map": {name: each.file for each in converted for name in each.names},
    }
    (partial / INDEX).write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def _check_same(note: Path, before: dict[str, str], config: ConvertConfig) -> None:
    try:
        values = json.loads(note.read_text(encoding="utf-8"))
        same = values["sha256_before"] == before and values["entry"] == config.entry
    except (OSError, ValueError, KeyError, TypeError):
        same = False
    if not same:
        raise UserError(
            f"output {config.output}: exists, and was not converted from these files; give another folder or "
            "remove it"
        )
