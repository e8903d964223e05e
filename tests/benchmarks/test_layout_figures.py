"""The figures of the layout: of this checkout, and on sources whose figures are known."""

from pathlib import Path

from benchmarks.layout_figures import circles, figures, modules_of, repeated


def test_this_checkout_has_no_circle_no_upward_import_and_no_repeated_function(repository: Path) -> None:
    found = figures(repository)
    assert [found[name] for name in ("circles", "upward imports", "repeated functions")] == [0, 0, 0]


def test_circles_and_repetitions_are_found_where_they_are(tmp_path: Path) -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == 1
    body = "    a = 1\n    b = a + 1\n    c = b + 1\n    return c\n"
    (tmp_path / "syncflow").mkdir()
    for name in ("one", "two"):
        (tmp_path / "syncflow" / f"{name}.py").write_text(f"def {name}():\n{body}")
    assert repeated(modules_of(tmp_path)) == 1
