"""Learning rate of each step."""

import pytest

from syncflow.model.cost import meta_model
from syncflow.training.engine_config import OptimizerConfig
from syncflow.training.schedule import adamw, learning_rate

PLAIN = OptimizerConfig(lr=1.0, warmup_steps=10)


def test_it_rises_in_a_line_and_then_stays() -> None:
    rate = learning_rate(PLAIN, steps=100)
    assert [rate(step) for step in (0, 4, 9, 10, 99)] == pytest.approx([0.1, 0.5, 1.0, 1.0, 1.0])


def test_a_cosine_ends_at_a_hundredth() -> None:
    rate = learning_rate(PLAIN.model_copy(update={"decay": "cosine"}), steps=110)
    assert rate(10) == pytest.approx(1.0) and rate(60) == pytest.approx(0.505)
    assert rate(110) == pytest.approx(0.01) and rate(500) == pytest.approx(0.01)


def test_parameters_that_begin_later_have_a_warm_up_of_their_own_up_to_their_share() -> None:
    rate, plain = (
        learning_rate(PLAIN, steps=100, fresh=(50, 80), later_share=0.5),
        learning_rate(PLAIN, steps=100),
    )
    assert [rate(step) for step in range(50)] == [plain(step) for step in range(50)]
    assert [rate(step) for step in (50, 54, 59, 79)] == pytest.approx([0.05, 0.25, 0.5, 0.5])
    assert [rate(step) for step in (80, 89, 99)] == pytest.approx([0.05, 0.5, 0.5])


def test_matrices_decay_and_nothing_else(settings) -> None:
    model = meta_model(settings("joint").model)
    optimizer = adamw(model, config=PLAIN.model_copy(update={"weight_decay": 0.1}))
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, parameter in model.named_parameters() if id(parameter) in decayed}
    others = {name: p.ndim for name, p in model.named_parameters() if name not in names}
    tables = {name for name, ndim in others.items() if ndim > 1}
    assert len(tables) == 2 * 2 + 1 and all(name.endswith(".modulation") for name in tables)
    assert all(name.endswith(".weight") for name in names)
