"""Features under Ray Data: what the loop gives, one broken clip counted, missing weights in one line."""

from pathlib import Path

import numpy as np
import pytest

from infra.executors.ray_features import GroupWorker, RayFeatures
from syncflow.evaluation import extraction
from syncflow.evaluation.backbone_config import BackboneConfig
from syncflow.evaluation.backbones import Backbones
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
    ray, reports = RayFeatures(config, workers=2), list[int]()
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
    config = BackboneConfig(folder=tmp_path)
    answer = GroupWorker(config, ("vggish",), tmp_path)({"group": b"", "clips": 2})
    assert "vggish-10086976.safetensors: no such file" in answer["refusal"]
    assert answer["done"] == b"" and not list(tmp_path.iterdir())
