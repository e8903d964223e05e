"""Prompts of a request as the towers read them."""

import torch

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
