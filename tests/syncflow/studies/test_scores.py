"""What an evaluation's run says of the clips that it scored."""

import csv
from pathlib import Path

import numpy as np

from infra.tracking.runs import Note, client
from infra.tracking.scores import lineage, track
from syncflow.evaluation.suite_config import EvaluateConfig
from syncflow.generation.sidecar import Clip, Sidecar
from syncflow.media import write_clip
from syncflow.records import ClipSpec
from syncflow.studies.scores import evaluate


def write_sidecar(folder: Path, *, checkpoint: Path, **settings: object) -> None:
    folder.mkdir(exist_ok=True)
    clip = Clip(row=0, copy_number=0, prompt="rain", video="", video_sha256="")
    Sidecar(
        file="00000-0.mp4",
        batch=(clip,),
        position=0,
        settings={"checkpoint": str(checkpoint)} | settings,
        weights={"dual_dit": "d" * 64},
        latents={},
        device="cpu",
        versions={},
    ).write(folder / "00000-0.json")


def sound_late(spec: ClipSpec) -> np.ndarray:
    """A sound that begins 1.5 s after the clip does."""
    audio = np.zeros(spec.num_samples, np.float32)
    audio[spec.num_samples * 3 // 4 :] = 0.5 * np.sin(np.arange(spec.num_samples // 4) * 0.2)
    return audio


def test_a_system_is_traced_to_its_checkpoint_and_run_and_real_clips_to_nothing(
    tmp_path: Path, uri: str
) -> None:
    checkpoint = tmp_path / "runs" / "joint" / "checkpoint"
    Note(uri=uri, run_id="r1").write(checkpoint.parent)
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


def test_folders_of_one_name_are_both_scored_and_both_in_the_tables(tmp_path: Path, uri: str) -> None:
    spec = ClipSpec(height=32, width=32)
    folders = [tmp_path / "run1" / "it's made?", tmp_path / "run2" / "it's made?"]
    for folder in folders:
        folder.mkdir(parents=True)
        frames = np.zeros((spec.num_frames, 32, 32, 3), np.uint8)
        frames[8:] = 200
        write_clip(
            folder / "a.mp4",
            frames=frames,
            audio=sound_late(spec),
            fps=spec.fps,
            sample_rate=spec.sample_rate,
        )
    write_sidecar(folders[1], checkpoint=tmp_path, best_of=4)
    (folders[0] / "events.json").write_text("[]")  # another tool's
    config = EvaluateConfig(
        clips=folders,
        output=tmp_path / "scores",
        clip=spec,
        tracking_uri=uri,
        run="of one name",
        mean_as="both",
    )
    config.output.mkdir()
    (config.output / "metrics.csv").write_text("of an earlier evaluation, with metrics")
    assert evaluate(config, track=track) == 0
    assert not (config.output / "metrics.csv").exists()
    page = (config.output / "summary.md").read_text()
    assert "run2/it's made? (best of 4 by this score)" in page and "run1/it's made? |" in page
    assert "**both**, mean ± sample deviation" in page and "| f1 | 2 | 0 ± 0 |" in page
    for name in ("scores.csv", "summary.csv"):
        with (config.output / name).open(newline="") as stream:
            systems = [row["system"] for row in csv.DictReader(stream)]
        assert systems == ["run1/it's made?", "run2/it's made?"]
    store = client(uri)
    (run,) = store.search_runs(
        [store.get_experiment_by_name("syncflow").experiment_id], "params.output LIKE '%one_name%'"
    )
    assert len({name.rpartition("/")[0] for name in run.data.metrics}) == 3
    assert run.data.metrics["both/f1"] == 0.0 == run.data.metrics["both/f1_deviation"]


def test_another_protocol_under_one_name_is_another_run(tmp_path: Path, uri: str) -> None:
    store = client(uri)

    def runs() -> dict[str, str]:
        home = store.get_experiment_by_name("protocols").experiment_id
        found = store.search_runs([home], "tags.`syncflow.stage` = 'evaluation'")
        return {run.info.run_id: run.data.params["tolerance_s"] for run in found}

    clips = tmp_path / "clips"
    write_sidecar(clips, checkpoint=tmp_path)
    for tolerance, expected in ((0.1, ["0.1"]), (0.1, ["0.1"]), (0.02, ["0.02", "0.1"])):
        config = EvaluateConfig(
            clips=(clips,), output=tmp_path / "scores", tolerance_s=tolerance, tracking_uri=uri,
            experiment="protocols", run="demo",
        )  # fmt: skip
        config.output.mkdir(exist_ok=True)
        for name in ("summary.md", "summary.csv", "scores.csv", "resolved.yaml"):
            (config.output / name).touch()
        track(config, [])
        assert sorted(runs().values()) == expected


def test_videos_alone_have_no_sync_score_rather_than_zero(tmp_path: Path) -> None:
    spec, silent = ClipSpec(height=32, width=32), tmp_path / "videos"
    frames = np.zeros((spec.num_frames, 32, 32, 3), np.uint8)
    frames[8:, 8:24, 8:24] = 255  # something moves
    silent.mkdir()
    audio = np.zeros(spec.num_samples, np.float32)
    write_clip(silent / "0.mp4", frames=frames, audio=audio, fps=spec.fps, sample_rate=spec.sample_rate)
    config = EvaluateConfig(clips=(silent,), output=tmp_path / "out", clip=spec, tracking_uri="none")
    assert evaluate(config, track=track) == 0
    (row,) = csv.DictReader((tmp_path / "out" / "summary.csv").open())
    assert row["f1"] == "nan" and row["note"].startswith("withheld: no sound begins in any of 1 clips")
    assert "no sound begins" in (tmp_path / "out" / "summary.md").read_text()
