"""Every parameter of a public function with three or more is explained somewhere that a reader finds.

In the docstring of the function or of its class; by its type, where that is a type of ours; by the help text
of the setting of the same name; or in the table of parameters of docs/glossary.md.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TREES = ("syncflow", "preprocessing", "infra", "pipelines")
FEWEST = 3  # parameters of a function that has to explain them
SPECIAL = {"__init__", "__call__"}


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.fixture(scope="module")
def modules(repository: Path) -> dict[str, ast.Module]:
    paths = sorted(path for tree in TREES for path in (repository / tree).rglob("*.py"))
    return {str(path.relative_to(repository)): ast.parse(path.read_text("utf-8")) for path in paths}


def classes_of(tree: ast.Module) -> list[ast.ClassDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name[0] != "_"]


def settings_of(cls: ast.ClassDef) -> Iterator[str]:
    """Fields with a help text under them."""
    for field, text in zip(cls.body, cls.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            yield ast.unparse(field.target)


def functions(body: list[ast.stmt], cls: ast.ClassDef | None = None) -> Iterator[tuple[ast.FunctionDef, str]]:
    """Public functions and methods, with what their docstrings and that of their class say."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from functions(node.body, node)
        elif isinstance(node, ast.FunctionDef) and (node.name in SPECIAL or not node.name.startswith("_")):
            yield node, " ".join(filter(None, (ast.get_docstring(node), cls and ast.get_docstring(cls))))


def test_every_parameter_of_a_public_function_is_explained(
    modules: dict[str, ast.Module], repository: Path
) -> None:
    glossary = (repository / "docs" / "glossary.md").read_text("utf-8")
    table = glossary[glossary.index("## Parameters") :]
    known = {name for line in table.splitlines() if line[:3] == "| `" for name in words(line.split("|")[1])}
    types = {cls.name for tree in modules.values() for cls in classes_of(tree)}
    known |= {
        name
        for tree in modules.values()
        for cls in classes_of(tree)
        if any(ast.unparse(base).endswith("Config") for base in cls.bases)
        for name in settings_of(cls)
    }
    unexplained = []
    for path, tree in modules.items():
        for function, text in functions(tree.body):
            arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
            arguments = [each for each in arguments if each.arg not in ("self", "cls")]
            if len(arguments) < FEWEST:
                continue
            explained = known | words(text)
            unexplained += [
                f"{path}:{function.lineno} {function.name}: {each.arg}"
                for each in arguments
                if each.arg not in explained
                and not (each.annotation and words(ast.unparse(each.annotation)) & types)
            ]
    assert not unexplained, f"{len(unexplained)} parameters: " + "\n".join(unexplained)
