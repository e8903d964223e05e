"""Clips by the shipped model through the service: the same ones as generate.py's."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from syncflow.config import validate
from syncflow.generation.config import GenerateConfig
from syncflow.generation.plan import plan_clips
from syncflow.generation.requests import read_rows
from syncflow.generation.run import generate_clips
from syncflow.generation.sidecar import Sidecar
from syncflow.generation.worker import ClipWorker
from syncflow.serving.maker import ClipMaker
from syncflow.serving.orders import WINDOW, Order, Progress
from syncflow.serving.request import ClipRequest, resolved
from tests.syncflow.serving.serving_case import config, small_video


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> ClipMaker:
    return ClipMaker(config(tmp_path_factory.mktemp("maker")))


def order(maker: ClipMaker, folder: Path, number: int, **request: object) -> Order:
    limits = config(folder).limits
    whole = resolved(ClipRequest(seed=number, **request), maker.about, limits)
    folder = folder / f"{number}"
    folder.mkdir()
    return Order(id=f"{number}", request=whole, folder=folder)


def never(name: str) -> bool:
    return False


def test_a_clip_of_a_batch_is_the_one_that_generate_makes_of_its_seed(
    maker: ClipMaker, tmp_path: Path
) -> None:
    orders = [order(maker, tmp_path, n, prompt=f"metal {n}", preview=n == 7) for n in (5, 7)]
    told: list[Progress] = []
    outcomes = maker(orders, tell=told.append, cancelled=never)
    assert [(outcome.id, outcome.error) for outcome in outcomes] == [("5", ""), ("7", "")]
    shares = [each.share for each in told if each.id == "5"]
    assert shares == sorted(shares) and len(shares) == 4 and 0.7 < shares[-1] < 1
    images = [Image.open(io.BytesIO(each.preview)) for each in told if each.preview]
    assert [image.size for image in images] == [(4 * 64, 64)] and {e.id for e in told if e.preview} == {"7"}
    for each in orders:
        folder = each.folder
        assert {"00000-0.mp4", "00000-0.wav", "00000-0.png", "00000-0.json"} == {
            p.name for p in folder.iterdir()
        }
        sidecar = Sidecar.read(folder / "00000-0.json")
        assert [clip.prompt for clip in sidecar.batch] == [each.request.prompt], "no neighbour's prompt"
        assert str(tmp_path) not in (folder / "00000-0.json").read_text()
    # alone, and by the batch job
    alone = order(maker, tmp_path, 1, prompt="metal 7")
    alone = replace(alone, request=alone.request.model_copy(update={"seed": 7}))
    maker([alone], tell=told.append, cancelled=never)
    values = config(tmp_path).generate.model_dump() | {
        "output": tmp_path / "g",
        "prompt": ["metal 7"],
        "seed": 7,
    }
    job = validate(GenerateConfig, values, source="test")
    generate_clips(plan_clips(read_rows(job), per_prompt=1), job)
    one, other = (Sidecar.read(f / "00000-0.json").latents for f in (alone.folder, tmp_path / "g"))
    assert one == other


def test_a_given_video_gets_new_audio_and_keeps_its_frames(maker: ClipMaker, tmp_path: Path) -> None:
    given = order(maker, tmp_path, 1, video="0" * 32)
    small_video(given.folder / WINDOW, seconds=1.0, size=64)
    broken = order(maker, tmp_path, 2, video="0" * 32)
    (broken.folder / WINDOW).write_bytes(b"<html>")
    good, bad = maker([given, broken], tell=lambda progress: None, cancelled=never)
    assert good.result is not None and not good.error
    assert bad.result is None and bad.error == "undecodable: video: moov atom not found"
    sidecar = Sidecar.read(given.folder / "00000-0.json")
    assert sidecar.clip.video == WINDOW and len(sidecar.clip.video_sha256) == 64


def test_a_batch_that_nobody_wants_ends_at_the_next_step(maker: ClipMaker, tmp_path: Path) -> None:
    orders = [order(maker, tmp_path, n, prompt="metal", steps=50) for n in (1, 2)]
    told: list[Progress] = []
    outcomes = maker(orders, tell=told.append, cancelled=lambda name: len(told) >= 2 * 3)
    assert [(o.result, o.error) for o in outcomes] == [(None, "")] * 2
    assert len(told) == 2 * 3 and not list(orders[0].folder.iterdir())


@pytest.fixture
def little_memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory for one clip at a time, and none for the prompt "big"."""
    whole = ClipWorker.best

    def best(self: ClipWorker, clips, *args: object, **more: object):
        if len(clips) > 1 or clips[0].prompt == "big":
            raise torch.OutOfMemoryError("no memory")
        return whole(self, clips, *args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(ClipWorker, "best", best)
    yield


@pytest.mark.usefixtures("little_memory")
def test_a_batch_without_enough_memory_is_made_clip_by_clip(maker: ClipMaker, tmp_path: Path) -> None:
    orders = [order(maker, tmp_path, n, prompt=prompt) for n, prompt in enumerate(("metal", "big", "wood"))]
    outcomes = maker(orders, tell=lambda progress: None, cancelled=never)
    assert [outcome.error for outcome in outcomes] == [
        "",
        "out of memory; ask for a smaller or shorter clip",
        "",
    ]
    assert isinstance(outcomes[0].result, type(outcomes[2].result)) and outcomes[0].result is not None
