import pytest

from syncflow.model import cost
from syncflow.model.config import DualDiTConfig, SampleShape, VideoTowerConfig
from syncflow.model.dual_dit import DualDiT
from syncflow.training.stage.stages import STAGES

SAMPLE = SampleShape(video_latents=(9, 8, 8), audio_latents=20, text_tokens=8, height=64, width=64)


def stage(config: DualDiTConfig, name: str, sample: SampleShape = SAMPLE) -> cost.StageCost:
    found = STAGES[name]
    return cost.stage_cost(cost.meta_model(config), sample, trains=found.trains, scores=found.scores)


def test_training_a_tower_costs_three_forwards_and_a_frozen_one_costs_one(tools):
    config = tools.settings()
    video, audio, joint = (stage(config, name) for name in ("video", "audio", "joint"))
    assert video.total == pytest.approx(3 * video.forward, rel=0.02)
    assert joint.total == pytest.approx(3 * joint.forward, rel=0.02)
    heard = audio.forward - video.forward
    assert audio.total == pytest.approx(video.forward + 3 * heard, rel=0.1)


def test_counting_leaves_no_gradients_and_a_text_to_audio_stage_runs_no_video(tools):
    config = tools.settings(audio={"context": "text"})
    model = cost.meta_model(config)
    audio = STAGES["audio"]
    heard = cost.stage_cost(model, SAMPLE, trains=audio.trains, scores=audio.scores)
    assert heard.forward < stage(tools.settings(), "video").forward
    assert all(parameter.grad is None for parameter in model.parameters())


def test_counted_parameters_are_those_of_a_real_model(tools):
    config = tools.settings()
    real = DualDiT(**config.model_dump())
    assert sum(cost.parameter_counts(cost.meta_model(config)).values()) == sum(
        p.numel() for p in real.parameters()
    )


def test_states_are_float32_as_the_engines_hold_them_and_shared_ever_more():
    sizes = {"trained": 1_000_000_000, "frozen": 500_000_000, "workers": 4}
    found = [cost.state_bytes(**sizes, zero=zero) / 1e9 for zero in (0, 1, 2, 3)]
    frozen, bucket = 2, 2  # the bucket is half of the trained numbers
    assert found == [
        frozen + 4 + 4 + 8,
        frozen + 4 + 1 + 4 + 2 + bucket,
        frozen + 4 + 1 + 1 + 2 + bucket,
        frozen + 1 + 1 + 1 + 2 + bucket,
    ]
    held = cost.state_bytes(**sizes, zero=0, in_bf16=500_000_000, average=True) / 1e9
    assert held == 1 + 4 + 4 + 8 + 1


def test_attention_maps_are_not_among_the_activations(tools):
    """Twice the spatial tokens would be four times the maps; what is kept grows with the tokens alone."""
    sizes = [SampleShape(video_latents=(9, rows, 32), text_tokens=6) for rows in (32, 64)]
    stage = STAGES["video"]
    one, two = (
        cost.deep_stage_cost(tools.settings(), size, trains=stage.trains, scores=stage.scores)
        for size in sizes
    )
    assert two.activations < 2.05 * one.activations
    assert two.total > 2.2 * one.total  # the maps' products are counted


@pytest.mark.parametrize(("form", "tflop"), [("frame", (13.7, 4.9, 14.1)), ("spatial", (13.7, 9.8, 19.0))])
def test_the_large_models_cost_is_the_designs(form: str, tflop: tuple[float, ...]):
    """The design counted eight latent frames (32 / 4); the video VAE makes nine of 32."""
    config = DualDiTConfig(video=VideoTowerConfig(feature_tokens=form))
    sample = SampleShape(video_latents=(8, 32, 32))
    counted = [
        cost.deep_stage_cost(config, sample, trains=stage.trains, scores=stage.scores).total / 1e12
        for stage in STAGES.values()
    ]
    assert counted == pytest.approx(tflop, rel=0.05)
