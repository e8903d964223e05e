"""Every golden folder has a test that reads it."""

from pathlib import Path

ELSEWHERE = ("keys",)  # names and shapes, which several tests read


def test_every_golden_folder_is_read_by_a_test(shared: Path, repository: Path) -> None:
    folders = {path.name for path in (shared / "golden").iterdir() if path.is_dir()} - {*ELSEWHERE}
    texts = "".join(path.read_text(encoding="utf-8") for path in (repository / "tests").rglob("test_*.py"))
    assert len(folders) >= 10 and {name for name in folders if f'"{name}"' not in texts} == set()
