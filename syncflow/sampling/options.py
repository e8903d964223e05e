"""How a call samples: guidance, solver and shortcuts, checked, as one value."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from syncflow.flow.config import GuidanceConfig, SolverConfig
from syncflow.sampling.checks import check_count, check_interval, check_weight


@dataclass(frozen=True, kw_only=True)
class SampleOptions:
    """How noise is solved for latents, whatever the prompts and the given video or audio."""

    guidance: GuidanceConfig = field(default_factory=GuidanceConfig)
    solver: SolverConfig = field(default_factory=SolverConfig)
    strength: float = 1.0  # of the change of what is given and not kept; solved from flow time 1 - strength
    video_steps_per_batch: int = 1  # flow times of a video that is kept whole, in one forward
    video_every: int = 1  # the video tower runs at every so many evaluations
    clean_video: bool = False  # the audio tower sees the finished video at every flow time

    @classmethod
    def of_call(
        cls,
        *,
        guidance: GuidanceConfig | None,
        guidance_scale: Any,
        audio_guidance_scale: Any,
        guidance_interval: Any,
        solver: SolverConfig | None,
        num_inference_steps: Any,
        strength: float,
        video_steps_per_batch: Any,
        video_every: Any,
        clean_video: bool,
    ) -> Self:
        """The options that the arguments of a pipeline's call ask for; `SyncFlowPipeline` explains each.

        Args:
            guidance_interval: flow times from and to which guidance acts.
            num_inference_steps: solver steps, when no `solver` is given.

        Raises:
            UserError: a number of another type or range; one line, with the remedy.
        """
        steps = check_count("num_inference_steps", num_inference_steps)
        if guidance is None:
            start, end = check_interval("guidance_interval", guidance_interval)
            guidance = GuidanceConfig(
                scale=check_weight("guidance_scale", guidance_scale),
                audio_scale=None
                if audio_guidance_scale is None
                else check_weight("audio_guidance_scale", audio_guidance_scale),
                start=start,
                end=end,
            )
        return cls(
            guidance=guidance,
            solver=solver or SolverConfig(steps=steps),
            strength=strength,
            video_steps_per_batch=check_count("video_steps_per_batch", video_steps_per_batch),
            video_every=check_count("video_every", video_every),
            clean_video=clean_video,
        )

    @property
    def start(self) -> float:
        """Flow time that the solver starts from."""
        return 1.0 - self.strength

    def without_guidance(self) -> Self:
        """The same with plain conditional velocities, for calls whose passes of equation (3) are one."""
        plain = self.guidance.model_copy(update={"scale": 1.0, "audio_scale": None})
        return replace(self, guidance=plain)
