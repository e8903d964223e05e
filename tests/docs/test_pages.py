"""The pages are true of the code: files that they name exist, errors that they explain are raised."""

import ast
import re
from pathlib import Path

TREES = ("syncflow", "preprocessing", "infra", "pipelines")
PATH = re.compile(
    r"`((?:syncflow|preprocessing|infra|pipelines|benchmarks|examples|tests)/[\w./-]+\.(?:py|yaml|md|txt|ipynb))`"
)
PLACE = re.compile(r"`((?:syncflow|preprocessing|infra|pipelines)/[\w./-]*)`")
MESSAGE = re.compile(r"`(.+)`")


def pages(repository: Path) -> list[Path]:
    return [
        repository / "README.md",
        repository / "CONTRIBUTING.md",
        *sorted((repository / "docs").glob("*.md")),
    ]


def test_every_file_that_a_page_names_exists(repository: Path) -> None:
    missing = [
        f"{page.name}: {name}"
        for page in pages(repository)
        for name in PATH.findall(page.read_text(encoding="utf-8"))
        if not (repository / name).is_file()
    ]
    assert not missing


def test_where_to_add_what_names_twelve_places_that_are_there(repository: Path) -> None:
    text = (repository / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text[text.index("## Where would I add") :].split("\n\n")[1].splitlines()[2:]
    places = [PLACE.findall(row.split("|")[2]) for row in table]
    assert len(places) == 12 and all(places)
    assert not [name for row in places for name in row if not (repository / name).exists()]


def messages(repository: Path) -> list[str]:
    """Every text in the code, with NUL where a value is filled in."""
    return [
        text
        for tree in TREES
        for path in (repository / tree).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (text := text_of(node))
    ]


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return ""


def test_every_error_that_is_explained_is_one_that_the_code_raises(repository: Path) -> None:
    lines = (repository / "docs" / "errors.md").read_text(encoding="utf-8").splitlines()
    explained = [found[1] for line in lines if (found := MESSAGE.fullmatch(line))]
    raised = messages(repository)
    assert len(explained) >= 25
    unknown = []
    for message in explained:
        parts = [re.escape(part.strip()) for part in message.split("…") if len(part.strip(" ;:,()")) > 2]
        pattern = re.compile(".*".join(parts), re.DOTALL)
        if not any(pattern.search(text) for text in raised):
            unknown.append(message)
    assert not unknown


def test_no_page_names_a_folder_of_this_machine(repository: Path) -> None:
    folders = (str(Path.home()) + "/", str(repository.parent) + "/")
    texts = {page.name: page.read_text(encoding="utf-8") for page in pages(repository)}
    assert not [name for name, text in texts.items() if any(folder in text for folder in folders)]
