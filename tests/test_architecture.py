"""The floors of the house (docs/architecture.md): who may import whom, read from the imports themselves."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

TREES = ("syncflow", "preprocessing", "infra", "pipelines")
EXECUTORS = {"ray", "deepspeed", "mlflow"}
PLAIN = (
    "errors",
    "files",
    "shipped",
    "version",
    "hints",
    "html_page",
    "job_places",
    "jobs",
    "preset",
    "config",
    "command_ending",
    "command_line",
    "records",
    "hashing",
    "noise",
    "pixels",
    "storage",
    "printable",
    "text_config",
    "weight_files",
    "places",
    "pretrained",
)  # floor 1a

LAUNCHERS = {  # of infra: what asks processes and machines, not Ray, DeepSpeed or MLflow
    "infra.executors.supervisor",
    "infra.tracking.points",
    "infra.cluster.config",
    "infra.cluster.steps",
}

# room -> the rooms of ours that it may import, besides itself and floor 1a
ALLOWED: dict[str, set[str]] = {
    "syncflow.media": set(),
    "syncflow.onsets": set(),
    "syncflow.text": set(),
    "syncflow.autoencoders": set(),
    "syncflow.model": set(),
    "syncflow.flow": set(),
    "syncflow.checkpoint": {"syncflow.model"},
    "syncflow.conversion": {"syncflow.autoencoders", "syncflow.model", "syncflow.media"},
    "syncflow.data": {"syncflow.autoencoders", "syncflow.text", "syncflow.media"},
    "syncflow.evaluation": {"syncflow.media", "syncflow.onsets"},
    "syncflow.training": {
        "syncflow.checkpoint",
        "syncflow.model",
        "syncflow.flow",
        "syncflow.data",
        "syncflow.autoencoders",
        "syncflow.media",
    },
    "syncflow.foleygen": {
        "syncflow.autoencoders",
        "syncflow.data",
        "syncflow.evaluation",
        "syncflow.media",
        "syncflow.training",
    },
    "syncflow.sampling": {
        "syncflow.checkpoint",
        "syncflow.model",
        "syncflow.flow",
        "syncflow.autoencoders",
        "syncflow.text",
    },
    "syncflow.generation": {
        "syncflow.checkpoint",
        "syncflow.sampling",
        "syncflow.model",
        "syncflow.flow",
        "syncflow.autoencoders",
        "syncflow.text",
        "syncflow.media",
    },
    "syncflow.serving": {
        "syncflow.sampling",
        "syncflow.generation",
        "syncflow.evaluation",
        "syncflow.media",
        "syncflow.data.parquet",
    },
    "syncflow.studies": {
        "syncflow.checkpoint",
        "syncflow.training",
        "syncflow.generation",
        "syncflow.sampling",
        "syncflow.evaluation",
        "syncflow.data",
        "syncflow.model",
        "syncflow.flow",
        "syncflow.autoencoders",
        "syncflow.text",
        "syncflow.media",
        "syncflow.onsets",
        "syncflow.systems",
    },
    "syncflow.systems": {
        "syncflow.data.parquet",
        "syncflow.foleygen",
        "syncflow.generation",
        "syncflow.media",
        "syncflow.sampling",
    },
    "preprocessing": {
        "syncflow.media",
        "syncflow.onsets",
        "syncflow.text",
        "syncflow.autoencoders",
        "syncflow.data",
        "syncflow.foleygen",
    },
}


def sources(tree: str, root: Path) -> list[Path]:
    return sorted((root / tree).rglob("*.py"))


def module_name(path: Path, root: Path) -> str:
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
    return found


def inside(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


@pytest.fixture(scope="module")
def graph(repository: Path) -> dict[str, set[str]]:
    return {module_name(p, repository): imports(p) for tree in TREES for p in sources(tree, repository)}


def ours(names: set[str]) -> set[str]:
    return {name for name in names if name.split(".")[0] in TREES}


def bound(tree: ast.Module) -> set[str]:
    """Names that a module binds outside functions and classes."""
    names, waiting = set(), list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        else:
            waiting += ast.iter_child_nodes(node)
    return names


def test_every_import_of_ours_names_what_is_there(repository: Path) -> None:
    """Imports inside functions among them, which only some tests would run."""
    trees = (*TREES, "tests", "benchmarks", "examples")
    parsed = {
        path: ast.parse(path.read_text("utf-8")) for tree in trees for path in sources(tree, repository)
    }
    there = {module_name(path, repository): bound(tree) for path, tree in parsed.items()}
    wrong = [
        f"{path.relative_to(repository)}: {node.module} has no {alias.name}"
        for path, tree in parsed.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in TREES
        for alias in node.names
        if f"{node.module}.{alias.name}" not in there
        and not {alias.name, "__getattr__"} & there.get(node.module or "", set())
    ]
    assert not wrong


def test_only_infra_and_pipelines_know_the_executors(graph: dict[str, set[str]]) -> None:
    wrong = {
        module: bad
        for module, names in graph.items()
        if module.split(".")[0] in ("syncflow", "preprocessing")
        and (bad := {n for n in names if n.split(".")[0] in EXECUTORS})
    }
    assert not wrong


def test_nothing_imports_upward(graph: dict[str, set[str]]) -> None:
    floor = {"syncflow": 1, "preprocessing": 2, "infra": 3, "pipelines": 4}
    wrong = {
        module: bad
        for module, names in graph.items()
        if (bad := {n for n in ours(names) if floor[n.split(".")[0]] > floor[module.split(".")[0]]})
    }
    assert not wrong


def test_nobody_imports_a_pipeline(graph: dict[str, set[str]]) -> None:
    assert not {m: n for m, names in graph.items() if (n := {x for x in names if inside(x, "pipelines")})}


def test_no_source_imports_tests_or_benchmarks(repository: Path) -> None:
    trees = (*TREES, "benchmarks", "examples")
    wrong = {
        str(path.relative_to(repository)): bad
        for tree in trees
        for path in sources(tree, repository)
        if (
            bad := {
                name
                for name in imports(path)
                if inside(name, "tests") or (inside(name, "benchmarks") and tree != "benchmarks")
            }
        )
    }
    assert not wrong


def test_what_lies_in_infra_needs_an_executor(graph: dict[str, set[str]]) -> None:
    """A module imports Ray, DeepSpeed or MLflow, or modules of infra that do; all else is the library's."""
    infra = {m: names for m, names in graph.items() if inside(m, "infra")}

    def needs(module: str, seen: frozenset[str] = frozenset()) -> bool:
        return any(
            name.split(".")[0] in EXECUTORS
            or (name in infra and name not in seen and needs(name, seen | {module}))
            for name in infra[module]
        )

    plain = {m for m in infra if not needs(m) and "." in m and infra[m]}
    assert plain <= LAUNCHERS, plain - LAUNCHERS


