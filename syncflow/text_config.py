"""Settings of the text encoder; the defaults are Open-Sora v1.2's (see README, "Deviations")."""

from typing import Literal

from syncflow.config import Config


class TextConfig(Config):
    """Which encoder turns a caption into tokens, at most `max_tokens` of them."""

    location: str = "DeepFloyd/t5-v1_1-xxl"
    """Folder of a saved encoder, or the name of a T5 on the Hugging Face hub; empty: built from `seed`."""
    max_tokens: int = 300
    """Longest prompt, tokens; what is over is cut."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision of the forward pass; the stored embeddings are float16."""
    width: int = 64
    """Width of a built encoder's embedding (a loaded one has its own)."""
    layers: int = 2
    """Blocks of a built encoder."""
    heads: int = 4
    """Attention heads of a built encoder."""
    seed: int = 0
    """Seed of a built encoder's weights."""
