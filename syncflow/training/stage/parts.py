"""The parts of a stage's run at one worker: data, model and objective, engine and average, all in place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.dual_dit import DualDiT
from syncflow.model.float8 import compute_in_float8
from syncflow.model.lora import add_lora
from syncflow.noise import keyed_generator
from syncflow.records import LatentBatch
from syncflow.training.distributed import device, rank
from syncflow.training.ema import MovingAverage
from syncflow.training.engine import Engine, TorchEngine
from syncflow.training.finite import UpdateGuard
from syncflow.training.resume import SavedState, Stateful, check_settings, latest_state
from syncflow.training.schedule import learning_rate
from syncflow.training.stage.batches import whitening_batches
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.identity import compared_settings
from syncflow.training.stage.machine import compile_where_asked
from syncflow.training.stage.moments import carried_moments, with_moments
from syncflow.training.stage.objective import FlowObjective, stage_adamw
from syncflow.training.stage.stages import STAGES, Stage, hold_in_bf16
from syncflow.training.stage.start import FirstWeights, starting_model
from syncflow.training.stage.whitening import whiten

EngineFactory = Callable[[FlowObjective, TrainConfig], Engine[LatentBatch]]


def torch_engine(objective: FlowObjective, config: TrainConfig) -> TorchEngine[LatentBatch]:
    """Plain torch; with several workers each holds all of the state."""
    return TorchEngine(
        objective,
        optimizer=stage_adamw(objective, config),
        schedule=learning_rate(config.optimizer, steps=config.steps),
        clip_norm=config.optimizer.clip_norm,
        bf16=config.engine.bf16,
        communication=getattr(torch, config.engine.communication),
        guard=UpdateGuard(limit=config.optimizer.skip_not_finite, fault=objective.fault),
    )


@dataclass(frozen=True, kw_only=True)
class StageParts:
    """What the loop trains with, restored from the last state where there is one."""

    stage: Stage
    dataset: LatentDataset
    first: FirstWeights  # where the model's first weights came from
    objective: FlowObjective
    compiled: bool  # whether the model's blocks run compiled
    engine: Engine[LatentBatch]
    average: MovingAverage | None
    state: SavedState | None  # the state that the run resumes from
    settings: Mapping[str, Any]  # what a state of this run is compared by, by dotted name
    untrained: Mapping[str, Tensor]  # exact tensors of the frozen parts, at the first worker
    held_sha256: str  # of the frozen parts as the model holds them

    @property
    def stateful(self) -> list[Stateful]:
        """The parts that a state saves."""
        return [self.engine] if self.average is None else [self.engine, self.average]

    @property
    def start_step(self) -> int:
        """Updates done before this run."""
        return 0 if self.state is None else self.state.step

    def check_frozen(self) -> None:
        """Assert that training has left every tensor of the frozen parts as it was."""
        if tensors_sha256(_untrained(self.objective.model)) != self.held_sha256:
            raise AssertionError(f"stage {self.stage.name} changed weights that it does not train")


def stage_parts(config: TrainConfig, *, make_engine: EngineFactory = torch_engine) -> StageParts:
    """Load the data and the first weights, and go on from the last state of `config.folder`. Collective.

    Args:
        config: settings of the stage.
        make_engine: the engine of an objective; `torch_engine` or DeepSpeed's.

    Raises:
        UserError: data, first weights or settings do not fit, or the run is beyond `config.steps` already.
    """
    stage = STAGES[config.stage]
    dataset = LatentDataset(
        config.data,
        filters=config.filters,
        cache_gb=config.cache_gb,
        one_video_draw=config.one_video_draw,
    )
    model, first = starting_model(config)
    if config.lora.rank:
        add_lora(
            model,
            parts=stage.trains,
            layers=config.lora.layers,
            rank=config.lora.rank,
            alpha=config.lora.alpha or config.lora.rank,
            dropout=config.lora.dropout,
            generator=keyed_generator("lora", config.seed),
        )
    model.to(device())  # type: ignore[arg-type]
    exact: dict[str, Tensor] = {}
    if config.engine.bf16 and "video_tower" not in stage.trains:
        exact = hold_in_bf16(model.video_tower, "video_tower")
    if config.frozen_fp8:
        told = compute_in_float8(model, ["video_tower"], setting="frozen_fp8")
        if rank() == 0:
            print(told, flush=True)
    if config.engine.gradient_checkpointing:
        model.enable_gradient_checkpointing()
    compiled = compile_where_asked(model, config)
    objective = FlowObjective(
        model,
        stage=stage,
        flow=config.flow,
        spec=dataset.spec,
        frame_times=dataset.frame_times,
        seed=config.seed,
        features_gb=config.features_gb if config.knows_features else 0.0,
    )
    state = latest_state(config.folder / "engine")
    whitens = config.model.adaptor.whiten and not config.lora.rank  # a LoRA's base has its whitening
    if whitens and stage.name == "audio" and model.audio_tower.reads_video:
        batches = whitening_batches(dataset, config)
        whiten(objective, batches, folder=config.folder, resumed=state is not None)
    held = _untrained(model)
    held_sha256, frozen = tensors_sha256(held), tensors_sha256(held | exact)  # before an engine has the model
    engine = make_engine(objective, config)
    parts = StageParts(
        stage=stage,
        dataset=dataset,
        first=first,
        objective=objective,
        compiled=compiled,
        engine=engine,
        average=MovingAverage(engine, decay=config.ema_decay) if config.ema_decay else None,
        state=state,
        settings=_settings(config, dataset, first, frozen=frozen),
        untrained={} if rank() else held | exact,  # the first worker writes them
        held_sha256=held_sha256,
    )
    _restore(parts, config)
    return parts


def _settings(
    config: TrainConfig, dataset: LatentDataset, first: FirstWeights, *, frozen: str
) -> dict[str, Any]:
    settings = compared_settings(config, dataset=dataset.fingerprint, first_weights=first.sha256)
    settings["frozen_weights"] = frozen
    # older states name so the spans that their model placed the video by: they go on only if it still does
    settings["model.frame_spans"] = [list(span) for span in dataset.manifest.frame_spans]
    settings["sample_order"] = "row groups"  # states of older versions say none: they went by windows
    return settings


def _restore(parts: StageParts, config: TrainConfig) -> None:
    """Take up the last state, or the moments of the stage before where they are asked for."""
    state = parts.state
    if state is not None:
        saved = {"first_weights": parts.first.sha256, **state.manifest["settings"]}  # early states lack it
        allowed, source = config.allow_change, str(state.folder)
        check_settings(saved, parts.settings, allowed=allowed, source=source, anew="--begin-again")
        for part in parts.stateful:
            part.restore(state)
    elif config.carry_moments:
        parts.engine.restore(with_moments(parts.engine.weights(), carried_moments(parts.first.source)))
    if parts.start_step > config.steps:
        raise UserError(
            f"steps {config.steps}: {config.folder} is already at step {parts.start_step}; ask for more steps"
        )


def _untrained(model: DualDiT) -> dict[str, Tensor]:
    """The tensors of the model that the stage does not train, buffers among them."""
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    return {name: tensor for name, tensor in model.state_dict().items() if name not in trained}
