"""ZeRO against the plain engine, and a state that moves between worker numbers and ZeRO stages."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from syncflow.checkpoint import CheckpointManifest
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.stages import STAGES
from tests.infra.zero_case import Launcher, losses

pytestmark = pytest.mark.slow


STEPS = 20
ZERO = (0, 1, 2, 3)
LAST = {"every": STEPS, "keep": 1}  # the only state


@dataclass(frozen=True)
class Runs:
    plain: dict[str, TrainConfig]  # by stage, the plain engine on one worker
    sharded: dict[tuple[str, int], TrainConfig]  # by stage and ZeRO stage, two workers
    moved: TrainConfig  # two workers, one, and three that share eight samples unevenly
    back: dict[int, TrainConfig]  # by ZeRO stage, two workers, one, and two again
    in_turn: tuple[TrainConfig, ...]  # the three stages, each from the one before
    halved: dict[int | None, TrainConfig]  # gradients in bfloat16, by ZeRO stage (None: plain), two workers
    autocast: dict[str, TrainConfig]  # by the type in which gradients travel


@pytest.fixture(scope="module")
def runs(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Everything that is looked at, in one process tree: its imports take longer than its steps."""
    launcher = Launcher(tmp_path_factory.mktemp("zero"), repository)
    build = partial(launcher.config, steps=STEPS, checkpoint=LAST, validate_every=STEPS)
    plain = {stage: build("plain", zero=None, stage=stage) for stage in STAGES}
    sharded = {(s, z): build(f"zero{z}", workers=2, zero=z, stage=s) for s in STAGES for z in ZERO}
    moved = [
        launcher.config("moved", workers=2, zero=1, steps=6),
        launcher.config("moved", workers=1, zero=3, steps=12),
        launcher.config("moved", workers=4, zero=2, steps=STEPS, validate_every=STEPS),
    ]
    parts: tuple[tuple[int, dict[str, object]], ...] = (
        (2, {"steps": 6}),
        (1, {"steps": 12}),
        (2, {"steps": STEPS, "validate_every": STEPS}),
    )
    two, one, back = (
        {z: launcher.config(f"back{z}", workers=workers, zero=z, **changes) for z in ZERO}
        for workers, changes in parts
    )
    in_turn = tuple(
        launcher.config("in_turn", workers=2, zero=1, stage=stage, steps=4, initialise_from="auto")
        for stage in STAGES
    )

    def halved_by(zero: int | None, *, bf16: bool = False, communication: str = "bfloat16") -> TrainConfig:
        engine = {"kind": "torch"} if zero is None else {"kind": "deepspeed", "zero_stage": zero}
        engine |= {"bf16": bf16, "communication": communication}
        return build(f"{communication}_{zero}_{bf16}", workers=2, zero=zero, engine=engine)

    halved = {zero: halved_by(zero) for zero in (None, *ZERO)}
    autocast = {c: halved_by(1, bf16=True, communication=c) for c in ("float32", "bfloat16")}
    launcher.launch(
        (2, [*sharded.values(), moved[0], *two.values(), *in_turn]),
        (1, [*plain.values(), moved[1], *one.values()]),
        (3, [moved[2]]),
        # those under autocast last: DeepSpeed keeps in the process that there was one
        (2, [*back.values(), *halved.values(), *autocast.values()]),
    )
    return Runs(
        plain=plain,
        sharded=sharded,
        moved=moved[2],
        back=back,
        in_turn=in_turn,
        halved=halved,
        autocast=autocast,
    )


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("zero", ZERO)
def test_two_workers_have_the_losses_of_the_plain_engine(runs: Runs, stage: str, zero: int) -> None:
    found = losses(runs.sharded[stage, zero])
    assert len(found) == STEPS + 1 and found == pytest.approx(losses(runs.plain[stage]), rel=1e-5)


@pytest.mark.parametrize("zero", [None, *ZERO])
def test_gradients_that_travel_in_bfloat16_are_rounded_and_learn_the_same(
    runs: Runs, zero: int | None
) -> None:
    found, exact = losses(runs.halved[zero]), losses(runs.plain["video"])
    assert found == pytest.approx(exact, rel=1e-2) and found != pytest.approx(exact, rel=1e-6)


def test_they_do_so_under_autocast(runs: Runs) -> None:
    exact, found = (losses(runs.autocast[each]) for each in ("float32", "bfloat16"))
    assert len(found) == STEPS + 1 and found == pytest.approx(exact, rel=1e-2) and found != exact


def test_a_run_goes_on_at_another_number_of_workers_and_zero_stage(runs: Runs) -> None:
    found = losses(runs.moved)
    assert len(found) == STEPS + 1 and found == pytest.approx(losses(runs.plain["video"]), rel=1e-5)


@pytest.mark.parametrize("zero", ZERO)
def test_a_run_goes_from_two_workers_to_one_and_back_at_every_zero_stage(runs: Runs, zero: int) -> None:
    found = losses(runs.back[zero])
    assert len(found) == STEPS + 1 and found == pytest.approx(losses(runs.plain["video"]), rel=1e-5)


def test_each_stage_changes_under_zero_the_parts_that_it_trains(runs: Runs) -> None:
    video, audio, joint = (CheckpointManifest.read(c.folder / "checkpoint").parts for c in runs.in_turn)
    assert {part for part in video if video[part] != audio[part]} == {"adaptors", "audio_tower"}
    assert {part for part in video if audio[part] != joint[part]} == {
        "video_tower",
        "adaptors",
        "audio_tower",
    }
