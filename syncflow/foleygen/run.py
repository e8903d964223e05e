"""Train FoleyGen with the one loop: the same engines, states, moving average and validation as the stages."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Any

import torch

from syncflow.config import settings_of
from syncflow.errors import UserError
from syncflow.foleygen.checkpoint import take_weights, write_foleygen
from syncflow.foleygen.config import FoleyGenConfig
from syncflow.foleygen.dataset import CodeBatch, CodeDataset
from syncflow.foleygen.model import FoleyGen
from syncflow.foleygen.objective import CodeObjective
from syncflow.foleygen.table import CodesManifest
from syncflow.foleygen.train_config import FoleyGenTrainConfig
from syncflow.training.distributed import barrier, device, rank
from syncflow.training.ema import MovingAverage, on_average
from syncflow.training.engine import Engine, TorchEngine
from syncflow.training.finite import UpdateGuard
from syncflow.training.loop import Callback, train
from syncflow.training.prefetch import prefetch
from syncflow.training.progress import Progress
from syncflow.training.resume import check_settings, latest_state
from syncflow.training.saver import Saver
from syncflow.training.schedule import adamw, learning_rate
from syncflow.training.shares import batches_of, batches_of_test_split, passes_of
from syncflow.training.stall import StallWatch
from syncflow.training.validation import Validation

CodeEngine = Engine[CodeBatch]
EngineFactory = Callable[[CodeObjective, FoleyGenTrainConfig], CodeEngine]


def torch_engine(objective: CodeObjective, config: FoleyGenTrainConfig) -> CodeEngine:
    """Plain torch; with several workers each holds all of the state."""
    return TorchEngine(
        objective,
        optimizer=adamw(objective, config=config.optimizer),
        schedule=learning_rate(config.optimizer, steps=config.steps),
        clip_norm=config.optimizer.clip_norm,
        bf16=config.engine.bf16,
        communication=getattr(torch, config.engine.communication),
        guard=UpdateGuard(limit=config.optimizer.skip_not_finite),
    )


def run_foleygen(
    config: FoleyGenTrainConfig,
    *,
    make_engine: EngineFactory = torch_engine,
    callbacks: Sequence[Callback] = (),
    lock: str = "",
) -> int:
    """Train from the beginning or the last state, and write the checkpoint; updates done.

    Called by every worker. A file `stop` in the folder ends training after the running step, with a state to
    go on from and no checkpoint. `lock` is the id of the owner of the folder's lock, if it is locked.

    Args:
        make_engine: the engine of an objective; `torch_engine` or DeepSpeed's.

    Raises:
        UserError: data or settings do not fit; a loss that is not finite.
    """
    dataset = CodeDataset(config.data, codes=config.table, filters=config.filters, cache_gb=config.cache_gb)
    torch.manual_seed(config.seed)
    model = FoleyGen(**model_config(config, dataset.manifest).model_dump())
    objective = CodeObjective(model).to(device())
    engine = make_engine(objective, config)
    average = MovingAverage(engine, decay=config.ema_decay) if config.ema_decay else None
    parts = [engine] if average is None else [engine, average]
    state, folder = latest_state(config.output / "engine"), config.output
    settings = compared_settings(config, dataset)
    if state is not None:
        saved, allowed = state.manifest["settings"], config.allow_change
        check_settings(saved, settings, allowed=allowed, source=str(state.folder))
        if state.step > config.steps:
            raise UserError(f"steps {config.steps}: {state.folder} is beyond; ask for {state.step} or more")
        for part in parts:
            part.restore(state)
    start = 0 if state is None else state.step
    saver = Saver(
        folder / "engine",
        parts,
        every=config.checkpoint_every,
        keep=config.keep,
        settings=settings,
        resumed=state,
        lock=lock,
    )
    with saver.naming_last_state(), StallWatch(folder / "stalled", minutes=config.stall_minutes) as stall:
        done = train(
            engine,
            prefetch(_batches(dataset, config, start_step=start)),
            steps=config.steps,
            start_step=start,
            accumulate=passes_of(config),
            log_every=config.log_every,
            callbacks=[
                *([] if average is None else [average]),
                *([Progress("FoleyGen")] if rank() == 0 else []),
                *on_average(
                    _validation(engine, config, dataset, callbacks), average, every=config.validate_every
                ),
                *callbacks,
                saver,
                stall,
            ],
            should_stop=(folder / "stop").exists,
            rates=lambda steps: {"samples_per_second": config.update_samples * steps},
        )
    if rank() == 0 and done == config.steps:
        take_weights(model, saver.last_states(1)[0], prefix="weight/" if average is None else "ema/")
        write_foleygen(folder / "checkpoint", model.to("cpu"), config=config, dataset=dataset, step=done)  # type: ignore[arg-type]
        print(f"FoleyGen: {done} steps done; checkpoint in {folder / 'checkpoint'}", flush=True)
    barrier()
    return done


def model_config(config: FoleyGenTrainConfig, codes: CodesManifest) -> FoleyGenConfig:
    """The sizes that are asked for, with those of codes and features."""
    return FoleyGenConfig(
        **config.model.model_dump(),
        num_codebooks=codes.num_codebooks,
        codebook_size=codes.codebook_size,
        code_rate=codes.code_rate,
        feature_dim=codes.feature_dim,
        feature_rate=codes.feature_rate,
    )


def compared_settings(config: FoleyGenTrainConfig, dataset: CodeDataset) -> dict[str, Any]:
    """What must be the same when a run goes on, by dotted name."""
    flat = settings_of(config) | {"dataset": dataset.fingerprint, "samples_an_update": config.update_samples}
    return flat | ({"steps": config.steps} if config.optimizer.decay == "cosine" else {})


def _batches(dataset: CodeDataset, config: FoleyGenTrainConfig, *, start_step: int) -> Iterator[CodeBatch]:
    """This worker's batches from update `start_step` on, for ever."""
    for step in count(start_step):
        update = range(step * config.update_samples, (step + 1) * config.update_samples)
        yield from batches_of(
            dataset, config, update=update, drop_probability=config.frames_dropout, seed=config.seed
        )


def _validation(
    engine: CodeEngine,
    config: FoleyGenTrainConfig,
    dataset: CodeDataset,
    reporters: Sequence[Callback],
) -> list[Callback]:
    if not config.validate_every:
        return []
    batches, counts = batches_of_test_split(dataset, config)
    if not batches:
        return []
    return [Validation(engine, batches, counts=counts, every=config.validate_every, reporters=reporters)]
