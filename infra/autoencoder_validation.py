"""Validation of an autoencoder while it trains: held-out windows under the last state's average."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from infra.reconstruction import score_window, write_sample
from infra.tracking.run_record import RunRecord
from infra.tracking.runs import client
from syncflow.data.windows.store import WindowStore
from syncflow.evaluation.reconstruction import AudioScore, VideoScore, summarise_audio, summarise_video
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.autoencoder.reconstruct import reconstruct
from syncflow.training.autoencoder.run import build_vae, load_average
from syncflow.training.distributed import device
from syncflow.training.loop import Callback
from syncflow.training.resume import SavedState, saved_steps


class HeldOutWindows(Callback):
    """Every `validate_every` steps, after the state was saved; at one worker, rank 0.

    Figures go to the record of the run and to the console, pictures and sounds to
    `<output>/held_out/step_...` and to the run's artifacts.
    """

    def __init__(
        self,
        config: AutoencoderTrainConfig,
        windows: WindowStore,
        *,
        record: RunRecord,
    ) -> None:
        self.config, self.windows, self.record = config, windows, record
        count = min(config.validation_windows, len(windows))
        self.chosen = np.linspace(0, len(windows) - 1, count).round().astype(int).tolist()

    def on_step(self, step: int) -> None:
        if step % self.config.validate_every == 0:
            self.validate(step)

    def validate(self, step: int) -> Mapping[str, float]:
        """Figures of the chosen windows by name."""
        state = SavedState(saved_steps(self.config.output / "engine")[0])
        assert state.step == step, f"the last state is of step {state.step}, not {step}"
        vae = build_vae(self.config)
        load_average(vae, state)
        vae.to(device()).eval()  # type: ignore[arg-type]
        folder, scores = self.config.output / "held_out" / f"step_{step:08}", []
        for row in self.chosen:
            original, made = reconstruct(vae, self.windows[row])
            scores.append(score_window(vae, original, made, fps=self.config.clip.fps))
            if len(scores) <= self.config.validation_samples:
                name = f"window_{row:04}"
                write_sample(folder, name, vae=vae, original=original, made=made, score=scores[-1])
        figures = summary_figures(scores)
        self.record.on_log(step, {f"held_out/{name}": value for name, value in figures.items()})
        told = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
        print(f"held out at step {step}: {told}", flush=True)
        self._send(folder)
        return figures

    def _send(self, folder: Path) -> None:
        run = self.record.run
        if run is None or not folder.is_dir():
            return
        try:
            store = client(run.uri)
            store.log_artifacts(run.run_id, str(folder), artifact_path=f"held_out/{folder.name}")
        except Exception as error:  # training goes on; the files are in the output folder
            print(
                f"MLflow did not take the samples ({type(error).__name__}); they are in {folder}", flush=True
            )


def summary_figures(scores: Sequence[AudioScore | VideoScore]) -> dict[str, float]:
    """Finite figures over windows by name, without counts."""
    sounds = [score for score in scores if isinstance(score, AudioScore)]
    pictures = [score for score in scores if isinstance(score, VideoScore)]
    summary = summarise_audio(sounds) if sounds else summarise_video(pictures)
    return {
        name: float(value)
        for name, value in dataclasses.asdict(summary).items()
        if name not in ("windows", "onsets", "peaks") and math.isfinite(value)
    }
