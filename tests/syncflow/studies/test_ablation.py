"""The adaptor's ablation: what is trained, what is shared, what is done again, and the table."""

import functools
import math

import pytest
import torch
import yaml

from infra.launch.stage import train_as_set
from infra.tracking.stage import log_figures
from syncflow.checkpoint import CheckpointManifest
from syncflow.data.random_dataset import write_dataset
from syncflow.errors import UserError
from syncflow.records import ClipSpec, LatentBatch
from syncflow.studies import ablation
from syncflow.studies.ablation_config import AblationConfig
from syncflow.studies.ablation_report import Result, ablation_markdown
from syncflow.studies.audio_for_clips import read_videos
from syncflow.training.finite import Metrics
from syncflow.training.stage.objective import FlowObjective
from tests.autoencoder_case import SIZE, write_clips
from tests.syncflow.training.small import SMALL

ablate = functools.partial(ablation.ablate, train=train_as_set, log_figures=log_figures)


def result(variant: str, seed: int, **values) -> Result:
    known = {"steps": 6, "loss_audio": 0.5, "loss_audio_mismatched": 0.6, "f1": 0.25, "chance_f1": 0.1}
    known |= {"offset_ms": 3.0, "onsets_per_clip": 2.0, "clips": 4}
    return Result(variant=variant, seed=seed, **known | values)


def test_a_row_is_the_mean_over_seeds_with_the_sample_deviation() -> None:
    lines = ablation_markdown(
        [
            result("with adaptor", 0, f1=0.5),
            result("text alone", 0, loss_audio_mismatched=math.nan),
            result("with adaptor", 1, f1=0.7),
        ]
    ).splitlines()
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| with adaptor", "| text alone"]
    _, seeds, loss, other, f1, *_ = lines[2].strip("| ").split(" | ")
    assert (seeds, loss, other, f1) == ("2", "0.5000 ± 0.0000", "0.6000 ± 0.0000", "0.600 ± 0.141")
    assert lines[3].strip("| ").split(" | ")[3].strip() == ""  # no picture, so no other one


@pytest.fixture
def config(tmp_path) -> AblationConfig:
    data = write_dataset(tmp_path / "latents")
    presets = {
        "video": {"stage": "video"},
        "with adaptor": {"stage": "audio"},
        "text alone": {
            "stage": "audio",
            "model": SMALL["model"] | {"audio": SMALL["model"]["audio"] | {"context": "text"}},
            "flow": {"coupling": {"score": "audio"}},
        },
    }
    for name, preset in presets.items():
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(SMALL | {"steps": 2} | preset))
    return AblationConfig(
        data=data,
        clips=tmp_path,
        output=tmp_path / "out",
        video=tmp_path / "video.yaml",
        variants={name: tmp_path / f"{name}.yaml" for name in presets if name != "video"},
        seeds=(0, 1),
        tracking_uri="none",
    )


def test_variants_of_a_seed_start_from_one_video_stage_and_what_is_done_is_left(config, monkeypatch) -> None:
    """What is measured needs autoencoders and clips; here it is the weights that the stage ended with."""
    trained, measured = [], []

    def measure(config, settings, *, variant, videos) -> Result:
        measured.append((variant, settings.seed))
        return result(variant, settings.seed)

    def train(settings):
        trained.append(settings.folder)
        train_as_set(settings)

    monkeypatch.setattr(ablation, "measure", measure)
    monkeypatch.setattr(ablation, "read_videos", lambda *a, **k: ["one"])
    assert ablate(config, train=train) == 0
    assert len(trained) == 2 * 3 and len(measured) == 2 * 2
    tower = [
        CheckpointManifest.read(config.output / name / f"seed_{seed}" / stage / "checkpoint").parts[
            "video_tower"
        ]
        for seed in (0, 1)
        for name, stage in (("video", "video"), ("with adaptor", "audio"), ("text alone", "audio"))
    ]
    assert tower[0] == tower[1] == tower[2] != tower[3] == tower[4] == tower[5]

    with pytest.raises(UserError, match=r"measured otherwise: tolerance_s was 0\.1, now 0\.02; .*--measure"):
        ablate(config.model_copy(update={"tolerance_s": 0.02}), train=train)
    preset = yaml.safe_load(config.video.read_text())
    config.video.write_text(yaml.safe_dump(preset | {"ema_decay": 0.5}))
    with pytest.raises(UserError, match=r"video/checkpoint: begun with other settings: ema_decay was 0\.9"):
        ablate(config, train=train)
    config.video.write_text(yaml.safe_dump(preset))
    (config.output / "text alone" / "seed_1" / "result.json").unlink()
    ablate(config, train=train)
    assert len(trained) == 2 * 3 and measured[4:] == [("text alone", 1)]
    assert (config.output / "ablation.csv").read_text().count("\n") == 1 + 4


