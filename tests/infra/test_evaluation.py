"""What an evaluation's run says of the clips that it scored."""

from pathlib import Path

from infra.evaluation import lineage, track
from infra.tracking import TrackedRun, client, write_note
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.systems.sidecar import Clip, Sidecar


def write_sidecar(folder: Path, *, checkpoint: Path) -> None:
    folder.mkdir()
    clip = Clip(row=0, copy_number=0, prompt="rain", video="", video_sha256="")
    Sidecar(
        file="00000-0.mp4",
        batch=(clip,),
        position=0,
        settings={"checkpoint": str(checkpoint)},
        weights={"dual_dit": "d" * 64},
        latents={},
        device="cpu",
        versions={},
    ).write(folder / "00000-0.json")


def test_a_system_is_traced_to_its_checkpoint_and_run_and_real_clips_to_nothing(
    tmp_path: Path, uri: str
) -> None:
    checkpoint = tmp_path / "runs" / "joint" / "checkpoint"
    write_note(TrackedRun(uri=uri, run_id="r1"), checkpoint.parent)
    made, real = tmp_path / "made", tmp_path / "real"
    write_sidecar(made, checkpoint=checkpoint)
    real.mkdir()
    tags = {
        "lineage.made.checkpoint": str(checkpoint),
        "lineage.made.weights_sha256": "d" * 64,
        "lineage.made.run": "r1",
    }
    assert lineage([real, made]) == tags

    config = EvaluateConfig(clips=(real, made), output=tmp_path / "scores", tracking_uri=uri, run="traced")
    config.output.mkdir()
    for name in ("summary.md", "summary.csv", "scores.csv", "resolved.yaml"):
        (config.output / name).touch()
    track(config, [])
    store = client(uri)
    runs = store.search_runs(
        [store.get_experiment_by_name("syncflow").experiment_id], "tags.`lineage.made.run` = 'r1'"
    )
    assert len(runs) == 1 and tags.items() <= runs[0].data.tags.items()
