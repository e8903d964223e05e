"""Workers of a training run under Ray Train; what they train is not known here.

    run_workers(train_worker, config, workers=2, storage=output / "ray")

Each worker calls `train_worker(config)` with `torch.distributed` set up (gloo on CPU, NCCL on GPU). A
worker that dies is started again with all the others, up to `max_failures` times; the worker function
is to find its own last checkpoint.
"""

import contextlib
import logging
import os
import shutil
import signal
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch

from infra.executors.local_cluster import cluster, ray_is_elsewhere
from infra.executors.supervisor import ask_to_stop, stopping
from syncflow.errors import UserError, full_disk

C = TypeVar("C")
NO_GPU = "no GPU is visible, and these settings are made for GPUs (bf16)"
LOGGERS = ("ray.train", "ray.data", "ray")


@dataclass(frozen=True)
class Call:
    """One call of `run_workers`.

    Where its driver was killed, its workers may outlive it for a while. What they still say must not reach
    the workers of the next call, which has the same storage.
    """

    storage: Path
    name: str = field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def error(self) -> Path:
        """Where a worker writes a `UserError`."""
        return self.storage / f"user_error_{self.name}.txt"

    @property
    def _latest(self) -> Path:
        return self.storage / "latest_call"

    def begin(self) -> None:
        """Empty the storage, and be the latest call from now on."""
        shutil.rmtree(self.storage, ignore_errors=True)
        self.storage.mkdir(parents=True)
        self._latest.write_text(self.name, encoding="utf-8")

    def is_latest(self) -> bool:
        try:
            return self._latest.read_text(encoding="utf-8") == self.name
        except OSError:
            return False


def run_workers(
    worker_fn: Callable[[C], None],
    config: C,
    *,
    workers: int,
    storage: Path,
    stop: Path | None = None,
    min_workers: int = 0,
    use_gpu: bool | None = None,
    needs_gpu: str = "",
    max_failures: int = 0,
    cpus_per_worker: int = 1,
) -> None:
    """Call `worker_fn(config)` in `workers` processes and wait for all of them.

    With `min_workers` there may be fewer: as many as the cluster has room for when they start, and again
    after a failure. Ray looks once a minute whether more fit, and then starts all of them anew.

    Args:
        worker_fn: a function of an importable module.
        config: anything that pickles.
        storage: a folder of Ray's own, on storage that all nodes share; it is emptied first, and removed
            after success.
        stop: a file that a SIGTERM or Ctrl-C writes, at the driver or a worker; the worker function looks for
            it, and ends by itself.
        use_gpu: one GPU a worker; None: if the cluster has any.
        needs_gpu: what to do where there is no GPU, if the work is not to go on without; empty: it may.
        max_failures: how often the workers may be restarted after one of them failed. A `UserError` is
            not retried.

    Raises:
        UserError: what a worker raised as such.
        RuntimeError: the workers failed once more than `max_failures`.
    """
    if needs_gpu:
        refuse_without_gpu(needs_gpu)
    call = Call(storage.resolve())
    call.begin()
    print(f"starting {workers} worker{'s' * (workers > 1)} with Ray (about 20 s)", flush=True)
    with cluster(num_cpus=max(os.cpu_count() or 1, workers * cpus_per_worker)):
        import ray

        gpus = ray.cluster_resources().get("GPU", 0) if use_gpu is None else float(use_gpu) * workers
        if needs_gpu and not gpus:
            raise UserError(f"{NO_GPU}; {needs_gpu}")
        if use_gpu is None and 0 < gpus < (min_workers or workers):
            raise UserError(
                f"workers {workers}: the cluster has {gpus:g} GPUs; set workers to {gpus:g} or less"
            )
        scale = (min_workers, workers) if min_workers else workers
        with contextlib.nullcontext() if stop is None else stopping(stop):
            _fit(worker_fn, config, scale, call, stop, gpus > 0, max_failures, cpus_per_worker)
    shutil.rmtree(storage, ignore_errors=True)


