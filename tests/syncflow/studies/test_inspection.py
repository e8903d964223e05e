"""The pipelines that only look: datasets, models, what autoencoders keep."""

import csv
import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from preprocessing.job import precompute
from tests.precompute_case import job, write_media, write_weights

CLIP = {"seconds": 0.5, "height": 16, "width": 16, "sample_rate": 16_000}  # as precompute_case has it


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, autoencoders and the dataset that they made, by the names `clips`, `weights`, `latents`."""
    root = tmp_path_factory.mktemp("inspected")
    write_weights(root / "weights")
    write_media(root / "clips", good=2)
    precompute(job(root / "clips", root / "weights", root / "latents"))
    return root


def test_a_dataset_is_described_verified_and_decoded(
    made: Path, tmp_path: Path, run_pipeline: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--verify", "--sample", 1, "--output", tmp_path / "sample")
    assert run_pipeline("inspect_dataset.py", "--dataset", made / "latents", *flags) == 0
    told = capsys.readouterr().out
    assert "verified, no fault" in told and "1 windows decoded" in told
    assert len(list((tmp_path / "sample").glob("*.mp4"))) == 1


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Every write below `folder` fails as on a read-only mount, for root too."""
    mounted = [str(folder)]
    changes = ("os.mkdir", "os.remove", "os.rename", "os.link", "os.rmdir", "os.truncate")

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        opens = event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (opens or event in changes) and any(str(arguments[0]).startswith(each) for each in mounted):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(arguments[0]))

    sys.addaudithook(refuse)  # for good: it looks at nothing once `mounted` is empty
    try:
        yield
    finally:
        mounted.clear()


def test_a_dataset_on_a_read_only_mount_is_verified(
    made: Path, run_pipeline: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    with read_only(made):
        with pytest.raises(OSError, match="Read-only file system"):
            (made / "latents" / "new").write_text("")
        assert run_pipeline("inspect_dataset.py", "--dataset", made / "latents", "--verify") == 0
    assert "verified, no fault" in capsys.readouterr().out


def test_a_models_parts_and_costs_are_printed(
    run_pipeline: Callable[..., int], repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_pipeline("inspect_model.py", "--config", repository / "pipelines/configs/tiny/inspect.yaml")
    told = capsys.readouterr().out
    assert all(name in told for name in ("video_tower", "audio_tower", "adaptors", "joint", "ZeRO 3"))


def test_what_autoencoders_keep_is_a_row_per_window_with_pictures_and_sound(
    made: Path, tmp_path: Path, run_pipeline: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    weights = [f"--{kind}-vae={made / 'weights' / f'{kind}_vae'}" for kind in ("video", "audio")]
    clip = [f"--clip.{name}={value}" for name, value in CLIP.items()]
    flags = ("--clips", made / "clips", "--output", tmp_path, "--pictures", 1, *weights, *clip)
    run_pipeline("reconstruct.py", *flags)
    for kind in ("video", "audio"):
        with (tmp_path / f"{kind}.csv").open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert {row["file"] for row in rows} == {path.name for path in (made / "clips").glob("clip*.mp4")}
        assert len(list((tmp_path / "clips" / kind).glob("*.png"))) == 1
    assert len(list((tmp_path / "clips" / "audio").glob("*_made.wav"))) == 1
    summary = (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "PSNR" in summary and "Left out of clips: 1 empty, 1 undecodable." in summary
    assert f"rows, images and audio in {tmp_path}" in capsys.readouterr().out.replace("\n", "")
