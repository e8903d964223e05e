"""A pytest plugin: which tests `make test-fast` runs, and how the list of those it leaves out is kept true.

`longer_tests.txt` names, one per line, the test functions that take `LONGER` seconds of a core or more: all
cases of a function together, each with what the fixtures cost that it shares with others. A test that is not
listed is run, so a new one is. A file that has only listed or marked tests is not even imported.

    pytest --fast         all tests but the listed ones and those marked `slow`, `ray`, `gpu` or `weights`
    pytest --list-longer  as usual, in one process; then rewrites the lines of the functions that it ran

A test that is neither listed nor marked fails where it takes `TOO_LONG` seconds of a core; `--fast` names, at
the end, those of `NOTED` seconds.
"""

import ast
import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("longer_tests.txt")
LONGER = 0.3
NOTED = 1.5  # seconds on the clock that `--fast` speaks of
TOO_LONG = 10.0
MARKED = {"slow", "ray", "gpu", "weights"}

started = pytest.StashKey[float]()


def cpu_seconds() -> float:
    """Seconds of a core that this process and its finished children have taken."""
    return sum(os.times()[:4])


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("time of tests")
    group.addoption(
        "--fast", action="store_true", help=f"leave out what {LIST.name} lists and what is marked"
    )
    group.addoption(
        "--list-longer", action="store_true", help=f"rewrite {LIST.name} by what this run measures"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Times(config), "times")


class Times:
    """Seconds of a core that each test function takes."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.root = config.rootpath
        self.listed = set(LIST.read_text(encoding="utf-8").split()) if LIST.exists() else set()
        self.fixtures: dict[tuple[str, str], float] = {}  # (node that shares it, name) -> seconds
        self.in_fixtures = 0.0
        self.functions: dict[str, float] = defaultdict(float)

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        """With `--fast`, no file is imported that has only listed or marked tests."""
        if not self.config.option.fast or not collection_path.match("test_*.py"):
            return None
        file = collection_path.relative_to(self.root).as_posix()
        body = ast.parse(collection_path.read_text(encoding="utf-8")).body
        if any(ast.unparse(node).startswith("pytestmark") and attributes_of(node) & MARKED for node in body):
            return True
        tests = [node for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
        left = [t for t in tests if f"{file}::{t.name}" not in self.listed and not decorators_of(t) & MARKED]
        return True if not left else None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.config.option.fast:
            out = [item for item in items if self.is_longer(item)]
            items[:] = [item for item in items if not self.is_longer(item)]
            self.config.hook.pytest_deselected(items=out)

    def is_longer(self, item: pytest.Item) -> bool:
        """Whether the test is listed or marked."""
        return function_of(item) in self.listed or any(item.get_closest_marker(name) for name in MARKED)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef, request: pytest.FixtureRequest
    ) -> Iterator[None]:
        before = cpu_seconds()
        result = yield
        if fixturedef.scope != "function":
            seconds = cpu_seconds() - before
            self.in_fixtures += seconds
            key = (request.node.nodeid, fixturedef.argname)
            self.fixtures[key] = max(seconds, self.fixtures.get(key, 0))
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        before, self.in_fixtures = cpu_seconds(), 0.0
        item.stash[started] = before
        result = yield
        own = cpu_seconds() - before - self.in_fixtures
        nodes = [node.nodeid for node in item.listchain()]
        shared = sum(self.fixtures.get((n, f), 0) for n in nodes for f in getattr(item, "fixturenames", ()))
        self.functions[function_of(item)] += own + shared
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
        report = yield
        seconds = cpu_seconds() - item.stash[started]
        if report.when == "call" and report.passed and seconds > TOO_LONG and not self.is_longer(item):
            report.outcome = "failed"
            report.longrepr = (
                f"{seconds:.1f} s of a core, over {TOO_LONG:g} s, and neither marked `slow` nor in "
                f"{LIST.name}: make it faster, or add it by pytest --list-longer {function_of(item)}"
            )
        return report

    def pytest_sessionfinish(self) -> None:
        if self.config.option.list_longer:
            longer = {name for name, seconds in self.functions.items() if seconds >= LONGER}
            kept = self.listed - set(self.functions)
            lines = sorted(name for name in kept | longer if (self.root / name.partition("::")[0]).is_file())
            LIST.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.config.option.fast:
            return
        seconds: dict[str, float] = defaultdict(float)
        for report in (r for each in terminalreporter.stats.values() for r in each if hasattr(r, "duration")):
            seconds[report.nodeid.partition("[")[0]] += report.duration
        for name in sorted(name for name, each in seconds.items() if each > NOTED):
            terminalreporter.write_line(f"{seconds[name]:.1f} s: to list it, pytest --list-longer {name}")


def function_of(item: pytest.Item) -> str:
    """`tests/test_x.py::test_y`, of all of its cases."""
    return item.nodeid.partition("[")[0]


def attributes_of(node: ast.AST) -> set[str]:
    """Names of all attributes in a piece of code: `ray` of `pytest.mark.ray`."""
    return {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}


def decorators_of(function: ast.FunctionDef) -> set[str]:
    """Names of all attributes in its decorators."""
    return {name for decorator in function.decorator_list for name in attributes_of(decorator)}
