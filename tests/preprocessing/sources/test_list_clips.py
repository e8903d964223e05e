"""Lists of a source's files: each split's own, and prompts of the test clips, as other commands read them."""

from pathlib import Path

import pytest

from preprocessing.sources.list_clips import write_lists
from preprocessing.sources.list_config import ListConfig
from syncflow.config import validate
from syncflow.data.windows.decode import Windows, plan_groups
from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.requests import read_rows
from syncflow.records import ClipSpec

CSV = (
    "aaaaaaaaaaa,30,dog barking,train\n"
    'b_b-b_b-b_b,0,"bird chirping, tweeting",test\n'
    "ccccccccccc,5,gone,test\n"
    "ddddddddddd,7,known bad,train\n"
)


def lists(folder: Path) -> dict[str, int]:
    (folder / "video").mkdir()
    for name in ("aaaaaaaaaaa_000030.mp4", "b_b-b_b-b_b_0_10000.mp4", "ddddddddddd_000007.mp4"):
        (folder / "video" / name).write_bytes(b"")
    (folder / "vggsound.csv").write_text(CSV)
    (folder / "bad.csv").write_text("clip,reason\nddddddddddd_7000_17000,silent\n")
    source = {"kind": "vggsound", "root": str(folder / "video"), "index": folder / "vggsound.csv"}
    values = {"source": {**source, "known_bad": folder / "bad.csv"}, "output": folder / "lists"}
    return write_lists(validate(ListConfig, values, source="test"))


def test_lists_hold_the_files_of_each_split_that_are_there_and_good(tmp_path: Path) -> None:
    counts = lists(tmp_path)
    assert counts == {"train.txt": 1, "test.txt": 1, "prompts.csv": 1, "videos.csv": 1}
    groups = plan_groups(
        Windows(
            folder=tmp_path / "lists" / "train.txt", kind="audio", spec=ClipSpec(), per_clip=1, cache=tmp_path
        )
    )
    assert [group.files for group in groups] == [(str(tmp_path / "video" / "aaaaaaaaaaa_000030.mp4"),)]


@pytest.mark.parametrize("name", ["prompts.csv", "videos.csv"])
def test_generation_reads_the_test_prompts_with_and_without_their_videos(tmp_path: Path, name: str) -> None:
    lists(tmp_path)
    config = GenerateConfig(checkpoint=tmp_path, output=tmp_path, prompts=tmp_path / "lists" / name)
    (row,) = read_rows(config)
    assert row.prompt == "The sound of bird chirping, tweeting."
    assert row.video == (tmp_path / "video" / "b_b-b_b-b_b_0_10000.mp4" if name == "videos.csv" else None)


def test_neither_a_folder_nor_a_list_is_refused(tmp_path: Path) -> None:
    windows = Windows(folder=tmp_path / "no", kind="audio", spec=ClipSpec(), per_clip=1, cache=tmp_path)
    with pytest.raises(UserError, match="no such folder, and no list of files"):
        plan_groups(windows)
