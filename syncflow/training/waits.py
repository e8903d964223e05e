"""Where a training or sampling step makes the CPU wait for the device; a GPU then runs out of work."""

import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

ROOT = Path(__file__).resolve().parents[2]


def waits(work: Callable[[], object]) -> list[str]:
    """Places in this repository at which `work` waits for the GPU, each once, as `file:line`."""
    before = torch.cuda.get_sync_debug_mode()
    places: list[str] = []

    def note(message: Any, *_: Any, **__: Any) -> None:
        if "synchroniz" in str(message):
            places.append(_place())

    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note  # type: ignore[assignment]
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    return list(dict.fromkeys(places))


class BlockingCopies(TorchDispatchMode):
    """Finds what would wait for a GPU where there is none: run with everything on torch's `meta` device.

    Tensors there have no numbers, so torch itself refuses to read one (`item`, `nonzero`, a boolean index).
    What is left is copies between devices that are not asked for with `non_blocking`: `places` lists them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._to_copy.default:
            to, waits = kwargs.get("device"), not kwargs.get("non_blocking", False)
            if to is not None and torch.device(to).type != args[0].device.type and waits:
                self.places.append(_place())
        elif func is torch.ops.aten.copy_.default:
            waits = not (args[2] if len(args) > 2 else kwargs.get("non_blocking", False))
            if args[0].device.type != args[1].device.type and waits:
                self.places.append(_place())
        return func(*args, **kwargs)


def _place() -> str:
    """The innermost line of this repository that leads here."""
    for frame in reversed(traceback.extract_stack()):
        path = Path(frame.filename)
        if path.is_relative_to(ROOT) and path != Path(__file__) and ".venv" not in path.parts:
            return f"{path.relative_to(ROOT)}:{frame.lineno}"
    return "elsewhere"
