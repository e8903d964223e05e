"""What a training leaves for others from the moment that it is accepted: resolved.yaml and its run in MLflow.

Nothing is written before the loop begins, so a request that a worker refuses leaves the files and the run of
an earlier training as they were.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from infra.tracking.points import MlflowCallback
from infra.tracking.runs import TrackedRun, client
from syncflow.config import Config, dump_config
from syncflow.training.loop import Callback

Open = Callable[[bool], TrackedRun | None]
"""Opens the run; told whether the training goes on from a saved state."""


class RunRecord(Callback):
    """Writes resolved.yaml, opens the run and sends its points; at one worker, rank 0.

    Args:
        config: the settings of the training.
        folder: where resolved.yaml and the points that the store has not taken yet lie.
        open_run: opens the run in MLflow; None where nothing is tracked.
    """

    def __init__(self, config: Config, *, folder: Path, open_run: Open | None) -> None:
        self.config, self.folder, self.open_run = config, folder, open_run
        self.run: TrackedRun | None = None
        self._points: MlflowCallback | None = None

    def on_start(self, *, start_step: int, steps: int) -> None:
        dump_config(self.config, self.folder / "resolved.yaml")
        if self.open_run is None:
            return
        self.run = self.open_run(start_step > 0)
        self._points = MlflowCallback(self.run, spill=self.folder / "unsent_points.jsonl")
        self._points.on_start(start_step=start_step, steps=steps)

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None:
        if self._points is not None:
            self._points.on_log(step, metrics)

    def send_files(self, folder: Path, *, place: str) -> None:
        """Files of a folder to the run's artifacts; training goes on where the store does not take them."""
        if self.run is None or not folder.is_dir():
            return
        try:
            client(self.run.uri).log_artifacts(self.run.run_id, str(folder), artifact_path=place)
        except Exception as error:
            print(
                f"MLflow did not take the samples ({type(error).__name__}); they are in {folder}", flush=True
            )

    def on_end(self, step: int) -> None:
        if self._points is not None:
            self._points.on_end(step)
