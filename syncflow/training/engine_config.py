"""Settings of an optimizer and of how its updates are computed; those of any training that has the loop."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from syncflow.config import Config, Role


class OptimizerConfig(Config):
    """AdamW and its learning rate."""

    lr: float = Field(default=1e-4, gt=0)
    """Learning rate after warm-up."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay of the first and second moments of AdamW."""
    weight_decay: float = Field(default=0.01, ge=0)
    """Weight decay, decoupled; on matrices only (no biases, norms, embedded prompts, or tables of
    shifts, scales and gates)."""
    warmup_steps: int = Field(default=1000, ge=0)
    """Steps in which the learning rate rises linearly from zero."""
    decay: Literal["none", "cosine", "inverse_sqrt"] = "none"
    """What follows the warm-up: the same rate, a half cosine down to a hundredth of it at `steps`,
    or one over the square root of the step, which is the same at any number of steps."""
    clip_norm: float = Field(default=1.0, ge=0)
    """Largest norm of the gradient; larger ones are scaled down to it. 0 scales none."""
    skip_not_finite: Annotated[int, Role.WORK] = Field(default=0, ge=0)
    """Updates that may be skipped since the last start because their gradient holds NaN or Inf; one more ends
    training, with the last state intact. 0: the first one ends it."""


class EngineConfig(Config):
    """How a step is computed; none of it changes what is learnt, but for the rounding of bf16."""

    kind: Annotated[Literal["auto", "deepspeed", "torch"], Role.WORK] = "auto"
    """`deepspeed`: ZeRO; `torch`: plain torch, every worker holds everything; `auto`: ZeRO where there are
    several workers."""
    zero_stage: Annotated[Literal[0, 1, 2, 3], Role.WORK] = 1
    """What ZeRO shards over the workers: 0 nothing, 1 optimizer states, 2 gradients too, 3 weights too."""
    bf16: Annotated[bool, Role.ROUNDING] = True
    """Matrix products in bfloat16 (autocast); weights, moments and losses stay float32."""
    communication: Annotated[Literal["float32", "bfloat16"], Role.ROUNDING] = "float32"
    """Type in which gradients travel between workers; bfloat16 halves their bytes. Under `zero_stage` 3 with
    `bf16` the weights of linear layers travel in it, too. Each worker's weights and moments stay float32."""
    gradient_checkpointing: Annotated[bool, Role.WORK] = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    compile: Annotated[Literal["auto", "always", "never"], Role.WORK] = "auto"
    """Compile each kind of block with torch.compile, so that the first steps take a minute or more.
    `auto`: on a GPU, where it can be done."""
    activation_memory_budget: Annotated[float, Role.WORK] = Field(default=1.0, ge=0, le=1)
    """Compiled blocks: share of the activations that is kept for the backward pass; the rest is computed
    again, the cheapest first. 1 keeps all that is faster to keep."""

    temporal_kernel: Annotated[bool, Role.ROUNDING] = False
    """On a GPU: norms, rotary positions and attention over time of the video tower in one Triton kernel."""

    @field_validator("compile", mode="before")
    @classmethod
    def _as_it_was(cls, value: object) -> object:
        """Settings of earlier runs say true or false."""
        return {True: "always", False: "never"}.get(value, value) if isinstance(value, bool) else value

    @property
    def not_compiled(self) -> str:
        """Why blocks cannot be compiled under this engine; empty where they can."""
        if self.kind != "torch" and self.zero_stage == 3:
            return "compile with zero_stage 3: they do not go together; set zero_stage to 2 or less"
        return ""

    @model_validator(mode="after")
    def _check(self) -> "EngineConfig":
        if self.compile == "always" and self.not_compiled:
            raise ValueError(self.not_compiled)
        return self
