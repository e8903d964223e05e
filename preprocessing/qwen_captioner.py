"""Qwen3-VL as a captioner of a few frames, which it is shown as images, in order.

Its own processor reads videos through torchvision, which is not installed (docs/dependencies.md). Its image
processor needs none, and the conversation around the images is the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoTokenizer,
    PreTrainedTokenizerBase,
    Qwen2VLImageProcessorPil,
    Qwen3VLForConditionalGeneration,
)

from preprocessing.config import CaptionConfig
from syncflow.pretrained import load_whole

TURN = ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")  # the model's conversation format


class QwenCaptioner:
    """Writes a caption of each few frames, all in one batch.

    Args:
        model: on its device.
        tokenizer: the model's.
        images: the model's image processor.
        prompt: what it is asked.
        max_tokens: longest caption.
    """

    def __init__(
        self,
        model: Qwen3VLForConditionalGeneration,
        tokenizer: PreTrainedTokenizerBase,
        images: Qwen2VLImageProcessorPil,
        *,
        prompt: str,
        max_tokens: int,
    ) -> None:
        self.model, self.tokenizer, self.images = model.eval(), tokenizer, images
        self.prompt, self.max_tokens = prompt, max_tokens

    @torch.inference_mode()
    def __call__(self, videos: list[np.ndarray]) -> list[str]:
        """A caption of each; frames `f h w c`, uint8, as many and as large in all of them."""
        assert len({frames.shape for frames in videos}) == 1, "prompts of one length need no padding"
        frames = [frame.transpose(2, 0, 1) for frames in videos for frame in frames]
        seen = self.images.preprocess(frames, input_data_format="channels_first", return_tensors="pt")
        grid = seen["image_grid_thw"]  # an image's patches: (frames, rows, columns)
        ids = self._prompt_ids(grid[: len(videos[0])]).repeat(len(videos), 1)
        written = self.model.generate(  # type: ignore[attr-defined]
            **self._on_device(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                mm_token_type_ids=(ids == self.model.config.image_token_id).int(),
                pixel_values=seen["pixel_values"].to(self.model.dtype),
                image_grid_thw=grid,
            ),
            max_new_tokens=self.max_tokens,
            do_sample=False,
        )
        return self.tokenizer.batch_decode(written[:, ids.shape[1] :], skip_special_tokens=True)

    def _prompt_ids(self, grid: Tensor) -> Tensor:
        """Tokens `1 l` of one conversation: a place for each patch of the images, and the question."""
        config = self.model.config
        places = (grid.prod(dim=1) // self.images.merge_size**2).tolist()
        shown = [
            token
            for count in places
            for token in (
                config.vision_start_token_id,
                *[config.image_token_id] * count,
                config.vision_end_token_id,
            )
        ]
        return torch.tensor([[*self._ids(TURN[0]), *shown, *self._ids(self.prompt + TURN[1])]])

    def _ids(self, text: str) -> Sequence[int]:
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def _on_device(self, **tensors: Tensor) -> dict[str, Any]:
        return {name: tensor.to(self.model.device) for name, tensor in tensors.items()}


def load_qwen(config: CaptionConfig, *, device: str) -> QwenCaptioner:
    """A Qwen3-VL, its tokenizer and its image processor, from a folder or the hub.

    Raises:
        OSError, ValueError: there is none, or its weights are another model's.
    """
    dtype = "auto" if device != "cpu" else torch.float32
    model = load_whole(Qwen3VLForConditionalGeneration, config.location, dtype=dtype)
    return QwenCaptioner(
        model.to(device),  # type: ignore[arg-type]
        AutoTokenizer.from_pretrained(config.location),
        Qwen2VLImageProcessorPil.from_pretrained(config.location),
        prompt=config.prompt,
        max_tokens=config.max_tokens,
    )
