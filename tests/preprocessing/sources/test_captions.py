"""Captions that exist already."""

import json

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocessing.sources import read_source
from preprocessing.sources.captions import read_captions
from preprocessing.sources.config import SourceConfig
from syncflow.errors import UserError

ROWS = [
    {"clip_id": "a", "caption": "a dog\n barks", "window": None},
    {"clip_id": "a", "caption": "it runs", "window": 2},
    {"clip_id": "b", "caption": "rain", "window": None},
]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_kind_of_file_gives_the_same_captions(tmp_path, kind):
    path = tmp_path / f"captions.{kind}"
    if kind == "csv":
        path.write_bytes(
            b'\xef\xbb\xbfid,caption,window\r\na,"a dog\r\n barks",\r\na,it runs,2\r\nb,rain,\r\n'
        )
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in ROWS))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    captions = read_captions(path)
    assert captions.clip("x", "a") == "a dog barks" and captions.clip("b") == "rain"
    assert captions.windows("a") == ("", "", "it runs") and captions.windows("b") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,caption\na,x\na,y\n", "line 3.*'a' comes twice"),
        ("id,caption,window\na,x,1\na,y,1\n", "line 3.*clip 'a': 1 comes twice"),
        ("id,caption,window\na,x,-1\n", "line 2: window '-1'"),
        ("id,text\na,x\n", "line 2: expected clip_id, caption"),
    ],
)
def test_a_bad_line_is_refused_with_its_number(tmp_path, text, message):
    path = tmp_path / "captions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_captions(path)


def test_captions_of_windows_reach_the_clip(tmp_path):
    (tmp_path / "a.mp4").touch()
    captions = tmp_path / "captions.csv"
    captions.write_text("id,caption,window\na,a dog,\na.mp4,it runs,1\n")
    (ref,) = read_source(SourceConfig(root=str(tmp_path), captions=captions))
    assert (ref.caption, ref.window_captions) == ("a dog", ("", "it runs"))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_long_captions_and_other_scripts_are_taken_whole(tmp_path, kind):
    """A megabyte is more than a csv reader takes by default."""
    told = {
        "a": "犬が吠える、雨の中で。",
        "b": "كلب ينبح",
        "c": "a dog \U0001f415 " * 80_000,
        "d": 'says "woof", twice',
    }
    path, table = (
        tmp_path / f"captions.{kind}",
        pd.DataFrame({"clip_id": told.keys(), "caption": told.values()}),
    )
    if kind == "csv":
        table.to_csv(path, index=False)
    elif kind == "jsonl":
        table.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        table.to_parquet(path)
    captions = read_captions(path)
    assert {name: captions.clip(name) for name in told} == {n: text.strip() for n, text in told.items()}
