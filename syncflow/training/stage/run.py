"""One worker's part in a stage: data, model, engine, loop and hand-over put together."""

from collections.abc import Callable, Sequence

from torch import Tensor

from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.hashing import tensors_sha256
from syncflow.model.dual_dit import DualDiT
from syncflow.records import LatentBatch
from syncflow.training.distributed import barrier, device, rank
from syncflow.training.ema import MovingAverage, on_average
from syncflow.training.engine import Engine, TorchEngine
from syncflow.training.finite import UpdateGuard
from syncflow.training.loop import Callback, train
from syncflow.training.progress import Progress
from syncflow.training.resume import check_settings, latest_state
from syncflow.training.saver import Saver
from syncflow.training.schedule import learning_rate
from syncflow.training.shares import passes_of
from syncflow.training.stage.batches import noised_batches, validation_of, whitening_batches
from syncflow.training.stage.checkpoint import part_hashes, write_checkpoint
from syncflow.training.stage.compile import compile_where_asked
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.identity import compared_settings
from syncflow.training.stage.machine import throughput_of
from syncflow.training.stage.moments import carried_moments, with_moments
from syncflow.training.stage.objective import FlowObjective, stage_adamw
from syncflow.training.stage.stages import STAGES, hold_in_bf16
from syncflow.training.stage.start import starting_model
from syncflow.training.stage.whitening import whiten
from syncflow.training.stall import StallWatch

EngineFactory = Callable[[FlowObjective, TrainConfig], Engine[LatentBatch]]


def torch_engine(objective: FlowObjective, config: TrainConfig) -> TorchEngine[LatentBatch]:
    """Plain torch; with several workers each holds all of the state."""
    return TorchEngine(
        objective,
        optimizer=stage_adamw(objective, config),
        schedule=learning_rate(config.optimizer, steps=config.steps),
        clip_norm=config.optimizer.clip_norm,
        bf16=config.engine.bf16,
        guard=UpdateGuard(limit=config.optimizer.skip_not_finite, fault=objective.fault),
    )


def run_stage(
    config: TrainConfig,
    *,
    make_engine: EngineFactory = torch_engine,
    callbacks: Sequence[Callback] = (),
    watch: Callable[[FlowObjective], Sequence[Callback]] = lambda _: (),
    lock: str = "",
) -> int:
    """Train the stage from its beginning or its last state, and write its checkpoint; updates done.

    Called by every worker; `watch` makes callbacks, at every worker or only at some, which look at the
    model every `samples.every` steps. They and validation see the weights that are handed over. A file
    `stop` in the stage's folder ends training after the running step, with a state to go on from and no
    checkpoint. `lock` is the id of the owner of the folder's lock, if it is locked.

    Raises:
        UserError: data, first weights or settings do not fit; a loss that is not finite.
    """
    stage, folder = STAGES[config.stage], config.folder
    dataset = LatentDataset(config.data, filters=config.filters, cache_gb=config.cache_gb)
    model, first = starting_model(config)
    model.to(device())  # type: ignore[arg-type]
    exact: dict[str, Tensor] = {}
    if config.engine.bf16 and "video_tower" not in stage.trains:
        exact = hold_in_bf16(model.video_tower, "video_tower")
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
    )
    state = latest_state(folder / "engine")
    if config.model.adaptor.whiten and stage.name == "audio" and model.audio_tower.reads_video:
        whiten(objective, whitening_batches(dataset, config), folder=folder, resumed=state is not None)
    untrained = _untrained(model, stage.trains) | exact
    frozen, held = tensors_sha256(untrained), tensors_sha256(_untrained(model, stage.trains))
    if rank():
        untrained = exact = {}  # the first worker writes them
    engine = make_engine(objective, config)
    average = MovingAverage(engine, decay=config.ema_decay) if config.ema_decay else None
    parts = [engine] if average is None else [engine, average]

    settings = compared_settings(config, dataset=dataset.fingerprint, first_weights=first.sha256)
    settings["frozen_weights"] = frozen
    # older states name so the spans that their model placed the video by: they go on only if it still does
    settings["model.frame_spans"] = [list(span) for span in dataset.manifest.frame_spans]
    settings["sample_order"] = "row groups"  # states of older versions say none: they went by windows
    if state is not None:
        saved = {"first_weights": first.sha256, **state.manifest["settings"]}  # early states do not have it
        allowed, source = config.allow_change, str(state.folder)
        check_settings(saved, settings, allowed=allowed, source=source, anew="--begin-again")
        for part in parts:
            part.restore(state)
    elif config.carry_moments:
        engine.restore(with_moments(engine.weights(), carried_moments(first.source)))
    start_step = 0 if state is None else state.step
    if start_step > config.steps:
        raise UserError(f"steps {config.steps}: {folder} is already at step {start_step}; ask for more steps")

    handed = average if config.checkpoint.weights == "ema" else None
    validations = validation_of(engine, config, dataset, callbacks, fault=objective.fault, compiled=compiled)
    stop = folder / "stop"
    keep, every = config.checkpoint.keep, config.checkpoint.every
    saver = Saver(
        folder / "engine", parts, every=every, keep=keep, settings=settings, resumed=state, lock=lock
    )
    with saver.naming_last_state(), StallWatch(folder / "stalled", minutes=config.stall_minutes) as stall:
        done = train(
            engine,
            noised_batches(dataset, config, objective, start_step=start_step, compiled=compiled),
            steps=config.steps,
            start_step=start_step,
            accumulate=passes_of(config),
            log_every=config.log_every,
            callbacks=[
                *([] if average is None else [average]),
                *([Progress(f"stage {stage.name}")] if rank() == 0 else []),
                *on_average(validations, handed, every=config.validate_every),
                *callbacks,
                *on_average(watch(objective), handed, every=config.samples.every),
                saver,
                stall,
            ],
            should_stop=stop.exists,
            rates=throughput_of(config, dataset),
        )
    if tensors_sha256(_untrained(model, stage.trains)) != held:
        raise AssertionError(f"stage {stage.name} changed weights that it does not train")
    if rank() == 0 and done == config.steps:
        manifest = write_checkpoint(
            folder / "checkpoint",
            config=config,
            untrained=untrained,
            states=saver.last_states(config.checkpoint.average_last),
            dataset=dataset.manifest,
            dataset_fingerprint=dataset.fingerprint,
            text_tokens=dataset.mean_text_tokens,
            initialised_from=first.source,
            initialised_from_sha256=first.sha256,
        )
        if first.source and "video_tower" not in stage.trains:
            assert manifest.parts["video_tower"] == part_hashes(untrained)["video_tower"]
        print(f"stage {stage.name}: {done} steps done; checkpoint in {folder / 'checkpoint'}", flush=True)
    barrier()
    return done


def _untrained(model: DualDiT, trains: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of the model that the stage does not train, buffers among them."""
    trained = {
        name for name, _ in model.named_parameters() if name.startswith(tuple(f"{p}." for p in trains))
    }
    return {name: tensor for name, tensor in model.state_dict().items() if name not in trained}
