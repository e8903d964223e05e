"""The site builds without a warning, and its generated pages hold what they are for."""

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow  # 10 s of a core: mkdocs reads all pages and all docstrings
def test_the_site_builds_without_a_warning(repository: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)],
        cwd=repository,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},  # an announcement of the theme's, as in the Makefile
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr

    settings = text_of(tmp_path / "settings" / "generate.html")
    assert "guidance.scale" in settings and "6.0" in settings and "must be given" in settings
    assert str(Path.home()) not in text_of(tmp_path / "settings" / "evaluate.html")
    api = text_of(tmp_path / "api" / "syncflow.flow.html")
    assert "sample_path" in api and "Raises" in text_of(tmp_path / "api" / "syncflow.media.html")


def text_of(page: Path) -> str:
    return html.unescape(re.sub("<[^>]+>", "", page.read_text(encoding="utf-8")))
