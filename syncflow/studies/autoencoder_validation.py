"""Validation of an autoencoder while it trains: held-out windows under the last state's average."""

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.data.windows.decode import decoded_windows
from syncflow.data.windows.store import WindowStore
from syncflow.evaluation.reconstruction import AudioScore, VideoScore, summarise_audio, summarise_video
from syncflow.studies.reconstruction import reconstruct, score_window, write_sample
from syncflow.training.autoencoder.config import AutoencoderTrainConfig
from syncflow.training.autoencoder.run import build_vae, load_average
from syncflow.training.autoencoder.windows import training_windows
from syncflow.training.distributed import device
from syncflow.training.loop import Callback
from syncflow.training.resume import SavedState, saved_steps


class Record(Protocol):
    """Where the figures and files of a training go."""

    def on_log(self, step: int, metrics: Mapping[str, float]) -> None: ...

    def send_files(self, folder: Path, *, place: str) -> None: ...


class HeldOutWindows(Callback):
    """Every `validate_every` steps, after the state was saved; at one worker, rank 0.

    Figures go to the record of the run and to the console, images and waveforms to
    `<output>/held_out/step_...` and to the run's artifacts.
    """

    def __init__(
        self,
        config: AutoencoderTrainConfig,
        windows: WindowStore,
        *,
        record: Record,
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
                try:
                    write_sample(folder, name, vae=vae, original=original, made=made, score=scores[-1])
                except OSError as error:  # a full disk costs samples, not the training
                    print(f"held out at step {step}: {name} not written ({error})", flush=True)
        figures = summary_figures(scores)
        self.record.on_log(step, {f"held_out/{name}": value for name, value in figures.items()})
        told = ", ".join(f"{name} {value:.3g}" for name, value in figures.items())
        print(f"held out at step {step}: {told}", flush=True)
        self.record.send_files(folder, place=f"held_out/{folder.name}")
        return figures


def summary_figures(scores: Sequence[AudioScore | VideoScore]) -> dict[str, float]:
    """Finite figures over windows by name, without counts."""
    return {
        name: float(value)
        for name, value in _summary(scores).items()
        if name not in ("windows", "onsets", "peaks") and math.isfinite(value)
    }


def measure_saved(config: AutoencoderTrainConfig) -> dict[str, float]:
    """Reconstruction of the held-out clips by the saved weights; also written to `reconstruction.json`."""
    windows = decoded_windows(training_windows(config, held_out=True))
    vae = load_vae(AudioVAE if config.kind == "audio" else VideoVAE, config.output)  # type: ignore[arg-type]
    summary = _summary(
        [score_window(vae, *reconstruct(vae, window), fps=config.clip.fps) for window in windows]
    )
    (config.output / "reconstruction.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return summary


def _summary(scores: Sequence[AudioScore | VideoScore]) -> dict[str, float]:
    audio = [score for score in scores if isinstance(score, AudioScore)]
    video = [score for score in scores if isinstance(score, VideoScore)]
    return dataclasses.asdict(summarise_audio(audio) if audio else summarise_video(video))
