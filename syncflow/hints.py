"""What a mistyped name of a setting may have meant."""

import difflib
from collections.abc import Collection

SHOWN = 3  # names in a hint


def nearest(name: str, valid: Collection[str], *, prefix: str = "") -> str:
    """A hint with the valid names nearest to a mistyped one.

    A name without its group (`lr`, `coupling.method`) means the dotted ones that end in it; else the names
    that are spelt alike, or go on where it ends, are offered. `prefix` (as `--`) stands before each.
    """
    close = _ending_in(name, valid) or _spelt_like(name, valid) or _beginning_with(name, valid)
    if not close:
        return "--help lists the valid ones"
    shown = " or ".join(repr(prefix + each) for each in close[:SHOWN])
    return f"did you mean {shown}?"


def _ending_in(name: str, valid: Collection[str]) -> list[str]:
    """Names of which `name` is the end, the shallowest first."""
    ends = [each for each in valid if f".{each}".endswith(f".{name}") and each != name]
    return sorted(ends, key=lambda each: (each.count("."), each))


def _spelt_like(name: str, valid: Collection[str]) -> list[str]:
    """The whole names, and the leaves, that are spelt most like it."""
    whole = difflib.get_close_matches(name, valid, n=1, cutoff=0.6)
    leaf = name.rpartition(".")[2]
    leaves = {each.rpartition(".")[2] for each in valid}
    same = difflib.get_close_matches(leaf, leaves, n=1, cutoff=0.7)
    found = [] if whole else [each for each in valid if same and each.rpartition(".")[2] == same[0]]
    return whole or sorted(found, key=lambda each: (each.count("."), each))


def _beginning_with(name: str, valid: Collection[str]) -> list[str]:
    """Names whose leaf goes on where `name` ends."""
    return sorted(each for each in valid if each.rpartition(".")[2].startswith(name))
