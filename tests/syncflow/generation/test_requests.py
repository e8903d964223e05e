import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.requests import read_rows


def rows(**settings: object) -> list[tuple[str, str]]:
    found = read_rows(GenerateConfig(output=Path("out"), **settings))
    assert [row.number for row in found] == list(range(len(found)))
    return [(row.prompt, row.video.name if row.video else "") for row in found]


def test_the_four_formats_say_the_same(tmp_path: Path) -> None:
    prompts = ['a "quoted", odd prompt', "metal, hit twice"]
    (tmp_path / "p.txt").write_text("\ufeff" + "\r\n\n".join(prompts), encoding="utf-8")
    (tmp_path / "p.csv").write_text('prompt,video\n"a ""quoted"", odd prompt",\n"metal, hit twice",\n')
    (tmp_path / "p.jsonl").write_text("".join(json.dumps({"prompt": p}) + "\n" for p in prompts))
    pq.write_table(pa.table({"id": [1, 2], "prompt": prompts}), tmp_path / "p.parquet")
    expected = [(p, "") for p in prompts]
    kinds = ("txt", "csv", "jsonl", "parquet")
    assert all(rows(prompts=tmp_path / f"p.{kind}") == expected for kind in kinds)
    assert rows(prompt=tuple(prompts)) == expected
    assert rows(prompt=tuple(prompts), limit=1) == expected[:1]


def test_a_folder_of_videos_takes_its_captions_and_its_split(tmp_path: Path) -> None:
    for name in ("b_denoised.mp4", "a_denoised.mp4", "a_times.txt"):
        (tmp_path / name).touch()
    assert rows(video=tmp_path) == [("", "a_denoised.mp4"), ("", "b_denoised.mp4")]
    (tmp_path / "captions.csv").write_text("clip_id,caption\na,wood\nb,metal\n")
    (tmp_path / "test.txt").write_text("b\n")
    assert rows(video=tmp_path, split="test") == [("metal", "b_denoised.mp4")]
    assert rows(video=tmp_path, prompt=("rain",)) == [("rain", "a_denoised.mp4"), ("rain", "b_denoised.mp4")]


def test_captions_that_name_no_clip_of_the_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a_denoised.mp4").touch()
    (tmp_path / "captions.csv").write_text("clip_id,caption\na_denoised.mp4,wood\n")
    with pytest.raises(UserError, match=r"captions\.csv: none of 1 captions.*ids are as 'a'"):
        rows(video=tmp_path)
    assert rows(video=tmp_path, prompt=("rain",)) == [("rain", "a_denoised.mp4")]


def test_rows_of_a_table_may_bring_videos_beside_it(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["wood", None], "video": [None, "b.mp4"]}), tmp_path / "p.parquet")
    assert rows(prompts=tmp_path / "p.parquet") == [("wood", ""), ("", "b.mp4")]


def test_one_wrong_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"prompt": "fine"}\n{"prompt": 3}\n')
    (tmp_path / "bad.csv").write_text("text\nfine\n")
    (tmp_path / "huge.csv").write_text(f"prompt\n{'x' * 200_000}\n")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    pq.write_table(pa.table({"prompt": [1]}), tmp_path / "number.parquet")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "other.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    (tmp_path / "long.txt").write_text("x" * 5_001)
    cases = [
        ({"prompts": tmp_path / "bad.jsonl"}, "line 2 has no text"),
        ({"prompts": tmp_path / "bad.csv"}, "no column 'prompt'"),
        ({"prompts": tmp_path / "huge.csv"}, "no csv after line 1|200000 characters"),
        ({"prompts": tmp_path / "latin.txt"}, "UTF-8"),
        ({"prompts": tmp_path / "long.txt"}, "5001 characters"),
        ({"prompts": tmp_path / "none.txt"}, "cannot be read"),
        ({"prompts": tmp_path / "p.doc"}, r"expected a \.txt, \.csv, \.jsonl or \.parquet"),
        ({"prompt": ("",)}, "empty"),
        ({"video": tmp_path / "absent.mp4"}, "no such file"),
        ({"video": tmp_path, "split": "test"}, r"no test\.txt"),
        ({"prompts": tmp_path / "number.parquet"}, "column 'prompt' is int64; expected text"),
        ({"prompts": tmp_path / "other.parquet"}, "no column 'prompt'"),
        ({"prompts": tmp_path / "broken.parquet"}, "cannot be read as Parquet"),
        ({"prompt": ("wood",), "strength": 0.5}, "strength: set, but nothing is given"),
        ({"prompt": ("wood",), "keep_video": "0-1"}, "keep_video: set, but nothing is given"),
        ({}, "none given"),
    ]
    for settings, message in cases:
        with pytest.raises(UserError, match=message):
            rows(**settings)


def test_line_and_paragraph_separators_are_part_of_a_prompt(tmp_path: Path) -> None:
    """Unicode has other ends of lines; a file's lines end at a newline alone."""
    prompts = ["rain\u2028on a roof", "a dog\u0085barks", "glass\u2029breaks"]
    (tmp_path / "p.txt").write_text("\n".join(prompts), encoding="utf-8")
    (tmp_path / "p.csv").write_text("prompt\n" + "\n".join(prompts), encoding="utf-8")
    lines = [json.dumps({"prompt": prompt}, ensure_ascii=False) for prompt in prompts]
    (tmp_path / "p.jsonl").write_text("\n".join(lines), encoding="utf-8")
    for suffix in ("txt", "csv", "jsonl"):
        assert rows(prompts=tmp_path / f"p.{suffix}") == [(prompt, "") for prompt in prompts]


def test_a_folder_of_videos_is_all_of_its_clips_whatever_their_suffix_and_depth(tmp_path: Path) -> None:
    for name in ("a.MP4", "b.ts", "deep/c.m2ts", "deep/d.wmv", ".hidden.mp4", ".cache/e.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [name for _, name in rows(video=tmp_path)] == ["a.MP4", "b.ts", "c.m2ts", "d.wmv"]