def test_every_folder_of_modules_is_a_package(repository: Path) -> None:
    folders = {path.parent for tree in TREES for path in sources(tree, repository)}
    assert not {str(folder) for folder in folders if not (folder / "__init__.py").is_file()}


def test_a_file_is_one_idea(repository: Path) -> None:
    """The design's length is 60 to 350 lines; over 400 it is two ideas."""
    long = {
        str(path.relative_to(repository)): count
        for tree in (*TREES, "benchmarks")
        for path in sources(tree, repository)
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert not long


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_the_rooms_below_it(room: str, graph: dict[str, set[str]]) -> None:
    allowed = {room, *ALLOWED[room], *(f"syncflow.{name}" for name in PLAIN)}
    members = {m: names for m, names in graph.items() if inside(m, room)}
    assert members, f"no such room: {room}"
    wrong = {}
    for module, names in members.items():
        bad = {n for n in ours(names) if not any(inside(n, a) for a in allowed)}
        if bad:
            wrong[module] = bad
    assert not wrong


def test_there_are_no_circles(graph: dict[str, set[str]]) -> None:
    edges = {
        module: {max((m for m in graph if inside(n, m)), key=len, default="") for n in ours(names)}
        - {module, ""}
        for module, names in graph.items()
    }
    state: dict[str, int] = {}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert state.get(module) != 1, f"circle: {' -> '.join((*trail, module))}"
        if state.get(module) == 2:
            return
        state[module] = 1
        for target in edges.get(module, ()):
            visit(target, (*trail, module))
        state[module] = 2

    for module in edges:
        visit(module, ())


def test_pipelines_are_short_and_define_no_class(repository: Path) -> None:
    for path in sources("pipelines", repository):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 80, f"{path.name}: over 80 lines"
        tree = ast.parse(text)
        assert not [n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)], f"{path.name}: defines a class"


def test_there_is_no_drawer_for_everything(repository: Path) -> None:
    assert not [
        p for tree in TREES for p in sources(tree, repository) if p.stem in ("utils", "helpers", "misc")
    ]


def test_importing_the_package_is_light() -> None:
    code = "import sys, syncflow; print(sorted({'torch', 'ray', 'diffusers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        ("infra.launch.stage, infra.launch.autoencoder, infra.launch.foleygen", set()),
        ("syncflow.generation.run, syncflow.studies.scores, infra.tracking.scores", {"torch"}),
    ],
)
def test_what_starts_workers_or_counts_imports_no_models(modules: str, heavy: set[str]) -> None:
    """Driver and Ray Train's controller import what names the workers' function: seconds of each job."""
    heavy = heavy | {"diffusers", "transformers", "deepspeed", "mlflow", "peft"}
    code = f"import sys, {modules}; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
