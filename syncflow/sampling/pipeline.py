"""SyncFlow as a diffusers pipeline: text to clip, video to audio, text to video, text to audio."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from syncflow.errors import UserError
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.flow.solver import Step, step_times
from syncflow.records import AVLatents
from syncflow.sampling.checks import (
    Modalities,
    check_choice,
    check_count,
    check_given,
)
from syncflow.sampling.given import Frames, GivenEncoder, check_keeps
from syncflow.sampling.graphed import Graphs
from syncflow.sampling.options import SampleOptions
from syncflow.sampling.output import OUTPUT_TYPES, OutputType, SyncFlowOutput
from syncflow.sampling.parts import SyncFlowParts
from syncflow.sampling.prompts import NULL_TOKENS, Lines, PromptEncoder
from syncflow.sampling.sample import sample, seeds_of, starting_noise, video_first
from syncflow.sampling.spans import Keep
from syncflow.sampling.unlike_training import unlike_training
from syncflow.sampling.velocity import ClipVelocity

Callback = Callable[[Any, int, float, dict[str, Tensor | None]], dict[str, Tensor | None] | None]
TENSOR_INPUTS = ("latents", "audio_latents")  # what a callback may be given
MAKES: dict[Modalities, frozenset[str]] = {
    "both": frozenset({"video", "audio"}),
    "video": frozenset({"video"}),
    "audio": frozenset({"audio"}),
}


class SyncFlowPipeline(SyncFlowParts):
    """Two-tower rectified flow over video and audio latents, solved from noise to data."""

    graphs: Graphs | None = None  # on a GPU: `Graphs()` runs the towers as CUDA graphs
    _num_timesteps = 0
    _callback_tensor_inputs = TENSOR_INPUTS  # diffusers' name for it

    @property
    def num_timesteps(self) -> int:
        """Solver steps of the call under way: how often `callback_on_step_end` is called in it."""
        return self._num_timesteps

    @torch.no_grad()
    def __call__(
        self,
        prompt: Lines = None,
        *,
        negative_prompt: Lines = None,
        video: Frames | None = None,
        audio: np.ndarray | Tensor | None = None,
        keep_video: Keep = "all",
        keep_audio: Keep = "all",
        strength: float = 1.0,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 6.0,
        audio_guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        guidance: GuidanceConfig | None = None,
        solver: SolverConfig | None = None,
        modalities: Modalities = "both",
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        seed: int | Sequence[int] | None = None,
        index: Sequence[int] | None = None,
        num_videos_per_prompt: int = 1,
        latents: Tensor | None = None,
        audio_latents: Tensor | None = None,
        video_steps_per_batch: int = 1,
        video_every: int = 1,
        clean_video: bool = False,
        output_type: OutputType = "np",
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = TENSOR_INPUTS,
        return_dict: bool = True,
    ) -> SyncFlowOutput | tuple:
        """Make one clip for each prompt (or given clip), `num_videos_per_prompt` times.

        Args:
            prompt: what the clip shows and sounds like; None with something given is the learned null prompt.
            negative_prompt: takes the null prompt's place in equation (3).
            video: given video: uint8 frames `f h w c` or `b f h w c`, or float latents `b c t h w`.
                Kept whole, which is the default, it gets new audio (Section 5, zero-shot), and the frames
                that come back are its reconstruction.
            audio: given audio: float samples `m` or `b m` in [-1, 1], or latents `b n d`.
            keep_video: what is kept of the given video: "all", "none", or spans [(start, end), ...] in
                seconds; the rest is made new (in-painting). A video that is shorter than the clip is
                continued.
            keep_audio: what is kept of the given audio, in the same form.
            strength: of the change of what is given and not kept: it is noised up to flow time
                1 - strength and solved from there (editing); at 1 it is made from noise alone.
            height: rows of a frame, pixels; default: the given video's, else the saved pipeline's.
            width: columns of a frame, pixels; default as for `height`.
            num_frames: length of the clip in frames; default as for `height`.
            num_inference_steps: solver steps, when no `solver` is given.
            guidance_scale: w of equation (3); `audio_guidance_scale` for the audio if it differs.
            guidance_interval: flow times from and to which guidance acts.
            guidance: all settings of guidance as one value, in place of the three above.
            solver: steps, method and spacing; Euler with equal steps by default.
            modalities: `video` alone is text to video. `audio` alone hands out the audio: the video is
                solved for too, unless the audio tower reads text alone.
            generator: draws the seed, on whatever device it is; or a list of them, one a clip, each of which
                draws its clip's seed. Or give `seed` (or a list of them, one per clip), and `index`, a number
                per clip. The noise of a clip depends on its (seed, index) alone: not on its batch, the other
                modality or the device.
            latents: video noise `b c t h w` to start from, in place of drawn noise.
            audio_latents: audio noise `b n d` to start from, in place of drawn noise.
            video_steps_per_batch: with a video that is kept whole, flow times whose video features are
                computed in one forward; the same audio up to rounding.
            video_every: run the video tower at every so many evaluations only, and reuse its velocity and
                its features in between; faster and less exact. Not with a video that is kept whole.
            clean_video: the audio tower reads the finished video from the first step on, not one noised to
                the audio's flow time; its features are then computed once. A video that is not given is
                made first, with all steps, and then the audio. For checkpoints whose stage audio had
                `flow.time.clean_video`.
            output_type: see `SyncFlowOutput`.
            callback_on_step_end: called with (pipeline, step, flow time, {"latents", "audio_latents"})
                after each step; latents in a mapping that it returns replace the state. Audio is None while
                `clean_video` makes the video. Diffusers' `PipelineCallback` objects are taken too.
            callback_on_step_end_tensor_inputs: which of the two it is given.
            return_dict: False gives (frames, audio).

        Raises:
            UserError: a request that cannot be met: one line, with the remedy.
        """
        options = SampleOptions.of_call(
            guidance=guidance,
            guidance_scale=guidance_scale,
            audio_guidance_scale=audio_guidance_scale,
            guidance_interval=guidance_interval,
            solver=solver,
            num_inference_steps=num_inference_steps,
            strength=strength,
            video_steps_per_batch=video_steps_per_batch,
            video_every=video_every,
            clean_video=clean_video,
        )
        num_videos_per_prompt = check_count("num_videos_per_prompt", num_videos_per_prompt)
        check_choice("modalities", modalities, MAKES)
        check_choice(
            "output_type", output_type, OUTPUT_TYPES, hint="; PIL.Image.fromarray takes a frame of 'np'"
        )
        names = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        for name in names:
            check_choice("callback_on_step_end_tensor_inputs", name, TENSOR_INPUTS)
        makes = MAKES[modalities]
        # audio that is made from the video needs one
        solved = makes | {"video"} if self.dual_dit.audio_tower.reads_video else makes
        check_given(
            modalities, video=video is not None, audio=audio is not None, strength=strength, solved=solved
        )
        spec = self._spec_of(video, height, width, num_frames)
        encoder = GivenEncoder(
            video_vae=self.video_vae,
            audio_vae=self.audio_vae,
            device=self._execution_device,
            before=self._wake,
        )
        given = encoder.encode(video, audio, spec, (keep_video, keep_audio))
        check_keeps(given, makes=makes, strength=strength)
        self._wake(self.text_encoder)
        prompts = PromptEncoder(
            model=self.text_encoder,
            tokenizer=self.tokenizer,
            max_tokens=self.config["max_text_tokens"],
            null_tokens=self.config["trained_text_tokens"] or NULL_TOKENS,
            device=self._execution_device,
        ).prompts(prompt, negative_prompt, given=given.batch, per_prompt=num_videos_per_prompt)
        noise = starting_noise(
            AVLatents(
                video=self._empty(self.video_vae.latent_shape(spec))
                if "video" in solved or video is not None
                else None,
                audio=self._empty(self.audio_vae.latent_shape(spec)) if "audio" in makes else None,
            ),
            batch=prompts.batch,
            seed=_seeds(seed, generator, index),
            index=None if index is None else [check_count("index", number, least=0) for number in index],
            given=AVLatents(video=latents, audio=audio_latents),
        )
        if prompts.same:  # without a prompt both passes of equation (3) are the same one
            options = options.without_guidance()
        scales = {options.guidance.scale, options.guidance.scale_of_audio}
        self._tell(
            unlike_training(
                trained_clean_video=self.config["trained_clean_video"],
                trained_prompt_dropout=self.config["trained_prompt_dropout"],
                clean_video=clean_video,
                guided=prompts.negative is None and scales != {1.0},
                without_prompt=prompts.same,
                hears_video="audio" in makes and self.dual_dit.audio_tower.reads_video,
            )
        )
        self._wake(self.dual_dit)
        passes = 2 if video_first(given, noise, clean_video=clean_video) else 1
        self._num_timesteps = passes * (len(step_times(options.solver, start=options.start)) - 1)
        with self.progress_bar(total=self._num_timesteps) as bar:  # type: ignore[call-issue]

            def after(step: Step) -> AVLatents | None:
                bar.update()
                return self._call_back(callback_on_step_end, step, names)

            x_1 = sample(
                ClipVelocity(model=self.dual_dit, spec=spec, frame_times=self.video_vae.frame_times(spec)),
                noise,
                prompts=prompts,
                given=given,
                options=options,
                callback=after,
                graphs=self.graphs,
            )
        made = AVLatents(video=x_1.video if "video" in makes else None, audio=x_1.audio)
        output = self.decode(made, spec, output_type=output_type)
        self._wake(None)
        return output if return_dict else (output.frames, output.audio)

    def _call_back(self, callback: Callback | None, step: Step, names: Sequence[str]) -> AVLatents | None:
        if callback is None:
            return None
        state = {"latents": step.x.video, "audio_latents": step.x.audio}
        state |= callback(self, step.number, step.t, {name: state[name] for name in names}) or {}
        return AVLatents(video=state["latents"], audio=state["audio_latents"])


def _seeds(
    seed: int | Sequence[int] | None, generator: Any, index: Sequence[int] | None
) -> int | Sequence[int]:
    """The seed of all clips, or one per clip: as given, or as drawn by `generator`."""
    if isinstance(seed, (list, tuple)):
        return [check_count("seed", each, least=0) for each in seed]
    if seed is not None:
        return check_count("seed", seed, least=0)
    seeds = seeds_of(generator)
    if not isinstance(seeds, int) and index is not None:
        raise UserError("index: with several generators each clip has a seed of its own; leave index out")
    return seeds
