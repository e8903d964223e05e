"""Workers under Ray Data: features as the loop gives them, one broken clip counted, refusals in one line."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from infra.executors.ray_pool import RayPool, _Worker
from syncflow.errors import UserError
from syncflow.evaluation import extraction
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.backbones import Backbones, ExtractInWorkers, GroupWorker
from syncflow.evaluation.extraction import clip_item, extract, store_of
from syncflow.media.evaluation_set import ClipFile
from tests.syncflow.systems.videos import SPEC, write_videos


@pytest.mark.ray
def test_two_workers_keep_what_the_loop_keeps_and_a_rerun_computes_nothing(
    ray_of_two: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "GROUP", 2)
    write_videos(tmp_path / "clips", 4)
    items = [
        clip_item(ClipFile(id=path.stem, path=path), SPEC) for path in sorted(tmp_path.glob("clips/*.mp4"))
    ]
    config = BackboneConfig(folder=tmp_path / "none")
    extractors = [Backbones(config).extractor(name) for name in ("levels", "av_align")]
    ray, reports = ExtractInWorkers(config, RayPool(device="cpu", workers=2)), list[int]()
    alone = extract(items, extractors, root=tmp_path / "loop")
    both = extract(items, extractors, root=tmp_path / "ray", execute=ray, report=reports.append)
    assert both == alone and both.computed == {"levels": 5, "av_align": 5}
    assert [reason.partition(":")[0] for reason in both.failures["levels"].values()] == ["undecodable"]
    assert reports[0] == 0 and reports[-1] == 5
    keys = [item.key for item in items]
    for extractor in extractors:
        for output in extractor.outputs:
            first, second = (
                store_of(extractor, tmp_path / name).load(keys, output) for name in ("loop", "ray")
            )
            assert len(first) == 4 and all(np.array_equal(first[key], second[key]) for key in first)
    again = extract(items, extractors, root=tmp_path / "ray", execute=ray)
    assert again.computed == {"levels": 0, "av_align": 0} and again.failures == alone.failures


def test_a_worker_without_weights_says_so_as_a_value(tmp_path: Path) -> None:
    """The driver raises it: an exception of a worker would come wrapped in pages of traces."""
    worker = _Worker(partial(GroupWorker, BackboneConfig(folder=tmp_path), ("vggish",), tmp_path))
    answer = worker({"item": b""})
    assert "vggish-10086976.safetensors: no such file" in answer["refusal"]
    assert answer["result"] == b"" and not list(tmp_path.iterdir())


@pytest.mark.ray
def test_what_a_worker_refuses_and_a_gpu_that_is_not_there_are_one_line(
    ray_of_two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"^item 2: refused$"):
        list(RayPool(device="auto")(partial(partial, refuse), [0, 1, 2]))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(UserError, match=r"^device cuda: Ray offers no GPU; use cpu, or a larger cluster$"):
        list(RayPool(device="cuda")(partial(partial, refuse), [0]))


def refuse(item: int) -> int:
    if item == 2:
        raise UserError(f"item {item}: refused")
    return item
