"""Settings of the text encoder; the defaults are Open-Sora v1.2's (see README, "Deviations")."""

from typing import Annotated, Literal, Self

from pydantic import model_validator

from syncflow.config import Config, Role
from syncflow.places import Place


class TextConfig(Config):
    """Which encoder turns a caption into tokens, at most `max_tokens` of them."""

    location: Annotated[Place, Role.WORK] = "DeepFloyd/t5-v1_1-xxl"
    """Folder of a saved encoder, or the name of a T5 on the Hugging Face hub; empty: built from `seed`."""
    max_tokens: int = 300
    """Longest prompt, tokens; longer ones are cut."""
    dtype: Literal["bfloat16", "float32", "int8"] = "bfloat16"
    """Precision of weights and forward pass; `int8` keeps the matrices of a loaded encoder in 8 bits
    (LLM.int8: about half of bfloat16's memory). The stored embeddings are float16."""
    width: int = 64
    """Width of the embedding of an encoder that is built from `seed` (a loaded one has its own)."""
    layers: int = 2
    """Layers of an encoder that is built from `seed`."""
    heads: int = 4
    """Attention heads of an encoder that is built from `seed`."""
    seed: int = 0
    """Seed of the weights of an encoder that is built."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dtype == "int8" and not self.location:
            raise ValueError("dtype int8 needs a location: a built encoder is small; set bfloat16")
        return self
