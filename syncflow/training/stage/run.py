"""One worker's part in a stage: its parts through the loop, and the hand-over."""

from collections.abc import Callable, Sequence

from syncflow.checkpoint import part_hashes
from syncflow.model.lora import settings_as_saved
from syncflow.training.distributed import barrier, rank
from syncflow.training.ema import on_average
from syncflow.training.loop import Callback, train
from syncflow.training.progress import Progress
from syncflow.training.saver import Saver
from syncflow.training.shares import passes_of
from syncflow.training.stage.adapter import write_adapter
from syncflow.training.stage.batches import noised_batches, validation_of
from syncflow.training.stage.checkpoint import write_checkpoint
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.machine import throughput_of
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.parts import EngineFactory, StageParts, stage_parts, torch_engine
from syncflow.training.stall import StallWatch


def run_stage(
    config: TrainConfig,
    *,
    make_engine: EngineFactory = torch_engine,
    callbacks: Sequence[Callback] = (),
    watch: Callable[[FlowObjective], Sequence[Callback]] = lambda _: (),
    lock: str = "",
) -> int:
    """Train the stage from its beginning or its last state, and write its checkpoint; updates done.

    Called by every worker. A file `stop` in the stage's folder ends training after the running step, with a
    state to go on from and no checkpoint.

    Args:
        config: settings of the stage.
        make_engine: the engine of an objective; `torch_engine` or DeepSpeed's.
        callbacks: what is told of every step, as trackers.
        watch: makes callbacks, at every worker or only at some, which look at the model every
            `samples.every` steps. They and validation see the weights that are handed over.
        lock: id of the owner of the folder's lock; empty where it is not locked.

    Raises:
        UserError: data, first weights or settings do not fit; a loss that is not finite.
    """
    parts, folder = stage_parts(config, make_engine=make_engine), config.folder
    engine, average, objective, dataset = parts.engine, parts.average, parts.objective, parts.dataset
    handed = average if config.checkpoint.weights == "ema" else None
    validations = validation_of(
        engine, config, dataset, callbacks, fault=objective.fault, compiled=parts.compiled
    )
    saver = Saver(
        folder / "engine",
        parts.stateful,
        every=config.checkpoint.every,
        keep=config.checkpoint.keep,
        settings=parts.settings,
        resumed=parts.state,
        lock=lock,
    )
    with saver.naming_last_state(), StallWatch(folder / "stalled", minutes=config.stall_minutes) as stall:
        done = train(
            engine,
            noised_batches(dataset, config, objective, start_step=parts.start_step, compiled=parts.compiled),
            steps=config.steps,
            start_step=parts.start_step,
            accumulate=passes_of(config),
            log_every=config.log_every,
            callbacks=[
                *([] if average is None else [average]),
                *([Progress(f"stage {config.stage}")] if rank() == 0 else []),
                *on_average(validations, handed, every=config.validate_every),
                *callbacks,
                *on_average(watch(objective), handed, every=config.samples.every),
                saver,
                stall,
            ],
            should_stop=(folder / "stop").exists,
            rates=throughput_of(config, dataset),
        )
    parts.check_frozen()
    if rank() == 0 and done == config.steps:
        _hand_over(config, parts, saver)
        print(f"stage {config.stage}: {done} steps done; checkpoint in {folder / 'checkpoint'}", flush=True)
    barrier()
    return done


def _hand_over(config: TrainConfig, parts: StageParts, saver: Saver) -> None:
    """Write the checkpoint of the last states; of a LoRA, the adapter alone."""
    if config.lora.rank:
        write_adapter(
            config.folder / "checkpoint",
            config=config,
            states=saver.last_states(config.checkpoint.average_last),
            settings=settings_as_saved(parts.objective.model),
            base=parts.first.source,
            base_sha256=parts.first.sha256,
            spec=parts.dataset.spec,
            dataset_fingerprint=parts.dataset.fingerprint,
        )
        return
    manifest = write_checkpoint(
        config.folder / "checkpoint",
        config=config,
        untrained=parts.untrained,
        states=saver.last_states(config.checkpoint.average_last),
        dataset=parts.dataset.manifest,
        dataset_fingerprint=parts.dataset.fingerprint,
        text_tokens=parts.dataset.mean_text_tokens,
        initialised_from=parts.first.source,
        initialised_from_sha256=parts.first.sha256,
    )
    if parts.first.source and "video_tower" not in parts.stage.trains:
        assert manifest.parts["video_tower"] == part_hashes(parts.untrained)["video_tower"]
