"""Prompts of a request -> the text that the towers read, as precompute embeds captions."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, T5EncoderModel

from syncflow.errors import UserError
from syncflow.records import TextBatch
from syncflow.sampling.checks import check_prompts

LOG = logging.getLogger(__name__)
NULL_TOKENS = 32
"""Length of the null prompt where a request has no prompt, and the checkpoint does not say how long those of
its training were."""

Lines = str | Sequence[str] | None


@dataclass(frozen=True, kw_only=True)
class Prompts:
    text: TextBatch
    negative: TextBatch | None  # None: the learned null prompt

    @property
    def batch(self) -> int:
        return self.text.dropped.shape[0]

    @property
    def same(self) -> bool:
        """Whether the conditional and the unconditional prompt are one: there is nothing to guide by."""
        return self.negative is None and bool(self.text.dropped.all())


@dataclass(frozen=True, kw_only=True)
class PromptEncoder:
    """A T5 encoder and its tokenizer, one prompt at a time, in float16 as stored embeddings are.

    So a prompt's embedding does not depend on its neighbours and equals the one of the training set.
    """

    model: T5EncoderModel
    tokenizer: PreTrainedTokenizerBase
    max_tokens: int
    device: torch.device
    null_tokens: int = NULL_TOKENS  # length of the null prompt where there is no prompt whose length it takes

    def encode(self, lines: Sequence[str]) -> TextBatch:
        """Prompts padded on the right to the longest: tokens float32 `b l e`.

        One that is longer than the encoder reads is cut there, with a warning.
        """
        for line in dict.fromkeys(lines):
            self._warn_if_cut(line)
        rows = [self._encode_one(line) for line in lines]
        tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=self.device)
        mask = torch.arange(tokens.shape[1], device=self.device) < lengths[:, None]
        return TextBatch(tokens=tokens, mask=mask, dropped=torch.zeros_like(lengths, dtype=torch.bool))

    def null(self, batch: int) -> TextBatch:
        """The learned null prompt for `batch` clips."""
        length = min(self.null_tokens, self.max_tokens)
        shape = (batch, length, self.model.config.d_model)
        return TextBatch(
            tokens=torch.zeros(shape, device=self.device),
            mask=torch.ones(shape[:2], dtype=torch.bool, device=self.device),
            dropped=torch.ones(batch, dtype=torch.bool, device=self.device),
        )

    def prompts(self, prompt: Lines, negative: Lines, *, given: int | None, per_prompt: int) -> Prompts:
        """Text of every clip: each prompt `per_prompt` times, one prompt spread over all `given` clips.

        Args:
            negative: takes the null prompt's place in equation (3).

        Raises:
            UserError: no prompt and nothing given, an empty or endless one, or numbers that do not fit.
        """
        if prompt is None:
            if given is None:
                raise UserError(
                    "prompt: none given; say what the clip shows and sounds like, or give video or audio"
                )
            batch = given * per_prompt
            text = self.null(batch)
        else:
            lines = _as_lines(prompt, "prompt")
            if given is not None and len(lines) == 1:
                lines = lines * given
            if given is not None and given not in (1, len(lines)):
                raise UserError(
                    f"prompt: {len(lines)} prompts for {given} given clips; give one each, or one"
                )
            batch = len(lines) * per_prompt
            text = self.encode([line for line in lines for _ in range(per_prompt)])
        if not negative:
            return Prompts(text=text, negative=None)
        against = _as_lines(negative, "negative_prompt")
        if len(against) not in (1, batch // per_prompt):
            raise UserError(
                f"negative_prompt: {len(against)} for {batch // per_prompt} prompts; give one, or one each"
            )
        times = batch if len(against) == 1 else per_prompt
        return Prompts(text=text, negative=self.encode([line for line in against for _ in range(times)]))

    def _warn_if_cut(self, line: str) -> None:
        found = self.tokenizer(line, verbose=False).input_ids
        if len(found) > self.max_tokens:
            heard = self.tokenizer.decode(found[: self.max_tokens - 1], skip_special_tokens=True)
            LOG.warning(
                "prompt of %d tokens: the text encoder reads the first %d, up to %r; shorten it",
                len(found),
                self.max_tokens,
                heard[-30:],
            )

    @torch.inference_mode()
    def _encode_one(self, line: str) -> Tensor:
        found = self.tokenizer(line, max_length=self.max_tokens, truncation=True, return_tensors="pt").to(
            self.device
        )
        hidden = self.model(input_ids=found.input_ids, attention_mask=found.attention_mask).last_hidden_state
        return hidden[0].to(torch.float16).float().clone()


def _as_lines(lines: str | Sequence[str], name: str) -> list[str]:
    return check_prompts([lines] if isinstance(lines, str) else list(lines), name=name)