def refuse_without_gpu(remedy: str) -> None:
    """Refuse to train on a machine without a GPU, before Ray starts; another cluster shows later what it has.

    Raises:
        UserError: no GPU here and no other cluster.
    """
    if not (ray_is_elsewhere() or torch.cuda.is_available()):
        raise UserError(f"{NO_GPU}; {remedy}")


def _fit(
    worker_fn: Callable[[C], None],
    config: C,
    workers: int | tuple[int, int],
    call: Call,
    stop: Path | None,
    use_gpu: bool,
    max_failures: int,
    cpus_per_worker: int,
) -> None:
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.v2.api.exceptions import TrainingFailedError

    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.ERROR)
    trainer = _trainer_class()(
        _worker,
        torch_config=_heeding_signals(stop, call) if stop else None,
        train_loop_config={"function": worker_fn, "config": config, "call": call},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=use_gpu,
            resources_per_worker={"CPU": cpus_per_worker, **({"GPU": 1} if use_gpu else {})},
        ),
        run_config=RunConfig(
            name="workers",
            storage_path=str(call.storage),
            failure_config=FailureConfig(max_failures=max_failures),
            logging_config=LoggingConfig(log_level="CRITICAL"),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        for cause in _causes(error):
            if isinstance(cause, UserError):
                raise UserError(str(cause)) from None
        raise RuntimeError(f"training failed: {error}") from error
    if call.error.exists():
        raise UserError(call.error.read_text(encoding="utf-8"))


def _trainer_class() -> Any:
    """Ray's TorchTrainer without processes that have nothing to do here; each takes a second to start.

    Our workers read their data themselves, and the placement group ends with this process's connection.
    """
    from ray.train.torch import TorchTrainer
    from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
    from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback

    spare = (DatasetsCallback, PlacementGroupCleanerCallback)

    class Trainer(TorchTrainer):
        def _create_default_callbacks(self) -> list[Any]:
            return [each for each in super()._create_default_callbacks() if not isinstance(each, spare)]

    return Trainer


def _heeding_signals(stop: Path, call: Call) -> Any:
    """Ray's torch setup, after which a SIGTERM or SIGINT to a worker writes `stop`.

    Python lets only a process's main thread set handlers, and the worker function has another.
    """
    from ray.train.torch import TorchConfig

    class Backend(TorchConfig().backend_cls):
        def on_start(self, worker_group: Any, backend_config: Any) -> None:
            super().on_start(worker_group, backend_config)
            worker_group.execute(_heed_signals, stop, call)

    class Config(TorchConfig):
        @property
        def backend_cls(self) -> type:
            return Backend

    return Config()


_has_ended = threading.Event()  # in a worker: its function has returned


def _heed_signals(stop: Path, call: Call) -> None:
    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if call.is_latest() and not _has_ended.is_set():  # Ray ends workers whose work is done with a SIGTERM
            ask_to_stop(stop, signal.Signals(number))

    kinds = (signal.SIGTERM, signal.SIGINT)
    for kind in kinds:
        signal.signal(kind, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, kinds)  # Ray starts its workers with SIGINT blocked


def _worker(settings: dict[str, Any]) -> None:
    """Runs in each worker. A `UserError` or a full disk is written down, so that the restart ends at once."""
    call: Call = settings["call"]
    if call.error.exists():
        return
    _quiet()
    _has_ended.clear()
    try:
        settings["function"](settings["config"])
    except Exception as error:
        told = str(error) if isinstance(error, UserError) else full_disk(error)
        if not told:
            raise
        with contextlib.suppress(OSError):
            call.error.write_text(told, encoding="utf-8")
        raise UserError(told) from error
    finally:
        _has_ended.set()


def _quiet() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    for name in (*LOGGERS, "torch.distributed"):
        logging.getLogger(name).setLevel(logging.ERROR)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and all that led to it, through Ray's wrappings."""
    waiting, seen = [error], set()
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        inner = [current.__cause__, current.__context__, getattr(current, "cause", None)]
        inner += list(getattr(current, "worker_failures", {}).values())
        inner.append(getattr(current, "controller_failure", None))
        waiting += [item for item in inner if isinstance(item, BaseException)]
