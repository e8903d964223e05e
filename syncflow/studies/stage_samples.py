"""Clips that a stage makes while it trains, for eyes and ears, with their sync score.

    <output>/<stage>/samples/step_00000500/0.mp4, 0.png, 1.mp4 ...

The first windows of the test split, with the same noise every time: stage `video` makes their prompts'
videos, stage `audio` the audio for given ones, stage `joint` both. Worker 0 makes them on its own device
with the weights that are handed over (the moving average, or the step's own), and the others wait.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.loading import load_vae, load_video_vae
from syncflow.data.batches import LatentDataset
from syncflow.errors import UserError
from syncflow.evaluation.suite import summarise
from syncflow.evaluation.sync import TOLERANCE_S
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.generation.outputs import write_files
from syncflow.hashing import tensors_sha256
from syncflow.media.errors import MediaError
from syncflow.pixels import video_to_frames
from syncflow.records import AVLatents, LatentBatch, Weights
from syncflow.sampling.given import Given
from syncflow.sampling.options import SampleOptions
from syncflow.sampling.output import decode_audio, decode_video
from syncflow.sampling.prompts import Prompts
from syncflow.sampling.sample import sample, starting_noise
from syncflow.sampling.velocity import ClipVelocity
from syncflow.studies.audio_for_clips import HeldOutVideo, score_audio
from syncflow.training.loop import Callback
from syncflow.training.stage.config import TrainConfig
from syncflow.training.stage.objective import FlowObjective
from syncflow.training.stage.transfer import move

NOTHING = AVLatents(video=None, audio=None)


class StageSamples(Callback):
    """Every `samples.every` steps and at the end; figures go to the `reporters` as `samples/<name>`.

    Raises:
        UserError: no test split, or autoencoders that are not those of the dataset.
    """

    def __init__(
        self, config: TrainConfig, objective: FlowObjective, *, reporters: Sequence[Callback]
    ) -> None:
        dataset = LatentDataset(config.data, split="test")
        encoded = dataset.manifest
        self.config, self.objective, self.reporters = config, objective, reporters
        self.spec = dataset.spec
        self.batch = dataset.batch(
            0, batch_size=min(config.samples.count, len(dataset)), drop_probability=0.0
        )
        self.video_vae = load_video_vae(encoded.video_vae.location)
        self.audio_vae = load_vae(AudioVAE, Path(encoded.audio_vae.location))
        _check(self.video_vae, encoded.video_vae)
        _check(self.audio_vae, encoded.audio_vae)
        self.done = -1

    def on_step(self, step: int) -> None:
        if step % self.config.samples.every == 0:
            self._make(step)

    def on_end(self, step: int) -> None:
        if self.done != step:
            self._make(step)

    def _make(self, step: int) -> None:
        self.done = step
        frames, waveforms = self.clips()
        folder = self.config.folder / "samples" / f"step_{step:08}"
        for number, video in enumerate(frames):
            audio = None if waveforms is None else waveforms[number]
            try:
                write_files(
                    folder / f"{number}.mp4",
                    frames=video,
                    audio=audio,
                    spec=self.spec,
                    title=f"step {step}",
                    strip=True,
                    wav=False,
                )
            except (MediaError, OSError) as error:  # a full disk costs clips, not the training
                print(f"samples of step {step}: clip {number} not written ({error})", flush=True)
        figures = {} if waveforms is None else self._scores(frames, waveforms)
        for reporter in self.reporters:
            reporter.on_log(step, figures)
        told = ", ".join(f"{name.removeprefix('samples/')} {value:.3f}" for name, value in figures.items())
        print(f"samples of step {step} in {folder}{': ' if told else ''}{told}", flush=True)

    @torch.no_grad()
    def clips(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Frames uint8 `b f h w c`, and waveforms float32 `b m` where the stage makes them."""
        model, settings = self.objective.model, self.config.samples
        where, trains = next(model.parameters()).device, model.training
        batch: LatentBatch = move(self.batch, where)
        model.eval()
        scores = self.objective.stage.scores
        like = AVLatents(
            video=batch.latents.video if self.objective.needs_video else None,
            audio=batch.latents.audio if "audio" in scores else None,
        )
        given = Given(latents=NOTHING, keep=NOTHING)
        if "video" not in scores:
            assert batch.latents.video is not None, "a dataset has both"
            given = given.with_video(batch.latents.video)
        clean = self.config.flow.time.clean_video > 0
        with torch.autocast(where.type, dtype=torch.bfloat16, enabled=self.config.engine.bf16):
            made = sample(
                ClipVelocity(model=model, spec=self.spec, frame_times=self.objective.frame_times),
                starting_noise(
                    like, batch=len(batch.index), seed=self.config.seed, index=None, given=NOTHING
                ),
                prompts=Prompts(text=batch.text, negative=None),
                given=given,
                options=SampleOptions(
                    guidance=GuidanceConfig(scale=settings.guidance),
                    solver=SolverConfig(steps=settings.steps),
                    clean_video=clean,
                ),
            )
        model.train(trains)
        assert made.video is not None, "a stage is given a video or makes one"
        video = decode_video(self.video_vae.to(where), made.video.float(), self.spec)  # type: ignore[arg-type]
        self.video_vae.to("cpu")  # type: ignore[arg-type]
        if made.audio is None:
            return video_to_frames(video), None
        audio = decode_audio(self.audio_vae.to(where), made.audio.float(), self.spec)  # type: ignore[arg-type]
        self.audio_vae.to("cpu")  # type: ignore[arg-type]
        return video_to_frames(video), audio.float().cpu().numpy()

    def _scores(self, frames: np.ndarray, waveforms: np.ndarray) -> Mapping[str, float]:
        videos = [HeldOutVideo(name=str(n), prompt="", frames=each) for n, each in enumerate(frames)]
        rates = {"fps": self.spec.fps, "sample_rate": self.spec.sample_rate}
        found = summarise("samples", score_audio(videos, waveforms, **rates, tolerance_s=TOLERANCE_S))
        return {
            "samples/sync_f1": found.f1,
            "samples/sync_f1_by_chance": found.chance_f1,
            "samples/onsets_per_clip": found.onsets_per_clip,
        }


def _check(vae: torch.nn.Module, encoded: Weights) -> None:
    if tensors_sha256(vae.state_dict()) != encoded.sha256:
        raise UserError(
            f"samples: {encoded.location} is not the autoencoder that made the latents; put that one back, "
            "or set samples.every to 0"
        )
