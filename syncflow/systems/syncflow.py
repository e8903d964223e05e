"""SyncFlow as a diffusers pipeline: text to clip, video to sound, text to picture, text to sound."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from syncflow.autoencoders.audio_vae import AudioVAE
from syncflow.autoencoders.video_vae import VideoVAE
from syncflow.errors import UserError
from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.flow.guidance import GuidedVelocity
from syncflow.flow.solver import Step
from syncflow.model.dual_dit import DualDiT
from syncflow.records import AVLatents, ClipSpec
from syncflow.systems.pictures import frames_to_video, video_to_frames
from syncflow.systems.prompts import Lines, PromptEncoder
from syncflow.systems.request import check_count, check_latents, check_size
from syncflow.systems.sampling import follow, starting_noise

Modalities = Literal["both", "video", "audio"]
Callback = Callable[[Any, int, float, dict[str, Tensor | None]], dict[str, Tensor | None] | None]


@dataclass
class SyncFlowOutput(BaseOutput):
    """One entry a clip; None for a modality that was not made."""

    frames: np.ndarray | Tensor | None
    """`np`: uint8 b f h w c; `pt`: float32 b c f h w, about [-1, 1]; `latent`: float32 b c t h w."""
    audio: np.ndarray | Tensor | None
    """`np`, `pt`: float32 b m, about [-1, 1]; `latent`: float32 b n d."""


class SyncFlowPipeline(DiffusionPipeline):
    """Two-tower rectified flow over video and audio latents, solved from noise to data.

    A saved pipeline is a folder with model_index.json and a folder a part; it loads offline.
    """

    def __init__(
        self,
        dual_dit: DualDiT,
        video_vae: VideoVAE,
        audio_vae: AudioVAE,
        text_encoder: T5EncoderModel,
        tokenizer: PreTrainedTokenizerBase,
        height: int = 256,
        width: int = 256,
        num_frames: int = 32,
        fps: int = 16,
        max_text_tokens: int = 300,
    ) -> None:
        """The numbers are the defaults of `__call__`, saved with the parts: pixels, frames, Hz, tokens."""
        super().__init__()
        self.register_modules(
            dual_dit=dual_dit,
            video_vae=video_vae,
            audio_vae=audio_vae,
            text_encoder=text_encoder,
            tokenizer=tokenizer,
        )
        self.register_to_config(
            height=height, width=width, num_frames=num_frames, fps=fps, max_text_tokens=max_text_tokens
        )

    @property
    def strides(self) -> tuple[int, int]:
        """What rows and columns of a frame must be multiples of, pixels."""
        _, rows, columns = self.dual_dit.video_tower.config.patch_size
        return self.video_vae.spatial_stride * rows, self.video_vae.spatial_stride * columns

    def spec(self, *, height: int | None, width: int | None, num_frames: int | None) -> ClipSpec:
        """The clip of that size, None taking the saved default.

        Raises:
            UserError: no frames, or a size that the parts cannot make; it names the nearest that they can.
        """
        saved = self.config
        frames = saved["num_frames"] if num_frames is None else num_frames
        rows, columns = (
            (saved["height"] if height is None else height),
            (saved["width"] if width is None else width),
        )
        check_count("num_frames", frames)
        check_size(rows, columns, strides=self.strides)
        rate = self.audio_vae.config.sample_rate
        return ClipSpec(
            seconds=frames / saved["fps"], fps=saved["fps"], height=rows, width=columns, sample_rate=rate
        )

    @torch.no_grad()
    def __call__(
        self,
        prompt: Lines = None,
        *,
        negative_prompt: Lines = None,
        video: np.ndarray | Tensor | Sequence[np.ndarray] | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 6.0,
        audio_guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        solver: SolverConfig | None = None,
        modalities: Modalities = "both",
        generator: torch.Generator | None = None,
        seed: int | None = None,
        index: Sequence[int] | None = None,
        num_videos_per_prompt: int = 1,
        latents: Tensor | None = None,
        audio_latents: Tensor | None = None,
        output_type: Literal["np", "pt", "latent"] = "np",
        callback_on_step_end: Callback | None = None,
        return_dict: bool = True,
    ) -> SyncFlowOutput | tuple:
        """Make one clip for each prompt (or video), `num_videos_per_prompt` times.

        Args:
            prompt: what is to be seen and heard; None with a `video` is the learned null prompt.
            negative_prompt: takes the null prompt's place in equation (3).
            video: the picture to make sound for (Section 5, zero-shot): uint8 `f h w c` or `b f h w c`,
                or float video latents `b c t h w`. The frames that come back are its reconstruction.
            height, width, num_frames: size in pixels and length; default: the video's, else the saved ones.
            num_inference_steps: solver steps, when no `solver` is given.
            guidance_scale: w of equation (3); `audio_guidance_scale` for the audio if it differs.
            guidance_interval: flow times from and to which guidance acts.
            solver: steps, method and spacing; Euler with equal steps by default.
            modalities: `video` alone is text to picture; `audio` alone needs a text-to-audio checkpoint.
            generator: draws the seed; or give `seed`, and `index`, a number a clip. The noise of a clip
                depends on its (seed, index) alone: not on its batch, the other modality or the device.
            latents, audio_latents: noise to start from, in place of drawn noise.
            output_type: see `SyncFlowOutput`.
            callback_on_step_end: called with (pipeline, step, flow time, {"latents", "audio_latents"})
                after each step; latents in a mapping that it returns replace the state.
            return_dict: False gives (frames, audio).

        Raises:
            UserError: a request that cannot be met: one line, with the remedy.
        """
        check_count("num_inference_steps", num_inference_steps)
        check_count("num_videos_per_prompt", num_videos_per_prompt)
        self._check_modalities(modalities, video)
        given, spec = self._given(video, height, width, num_frames)
        prompts = PromptEncoder(
            model=self.text_encoder,
            tokenizer=self.tokenizer,
            max_tokens=self.config["max_text_tokens"],
            device=self._execution_device,
        ).prompts(
            prompt,
            negative_prompt,
            videos=None if given is None else given.shape[0],
            per_prompt=num_videos_per_prompt,
        )
        noise = starting_noise(
            AVLatents(
                video=None if modalities == "audio" else self._empty(self.video_vae.latent_shape(spec)),
                audio=None if modalities == "video" else self._empty(self.audio_vae.latent_shape(spec)),
            ),
            batch=prompts.batch,
            seed=int(torch.randint(2**62, (), generator=generator)) if seed is None else seed,
            index=index,
            given=AVLatents(video=latents, audio=audio_latents),
        )
        spans = self.video_vae.frame_spans(spec.num_frames)

        def velocity(x_t: AVLatents, t: Tensor, text: Any) -> AVLatents:
            return self.dual_dit(
                x_t, t, text, fps=spec.fps, height=spec.height, width=spec.width, frame_spans=spans
            )

        start, end = guidance_interval
        # without a prompt both passes of equation (3) are the same one
        scales = (1.0, None) if prompts.same else (guidance_scale, audio_guidance_scale)
        field = GuidedVelocity(
            velocity,
            text=prompts.text,
            negative=prompts.negative,
            config=GuidanceConfig(scale=scales[0], audio_scale=scales[1], start=start, end=end),
            prepare=self.dual_dit.prepare_text,
        )
        config = solver or SolverConfig(steps=num_inference_steps)
        with self.progress_bar(total=config.steps) as bar:  # type: ignore[call-issue]

            def after(step: Step) -> AVLatents | None:
                bar.update()
                return self._call_back(callback_on_step_end, step)

            x_1 = follow(field, noise, video=given, config=config, callback=after)
        output = self.decode(x_1, spec, output_type=output_type)
        return output if return_dict else (output.frames, output.audio)

    def _check_modalities(self, modalities: Modalities, video: object) -> None:
        if modalities == "audio" and self.dual_dit.audio_tower.reads_video:
            raise UserError(
                "modalities audio: this checkpoint's audio tower reads the video tower; ask for both, "
                "or use a checkpoint trained with audio.context text"
            )
        if modalities != "both" and video is not None:
            raise UserError(f"modalities {modalities} with a video: video to sound needs modalities both")

    def _given(
        self, video: Any, height: int | None, width: int | None, num_frames: int | None
    ) -> tuple[Tensor | None, ClipSpec]:
        """The latents of a given video, and the clip that is to be made."""
        if video is None:
            return None, self.spec(height=height, width=width, num_frames=num_frames)
        if isinstance(video, Tensor) and video.is_floating_point():
            spec = self.spec(height=height, width=width, num_frames=num_frames)
            check_latents("video", video, shape=self.video_vae.latent_shape(spec), batch=None)
            return video.to(self._execution_device, torch.float32), spec
        pixels = frames_to_video(video)  # b c f h w
        spec = self.spec(height=pixels.shape[3], width=pixels.shape[4], num_frames=pixels.shape[2])
        encode = self.video_vae.encode
        return torch.cat([encode(clip[None].to(self._execution_device)).mode for clip in pixels]), spec

    def _empty(self, shape: tuple[int, ...]) -> Tensor:
        """No clips, in the shape of one."""
        return torch.empty(0, *shape, device=self._execution_device)

    def _call_back(self, callback: Callback | None, step: Step) -> AVLatents | None:
        if callback is None:
            return None
        state = {"latents": step.x.video, "audio_latents": step.x.audio}
        state |= callback(self, step.number, step.t, dict(state)) or {}
        return AVLatents(video=state["latents"], audio=state["audio_latents"])

    @torch.no_grad()
    def decode(self, x_1: AVLatents, spec: ClipSpec, *, output_type: str = "np") -> SyncFlowOutput:
        """Latents as frames and sound, clip by clip (see `SyncFlowOutput`)."""
        if output_type == "latent":
            return SyncFlowOutput(frames=x_1.video, audio=x_1.audio)
        frames = audio = None
        if x_1.video is not None:
            decode = self.video_vae.decode
            frames = torch.cat([decode(z[None], num_frames=spec.num_frames) for z in x_1.video])
        if x_1.audio is not None:
            audio = torch.cat(
                [self.audio_vae.decode(z[None], num_samples=spec.num_samples) for z in x_1.audio]
            )
        if output_type == "pt":
            return SyncFlowOutput(frames=frames, audio=audio)
        return SyncFlowOutput(
            frames=None if frames is None else video_to_frames(frames),
            audio=None if audio is None else audio.cpu().numpy(),
        )
