"""The program that `unpickle` runs apart: pickled files to safetensors files.

It imports nothing of ours, since it runs isolated (`python -I`). torch's weights-only unpickler makes
tensors and plain containers and refuses everything else; memory and the size of what is written are
limited by the kernel.
"""

import json
import resource
import sys
import zipfile
from typing import Any

import torch
from safetensors.torch import save_file

REFUSED = 3  # exit status; the reason is the last line of standard error
DEPTH = 3  # how deep in dictionaries the tensors are looked for
WRAPPER = "module."  # what DistributedDataParallel puts before each name


def main() -> int:
    """Read a request (JSON) from the first argument, write the files, print what they hold (JSON lines)."""
    request = json.loads(sys.argv[1])
    _limit(request["memory_bytes"])
    for path, target in request["files"]:
        try:
            print(json.dumps(convert(path, target, entry=request["entry"])), flush=True)
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                return _refuse(f"{path}: needs over {request['memory_bytes'] / 2**30:.3g} GiB")
            return _refuse(f"{path}: {error}")
        except Exception as error:  # whatever a damaged or hostile file brings about
            return _refuse(f"{path}: {str(error) or type(error).__name__}")
    return 0


def convert(path: str, target: str, *, entry: str) -> dict[str, Any]:
    """One file; what it held.

    Args:
        target: path of the safetensors file.
    """
    loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    entry, found = choose(loaded, entry)
    tensors, left_out = plain_tensors(found)
    save_file(tensors, target, metadata={"format": "pt"})
    return {"entry": entry, "names": sorted(tensors), "left_out": left_out}


def choose(loaded: Any, entry: str) -> tuple[str, dict[str, Any]]:
    """The dictionary of tensors at `entry`, or the only one that there is; and where it was.

    Raises:
        ValueError: there is none there, none at all, or more than one.
    """
    if entry:
        found = loaded
        for key in entry.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if not isinstance(found, dict) or not _tensors(found):
            raise ValueError(f"no tensors at entry {entry!r}; there are some at: {_told(loaded)}")
        return entry, found
    places = dict(_places(loaded, "", DEPTH))
    if len(places) != 1:
        if not places:
            raise ValueError("no tensors by name in it")
        raise ValueError(f"tensors in several places ({_told(loaded)}); choose with --entry")
    return next(iter(places.items()))


def _places(value: Any, where: str, depth: int) -> list[tuple[str, dict[str, Any]]]:
    """Dictionaries of which at least half is tensors, by their dotted keys; they are not searched further."""
    if not isinstance(value, dict) or depth == 0:
        return []
    if value and 2 * _tensors(value) >= len(value):
        return [(where, value)]
    return [
        place
        for key, item in value.items()
        for place in _places(item, f"{where}.{key}" if where else str(key), depth - 1)
    ]


def _tensors(value: dict[Any, Any]) -> int:
    return sum(isinstance(item, torch.Tensor) for item in value.values())


def _told(loaded: Any) -> str:
    places = [f"{where or 'the top'} ({_tensors(items)})" for where, items in _places(loaded, "", DEPTH)]
    return ", ".join(places) or "nowhere"


def plain_tensors(found: dict[str, Any]) -> tuple[dict[str, torch.Tensor], list[str]]:
    """Each tensor in memory of its own, under its name without `module.`; and the names that hold none.

    Raises:
        ValueError: a tensor that is sparse or quantised, or larger than what is stored of it.
    """
    names = [str(name) for name, item in found.items() if isinstance(item, torch.Tensor)]
    wrapped = all(name.startswith(WRAPPER) for name in names)
    tensors: dict[str, torch.Tensor] = {}
    left_out = []
    for key, item in found.items():
        name = str(key).removeprefix(WRAPPER) if wrapped else str(key)
        if not isinstance(item, torch.Tensor):
            left_out.append(name)
            continue
        if item.layout != torch.strided or item.is_quantized:
            raise ValueError(f"{name}: sparse or quantised; only plain tensors can be converted")
        if item.numel() * item.element_size() > item.untyped_storage().nbytes():
            raise ValueError(f"{name}: {list(item.shape)}, and less than that is stored")
        tensors[name] = _own(item.detach(), tensors)
    return tensors, left_out


def _own(tensor: torch.Tensor, before: dict[str, torch.Tensor]) -> torch.Tensor:
    """The tensor itself, or a copy where it shares memory with one before (tied weights) or is a view."""
    storage = tensor.untyped_storage()
    whole = tensor.is_contiguous() and storage.nbytes() == tensor.numel() * tensor.element_size()
    shared = any(storage.data_ptr() == each.untyped_storage().data_ptr() for each in before.values())
    return tensor if whole and not shared else tensor.clone(memory_format=torch.contiguous_format)


def _limit(memory_bytes: int) -> None:
    """Memory beyond what the imports took, and the size of a written file (Linux alone)."""
    if not sys.platform.startswith("linux"):
        return
    with open("/proc/self/statm", encoding="ascii") as stream:  # noqa: PTH123
        now = int(stream.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + memory_bytes, now + memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (memory_bytes, memory_bytes))


def _refuse(reason: str) -> int:
    print(" ".join(reason.split())[:500], file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
