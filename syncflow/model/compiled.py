"""torch.compile for the blocks that repeat, by the settings that ask for it."""

import os
import shutil

from syncflow.errors import UserError
from syncflow.model.dual_dit import DualDiT


def compile_blocks(model: DualDiT, *, setting: str) -> None:
    """Compile each kind of block once, when it is first called.

    Raises:
        UserError: no C++ compiler, for which torch.compile would write; it names `setting`.
    """
    names = [name for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name]
    if not any(shutil.which(name) for name in names):
        looked_for = ", ".join(names)
        raise UserError(f"{setting}: no C++ compiler on PATH ({looked_for}); install g++, or leave it off")
    model.compile_repeated_blocks()