def test_the_held_out_loss_is_the_same_every_time_and_over_all_of_the_test_split(config, monkeypatch) -> None:
    monkeypatch.setattr(ablation, "measure", lambda c, s, *, variant, videos: result(variant, s.seed))
    monkeypatch.setattr(ablation, "read_videos", lambda *a, **k: ["one"])
    ablate(config.model_copy(update={"seeds": (0,)}))
    folder = config.output / "with adaptor" / "seed_0" / "audio" / "checkpoint"
    first, again = (ablation.held_out_loss(folder, config.data, passes=2) for _ in range(2))
    assert first == again and first["loss_audio"] > 0 and first["loss_audio_mismatched"] > 0


def test_a_preset_of_another_stage_is_refused(config) -> None:
    with pytest.raises(
        UserError, match=r"video\.yaml: of stage video, the ablation needs one of stage audio"
    ):
        ablate(
            config.model_copy(update={"variants": {"x": config.video}}),
            train=train_as_set,
            log_figures=log_figures,
        )


def test_clips_that_cannot_be_read_are_left_out_and_said_before_the_training(
    config, tmp_path, capsys
) -> None:
    with pytest.raises(UserError, match="clips"):
        ablate(config)  # the folder holds no clip
    clips = write_clips(tmp_path / "clips", count=2, seconds=2.0)
    (clips / "broken.mp4").write_bytes(b"no clip")
    spec = ClipSpec(height=SIZE, width=SIZE)
    assert [picture.name for picture in read_videos(clips, spec=spec)] == ["0", "1"]
    assert "broken.mp4: left out (" in capsys.readouterr().out
    for path in ("0.mp4", "1.mp4"):
        (clips / path).write_bytes(b"no clip either")
    with pytest.raises(UserError, match=r"none of 3 can be read; the first: "):
        ablate(config.model_copy(update={"clips": clips}))
    assert not list(config.output.rglob("checkpoint"))


def test_the_held_out_loss_is_computed_where_training_is(config, monkeypatch) -> None:
    monkeypatch.setattr(ablation, "measure", lambda c, s, *, variant, videos: result(variant, s.seed))
    monkeypatch.setattr(ablation, "read_videos", lambda *a, **k: ["one"])
    ablate(config.model_copy(update={"seeds": (0,)}))
    places = set()

    def forward(objective: FlowObjective, batch: LatentBatch) -> Metrics:
        places.add((objective.device, *(part.device for part in objective.model.parameters())))
        return {"loss_audio": torch.tensor(0.5)}

    monkeypatch.setattr(ablation, "device", lambda: torch.device("meta"))
    monkeypatch.setattr(FlowObjective, "forward", forward)
    folder = config.output / "with adaptor" / "seed_0" / "audio" / "checkpoint"
    assert ablation.held_out_loss(folder, config.data, passes=1) == {"loss_audio": 0.5}
    assert {place for found in places for place in found} == {torch.device("meta")}
