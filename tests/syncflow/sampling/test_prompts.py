"""Prompts of a request as the towers read them."""

import numpy as np
import pytest
import torch

from syncflow.model.embeddings import TextEmbedding
from syncflow.sampling.pipeline import SyncFlowPipeline
from syncflow.sampling.prompts import PromptEncoder


def test_a_prompt_that_is_cut_is_said_once_and_where(pipeline: SyncFlowPipeline, caplog) -> None:
    encoder = PromptEncoder(
        model=pipeline.text_encoder,
        tokenizer=pipeline.tokenizer,
        max_tokens=12,
        device=torch.device("cpu"),
    )
    whole = "elevenbytes"  # and the end mark
    encoder.prompts([whole], None, given=None, per_prompt=1)
    assert not caplog.messages
    cut = encoder.prompts([whole + " and more"], None, given=None, per_prompt=3)
    (message,) = caplog.messages
    assert message == (
        "prompt of 21 tokens: the text encoder reads the first 12, up to 'elevenbytes'; shorten it"
    )
    assert cut.text.tokens.shape[:2] == (3, 12)


@pytest.mark.parametrize(("trained", "length"), [(None, 32), (7, 7), (4000, 40)])
def test_without_a_prompt_the_null_prompt_is_as_long_as_the_training_prompts(
    pipeline: SyncFlowPipeline, monkeypatch, trained: int | None, length: int
) -> None:
    """There it took their place under their own length; the encoder reads no more than 40 tokens."""
    shown = []

    def read(embedding: TextEmbedding, tokens: torch.Tensor, dropped: torch.Tensor) -> None:
        shown.append((tokens.shape[1], dropped.tolist()))
        raise StopIteration

    monkeypatch.setattr(TextEmbedding, "forward", read)
    monkeypatch.setitem(pipeline._internal_dict, "trained_text_tokens", trained)
    monkeypatch.setitem(pipeline._internal_dict, "max_text_tokens", 40)
    frames = np.zeros((1, 8, 32, 32, 3), np.uint8)
    with pytest.raises(StopIteration):
        pipeline(None, video=frames, guidance_scale=1.0, num_inference_steps=1)
    assert shown == [(length, [True])]
