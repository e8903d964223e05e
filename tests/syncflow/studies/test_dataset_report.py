"""The dataset report is one file that needs nothing else, and says what the manifest says."""

import re
from pathlib import Path

import numpy as np

from syncflow.data.parquet import DatasetManifest
from syncflow.data.random_dataset import write_dataset
from syncflow.html_page import bars, page, paragraph, table
from syncflow.media import write_clip
from syncflow.studies.dataset_report import write_dataset_report


def test_the_report_opens_offline_with_its_counts_and_players(tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "latents", clips=7)
    clip = tmp_path / "a.mp4"
    frames = np.zeros((8, 16, 16, 3), np.uint8)
    write_clip(clip, frames=frames, audio=np.zeros(8000, np.float32), fps=8, sample_rate=8000)
    text = write_dataset_report(dataset, [(clip, "a <b>cat</b> & a dog")]).read_text()
    places = re.findall(r'(?:src|href)="?([^">]*)', text)
    assert len(places) >= 2 and all(place.startswith("data:") for place in places), "loaded from elsewhere"
    assert "a &lt;b&gt;cat&lt;/b&gt; &amp; a dog" in text and "data:video/mp4;base64," in text
    assert f"{DatasetManifest.read(dataset).inputs:,} input clips" in text
    assert "accepted" in text and "script" not in text


def test_a_page_escapes_what_it_is_given() -> None:
    parts = [
        paragraph("<script>"),
        table(("<a>",), [("<i>", 1234, 0.5)]),
        bars(("x", "y"), [("<u>", 3), ("none", 0)]),
    ]
    text = page("<t>", parts)
    for raw in ("<script>", "<a>", "<i>", "<u>", "<t>"):
        assert raw not in text
    assert "1,234" in text and "width:20.00rem" in text and "width:0.00rem" in text
