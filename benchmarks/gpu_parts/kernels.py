"""The passes over a stream of tokens, alone: bytes a second, eager and compiled."""

from collections.abc import Callable

import torch
from torch import Tensor

from gpu_parts.runner import Found
from gpu_parts.setting import Setting
from syncflow.model.attention import HeadNorm, rotary_frequencies, rotate, rotation
from syncflow.model.video_tower import modulated_norm


@torch.no_grad()
def kernels(setting: Setting, found: Found) -> None:
    batch, frames, patches = setting.of(16, 1), 9, setting.of(256, 16)
    width, heads = setting.model.video.hidden_size, setting.model.video.num_heads
    dtype = setting.product_type
    x = torch.randn(batch, frames, patches, width, device=setting.device, dtype=dtype)
    by_head = x.unflatten(-1, (heads, -1))
    turn = rotation(torch.arange(frames, device=setting.device),
                    rotary_frequencies(width // heads, device=torch.device(setting.device)))  # fmt: skip
    norm = HeadNorm(width // heads).to(setting.device, dtype)
    shift, scale = torch.randn(2, batch, 1, 1, width, device=setting.device, dtype=dtype)
    works: dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = {
        "norm of each head": (norm, (by_head,)),
        "rotary positions": (lambda each: rotate(each, turn), (by_head,)),
        "modulated norm": (modulated_norm, (x, shift, scale)),
        "GELU": (lambda each: torch.nn.functional.gelu(each, approximate="tanh"), (x,)),
    }
    moved = 2 * x.numel() * x.element_size()
    for name, (work, inputs) in works.items():
        ways = {"eager": work} | ({"compiled": torch.compile(work)} if setting.on_gpu else {})
        for way, call in ways.items():
            seconds = setting.rate(lambda call=call, inputs=inputs: call(*inputs), calls=setting.of(10, 2))
            least = moved / setting.ceilings["copy"] / 1e9 if setting.ceilings else None
            found.add(f"{name}, {way}", 1e3 * seconds, "ms", floor=least)
