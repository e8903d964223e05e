"""One worker: the pipeline in memory, a batch of clips in, their files out."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from syncflow.errors import UserError
from syncflow.generation.config import GenerateConfig
from syncflow.generation.inputs import Inputs, read_inputs
from syncflow.generation.loading import LoadedPipeline, load_pipeline
from syncflow.generation.outputs import write_files
from syncflow.generation.plan import Batch, Done, file_name, sidecar_path
from syncflow.generation.sidecar import Clip, Sidecar, versions
from syncflow.hashing import tensors_sha256
from syncflow.records import AVLatents, ClipSpec
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.sampling.spans import parse_keep

Score = Callable[[np.ndarray, np.ndarray, ClipSpec], float]
"""How good frames (uint8 `f h w c`) and audio (float32 `m`) are together; more is better."""
Report = Callable[[float], None]
"""Called with the share of a batch that is done, 0 to 1."""
Watch = Callable[[float, AVLatents], None]
"""Called after each solver step with its flow time and latents (None: a modality not yet solved for)."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """One clip as it will be written."""

    latents: AVLatents  # of one clip
    frames: np.ndarray | None
    audio: np.ndarray | None
    candidate: int
    scores: tuple[float, ...]  # of all candidates so far; empty where there is but one


class ClipWorker:
    """Makes batches; it holds the weights, so a process makes one worker and gives it many batches."""

    def __init__(
        self,
        config: GenerateConfig,
        *,
        weights: dict[str, str] | None = None,
        score: Score | None = None,
        loaded: LoadedPipeline | None = None,
    ) -> None:
        """`weights` are the hashes that the clips of the output folder were made with; `score` is what
        `best_of` chooses by; `loaded` is the pipeline, where it is in memory already.

        Raises:
            UserError: as `load_pipeline`; or the weights are not `weights`.
        """
        self.config, self.score = config, score
        self.loaded: LoadedPipeline = loaded or load_pipeline(config)
        if weights is not None and weights != self.loaded.weights:
            raise UserError(
                f"output {config.output}: its clips were made with other weights; give another --output"
            )
        clip = config.clip
        self.spec = self.loaded.pipeline.spec(
            height=clip.height, width=clip.width, num_frames=clip.num_frames
        )

    def __call__(self, batch: Batch, report: Report = lambda share: None) -> Done:
        """Write the clips that the batch wants.

        Raises:
            UserError: a request that cannot be met.
        """
        inputs = [read_inputs(clip, self.config, self.spec) for clip in batch.clips]
        good = [place for place, each in enumerate(inputs) if not each.failure]
        wanted = [good.index(place) for place in batch.wanted if place in good]
        if wanted:
            clips = [batch.clips[place] for place in good]
            self.make(clips, [inputs[place] for place in good], wanted, report=report)
        failures = {batch.clips[i].name: inputs[i].failure for i in batch.wanted if inputs[i].failure}
        notes = {batch.clips[i].name: inputs[i].note for i in batch.wanted if inputs[i].note}
        return Done(clips=len(batch.wanted), failures=failures, notes=notes)

    def make(
        self,
        clips: Sequence[Clip],
        inputs: Sequence[Inputs],
        wanted: Sequence[int],
        *,
        candidates: Sequence[int] | None = None,
        report: Report = lambda share: None,
    ) -> list[Sidecar]:
        """Make `clips` together and write the `wanted` ones, the best of the candidates of each.

        Args:
            report: called with the share that is done, 0 to 1.
        """
        best = self.best(clips, inputs, wanted, candidates=candidates, report=report)
        return [self.write(best[place], clips, place, folder=self.config.output) for place in wanted]

    def best(
        self,
        clips: Sequence[Clip],
        inputs: Sequence[Inputs],
        wanted: Sequence[int],
        *,
        candidates: Sequence[int] | None = None,
        report: Report = lambda share: None,
        watch: Watch = lambda t, latents: None,
    ) -> dict[int, Made]:
        """Make `clips` together: by place in the batch, the best candidate of each of the `wanted` ones.

        An error that `report` or `watch` raises ends it.

        Args:
            candidates: numbers of the candidates to make; None: all of `best_of`.
        """
        numbers = range(self.config.best_of) if candidates is None else candidates
        best: dict[int, Made] = {}
        for turn, candidate in enumerate(numbers):
            found = self._solve(
                clips,
                inputs,
                candidate,
                report=lambda share, turn=turn: report((turn + share) / len(numbers)),
                watch=watch,
            )
            for place in wanted:
                made = self._decode(found, place, inputs[place], candidate)
                best[place] = self._better(best.get(place), made)
        return best

    def _solve(
        self,
        clips: Sequence[Clip],
        inputs: Sequence[Inputs],
        candidate: int,
        *,
        report: Report,
        watch: Watch,
    ) -> AVLatents:
        config, spec = self.config, self.spec
        done = itertools.count(1)

        def stepped(pipeline: SyncFlowPipeline, _step: int, t: float, state: dict) -> None:
            report(next(done) / (pipeline.num_timesteps + 1))  # the last part is decoding
            watch(t, AVLatents(video=state["latents"], audio=state["audio_latents"]))

        videos = [each.frames for each in inputs if each.frames is not None]
        waveforms = [each.audio for each in inputs if each.audio is not None]
        found: Any = self.loaded.pipeline(
            [clip.prompt for clip in clips] if clips[0].prompt else None,
            negative_prompt=config.negative_prompt or None,
            video=np.stack(videos) if videos else None,
            audio=np.stack(waveforms) if waveforms else None,
            keep_video=parse_keep(config.keep_video),
            keep_audio=parse_keep(config.keep_audio),
            strength=config.strength if clips[0].video else 1.0,
            height=spec.height,
            width=spec.width,
            num_frames=spec.num_frames,
            guidance=config.guidance,
            solver=config.solver,
            modalities=config.modalities,
            seed=[config.seed if clip.seed is None else clip.seed for clip in clips],
            index=[clip.noise_index(candidate) for clip in clips],
            video_steps_per_batch=config.speed.video_steps_per_batch,
            video_every=config.speed.video_every,
            clean_video=config.clean_video,
            output_type="latent",
            callback_on_step_end=stepped,
        )
        return AVLatents(video=found.frames, audio=found.audio)

    def _decode(self, found: AVLatents, place: int, inputs: Inputs, candidate: int) -> Made:
        """One clip; what was kept whole is the input's own, not its reconstruction."""
        latents = AVLatents(
            video=None if found.video is None else found.video[place : place + 1],
            audio=None if found.audio is None else found.audio[place : place + 1],
        )
        own_video = inputs.frames is not None and self.config.keep_video == "all"
        own_audio = inputs.audio is not None and self.config.keep_audio == "all"
        decoded: Any = self.loaded.pipeline.decode(
            AVLatents(video=None if own_video else latents.video, audio=None if own_audio else latents.audio),
            self.spec,
        )
        frames = inputs.frames if own_video and latents.video is not None else None
        audio = inputs.audio if own_audio else None
        return Made(
            latents=latents,
            frames=frames if decoded.frames is None else decoded.frames[0],
            audio=audio if decoded.audio is None else decoded.audio[0],
            candidate=candidate,
            scores=(),
        )

    def _better(self, best: Made | None, made: Made) -> Made:
        """The better of two candidates, the earlier one where they are as good."""
        if self.config.best_of == 1 or self.score is None:
            return made
        assert made.frames is not None and made.audio is not None, "best_of needs video and audio"
        score = self.score(made.frames, made.audio, self.spec)
        scores = (*(best.scores if best else ()), score)
        chosen = best if best is not None and score <= max(best.scores) else made
        return Made(
            latents=chosen.latents,
            frames=chosen.frames,
            audio=chosen.audio,
            candidate=chosen.candidate,
            scores=scores,
        )

    def write(self, made: Made, clips: Sequence[Clip], place: int, *, folder: Path) -> Sidecar:
        """Write the clip, its strip, and last its sidecar, which says that they are whole, into `folder`.

        Args:
            place: of the clip in its batch.
        """
        config, clip = self.config, clips[place]
        named = {"video": made.latents.video, "audio": made.latents.audio}
        sidecar = Sidecar(
            file=file_name(clip, config),
            batch=tuple(clips),
            position=place,
            candidate=made.candidate,
            scores=made.scores,
            settings=config.model_dump(mode="json"),
            weights=self.loaded.weights,
            latents={name: tensors_sha256({name: z}) for name, z in named.items() if z is not None},
            device=str(self.loaded.pipeline._execution_device),
            versions=versions(),
        )
        write_files(
            folder / sidecar.file,
            frames=made.frames,
            audio=made.audio,
            spec=self.spec,
            title=clip.prompt,
            strip=config.strip,
            wav=config.wav,
        )
        sidecar.write(sidecar_path(clip, folder))
        return sidecar
