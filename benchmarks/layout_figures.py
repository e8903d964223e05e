"""What the layout costs a reader, read from the sources: python benchmarks/layout_figures.py [FOLDER ...]

One column per checkout; for an older commit, give a `git worktree` of it. Nothing is imported.

    files, lines            Python files of syncflow, preprocessing, infra and pipelines
    under 40 lines          files but package faces, settings (`config` in the name) and pipelines
    circles                 groups of modules that import each other, imports inside functions included
    upward imports          syncflow < preprocessing < infra < pipelines; and benchmarks that import tests
    a way                   modules of ours that its entry reaches, itself included
    repeated functions      functions of four statements or more that stand in two files
"""

import ast
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

TREES = ("syncflow", "preprocessing", "infra", "pipelines")  # from the lowest floor
WAYS = {  # entry by its name now, then by earlier names
    "clip -> Parquet": ("preprocessing.worker",),
    "batch -> loss": ("syncflow.training.stage.objective", "syncflow.training.objective"),
    "prompt -> mp4": ("syncflow.generation.worker", "syncflow.systems.worker"),
}
RUN_STAGE = ("syncflow.training.stage.run", "syncflow.training.stage_run")
STATEMENTS = 4  # of a function that counts as a repetition

Modules = Mapping[str, tuple[Path, ast.Module]]


def modules_of(root: Path, trees: Iterable[str] = TREES) -> dict[str, tuple[Path, ast.Module]]:
    """Dotted name -> file and syntax tree."""
    found = {}
    for path in sorted(path for tree in trees for path in (root / tree).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = (path, ast.parse(path.read_text(encoding="utf-8")))
    return found


def imported(tree: ast.Module) -> set[str]:
    """Dotted names of all imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def edges_of(modules: Modules) -> dict[str, set[str]]:
    """Module -> the modules of ours that it imports."""
    edges = {}
    for name, (_, tree) in modules.items():
        reached = set()
        for target in imported(tree):
            while target and target not in modules:
                target = target.rpartition(".")[0]
            reached.add(target)
        edges[name] = reached - {"", name}
    return edges


def reach(edges: Mapping[str, set[str]], entry: str) -> set[str]:
    """All modules that `entry` imports, directly or not, with itself."""
    seen, waiting = {entry}, [entry]
    while waiting:
        new = edges[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def circles(edges: Mapping[str, set[str]]) -> int:
    """Groups of modules that reach each other."""
    everything = {name: reach(edges, name) for name in edges}
    groups = {
        frozenset(other for other in reached if name in everything[other])
        for name, reached in everything.items()
    }
    return sum(len(group) > 1 for group in groups)


def repeated(modules: Modules) -> int:
    """Functions whose body stands, name aside, in more than one file."""
    places = defaultdict(set)
    for name, (_, tree) in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and len(node.body) >= STATEMENTS:
                places["\n".join(map(ast.dump, node.body))].add(name)
    return sum(len(names) > 1 for names in places.values())


def figures(root: Path) -> dict[str, object]:
    """The figures of one checkout."""
    modules = modules_of(root)
    edges = edges_of(modules)
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, (path, _) in modules.items()}
    files = {name: count for name, count in lines.items() if modules[name][0].name != "__init__.py"}
    largest = max(files, key=files.__getitem__)
    floor = {tree: number for number, tree in enumerate(TREES)}
    upward = sum(
        floor[target.partition(".")[0]] > floor[name.partition(".")[0]]
        for name, targets in edges.items()
        for target in targets
    )
    upward += sum(
        any(name.partition(".")[0] == "tests" for name in imported(tree))
        for _, tree in modules_of(root, ["benchmarks"]).values()
    )
    small = [n for n, c in files.items() if c < 40 and "config" not in n and not n.startswith("pipelines.")]
    run_stage = next(name for name in RUN_STAGE if name in modules)
    result: dict[str, object] = {
        "files": len(files),
        "median lines": int(statistics.median(files.values())),
        "largest file": f"{files[largest]} ({largest})",
        "under 40 lines": len(small),
        "circles": circles(edges),
        "upward imports": upward,
        "imports of run_stage": len(edges[run_stage]),
        "repeated functions": repeated(modules),
    }
    for way, entries in WAYS.items():
        result[f"modules: {way}"] = len(reach(edges, next(name for name in entries if name in modules)))
    return result


def main() -> None:
    roots = [Path(argument) for argument in sys.argv[1:]] or [Path(__file__).resolve().parents[1]]
    columns = [figures(root) for root in roots]
    print("| |", " | ".join(str(root) for root in roots), "|")
    print("|---|" + "---|" * len(roots))
    for name in columns[0]:
        print(f"| {name} |", " | ".join(str(column[name]) for column in columns), "|")


if __name__ == "__main__":
    main()
