"""A stage's first weights: what an ablation takes over from the common video stage, and what is refused."""

import pytest
import torch

from syncflow.errors import UserError
from syncflow.training.stage_run import run_stage
from syncflow.training.start import starting_model


def changed(config, **groups) -> dict:
    values = config.model.model_dump()
    return {name: group | groups.get(name, {}) for name, group in values.items() if name != "frame_spans"}


def test_ablations_share_a_video_stage_and_draw_what_it_did_not_train(settings) -> None:
    first = settings("video", steps=1, engine={"kind": "torch"})
    run_stage(first)
    usual, _ = starting_model(settings("audio"))
    ablation = settings("audio", model=changed(first, adaptor={"kind": "none"}, video={"tap": "attention"}))
    model, _ = starting_model(ablation)
    assert len(list(model.adaptors.parameters())) == 0 < len(list(usual.adaptors.parameters()))
    for name, tensor in usual.video_tower.state_dict().items():
        torch.testing.assert_close(model.video_tower.state_dict()[name], tensor, rtol=0, atol=0)


def test_another_video_tower_is_refused(settings) -> None:
    first = settings("video", steps=1, engine={"kind": "torch"})
    run_stage(first)
    with pytest.raises(UserError, match=r"another model: video.mlp_ratio is .*, 3.0 here"):
        starting_model(settings("audio", model=changed(first, video={"mlp_ratio": 3.0})))
