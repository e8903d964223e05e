"""Clips that a stage makes while it trains: what each stage makes, and that training does not notice."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from infra.launch.stage import StageJob, train_worker
from preprocessing.job import precompute
from syncflow.checkpoint import CheckpointManifest
from syncflow.config import validate
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.media import decode_window
from syncflow.pixels import video_to_frames
from syncflow.sampling.output import decode_video
from syncflow.studies import stage_samples
from syncflow.studies.stage_samples import StageSamples
from syncflow.training.loop import Callback
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.stages import STAGES
from syncflow.training.stage.start import starting_model
from tests.precompute_case import job, write_media, write_weights
from tests.syncflow.training.small import SMALL


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips for training and two for testing, with the autoencoders that made them."""
    root = tmp_path_factory.mktemp("encoded")
    write_weights(root / "weights")
    write_media(root / "clips", good=4)
    lines = [f"clip{n:02}.mp4,{'test' if n > 1 else 'train'}" for n in range(4)]
    (root / "clips.csv").write_text("\n".join(["path,split", *lines]) + "\n")
    source = {"kind": "manifest", "root": str(root / "clips"), "index": str(root / "clips.csv")}
    precompute(job(root / "clips", root / "weights", root / "latents", source=source))
    return root / "latents"


@pytest.fixture
def settings(latents: Path, tmp_path: Path):
    def build(stage: str, **changes: object) -> TrainConfig:
        model = SMALL["model"] | {
            "video": SMALL["model"]["video"] | {"text_dim": 16},
            "audio": SMALL["model"]["audio"] | {"text_dim": 16, "latent_rate": 50.0},
        }
        values = SMALL | {"stage": stage, "data": latents, "output": tmp_path / "run", "model": model}
        values |= {"steps": 3, "batch_size": 2, "initialise_from": "none"}
        values |= {"samples": {"every": 2, "count": 2, "steps": 2}}
        return validate(TrainConfig, values | changes, source="test")

    return build


def objective_of(config: TrainConfig) -> FlowObjective:
    model, _ = starting_model(config)
    data = LatentDataset(config.data)
    return FlowObjective(
        model,
        stage=STAGES[config.stage],
        flow=config.flow,
        spec=data.spec,
        frame_times=data.frame_times,
        seed=0,
    )


def test_files_are_there_and_the_weights_are_those_of_a_run_without(settings) -> None:
    with_samples = settings("audio")
    train_worker(StageJob(config=with_samples))
    made = sorted(path.relative_to(with_samples.folder) for path in with_samples.folder.glob("samples/*/*"))
    assert [str(path) for path in made] == [
        f"samples/step_{step:08}/{number}.{kind}"
        for step in (2, 3)
        for number in (0, 1)
        for kind in ("mp4", "png")
    ]
    frames, sound = decode_window(
        (with_samples.folder / made[0]).resolve(), start_s=0.0, spec=LatentDataset(with_samples.data).spec
    )
    assert frames.shape == (8, 16, 16, 3) and sound.shape == (8000,)
    without = settings("audio", output=with_samples.output.with_name("without"), samples={"every": 0})
    train_worker(StageJob(config=without))
    assert not (without.folder / "samples").exists()
    hashes = [CheckpointManifest.read(c.folder / "checkpoint").model_sha256 for c in (with_samples, without)]
    assert hashes[0] == hashes[1]


def test_each_stage_makes_its_own_kind(settings) -> None:
    """Video: silent pictures; audio: sounds for the test split's pictures; joint: both, of the prompts."""
    found = {}
    for stage in ("video", "audio", "joint"):
        config = settings(stage)
        samples = StageSamples(config, objective_of(config), reporters=[])
        frames, sounds = samples.clips()
        again, _ = samples.clips()
        assert np.array_equal(frames, again)  # the same noise every time
        assert frames.shape == (2, 8, 16, 16, 3) and frames.dtype == np.uint8
        found[stage] = frames, sounds
        latents = samples.batch.latents.video
        given = video_to_frames(decode_video(samples.video_vae, latents, samples.spec))
        assert np.array_equal(frames, given) == (stage == "audio")
    assert found["video"][1] is None
    assert found["audio"][1].shape == found["joint"][1].shape == (2, 8000)


def test_scores_are_reported_at_their_step(settings) -> None:
    told = []

    class Reporter(Callback):
        def on_log(self, step, metrics) -> None:
            told.append((step, set(metrics)))

    config = settings("audio")
    samples = StageSamples(config, objective_of(config), reporters=[Reporter()])
    for step in (1, 2, 3):
        samples.on_step(step)
    samples.on_end(3)
    names = {"samples/sync_f1", "samples/sync_f1_by_chance", "samples/onsets_per_clip"}
    assert told == [(2, names), (3, names)]


def test_other_autoencoders_and_sharded_weights_are_refused(settings, monkeypatch) -> None:
    config = settings("audio")
    objective = objective_of(config)
    read = LatentDataset.__init__

    def changed(self, *args, **kwargs) -> None:
        read(self, *args, **kwargs)
        other = self.manifest.audio_vae.model_copy(update={"sha256": "0" * 64})
        self.manifest = self.manifest.model_copy(update={"audio_vae": other})

    monkeypatch.setattr(LatentDataset, "__init__", changed)
    with pytest.raises(UserError, match="audio_vae is not the autoencoder that made the latents"):
        StageSamples(config, objective, reporters=[])
    with pytest.raises(UserError, match="zero_stage 3: no worker holds all weights"):
        settings("audio", engine={"kind": "deepspeed", "zero_stage": 3, "bf16": False})


def test_samples_that_cannot_be_written_do_not_end_the_training(settings, monkeypatch, capsys) -> None:
    def full(path: Path, **_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(stage_samples, "write_files", full)
    config = settings("audio")
    train_worker(StageJob(config=config))
    assert CheckpointManifest.read(config.folder / "checkpoint").step == config.steps
    assert "clip 1 not written ([Errno 28] No space left on device)" in capsys.readouterr().out
