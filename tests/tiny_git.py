"""A GIT caption model for video, small and of random weights."""

from transformers import ByT5Tokenizer, GitConfig, GitForCausalLM


def tiny_git() -> tuple[GitForCausalLM, ByT5Tokenizer]:
    """The model for six frames of 16 x 16, and a tokenizer of bytes."""
    tokenizer = ByT5Tokenizer(extra_ids=0)
    eye = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = GitConfig(
        vision_config={**eye, "image_size": 16, "patch_size": 8},
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        num_image_with_embedding=6,
        bos_token_id=2,
        eos_token_id=1,
        pad_token_id=0,
    )
    return GitForCausalLM(config), tokenizer
