"""Attention alone: along time by each of torch's kernels and in groups, along space, and over prompts."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_parts.runner import Found
from gpu_parts.setting import Setting
from syncflow.model import temporal_attention
from syncflow.model.attention import EPS, Rotation, rotary_frequencies, rotate, rotation

BACKENDS = {
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
FRAMES = 9


def attention(setting: Setting, found: Found) -> None:
    """At two batch sizes, forward and backward."""
    for batch in (setting.of(4, 1), setting.of(16, 2)):
        _temporal(setting, found, batch)
        if setting.on_gpu:
            _temporal_with_norms(setting, found, batch)
        _spatial(setting, found, batch)
        _cross(setting, found, batch)


def _temporal(setting: Setting, found: Found, batch: int) -> None:
    inputs = tuple(_normal(setting, batch, FRAMES, setting.of(256, 16), *_heads(setting)) for _ in range(3))
    ways: dict[str, Callable[..., Tensor]] = {"as torch chooses": temporal_attention.plain}
    ways |= {f"in groups of {each}": partial(temporal_attention.grouped, group=each) for each in (4, 8)}
    for name, work in ways.items():
        _both_ways(setting, found, f"temporal, batch {batch}, {name}", work, inputs)
    if setting.small:
        return
    folded = [each.detach().flatten(2, 3).transpose(1, 2) for each in inputs]
    for name, backend in BACKENDS.items():
        try:
            with sdpa_kernel(backend):
                forward = setting.seconds(partial(F.scaled_dot_product_attention, *folded))
            found.details[f"temporal, batch {batch}, {name}, forward ms"] = 1e3 * forward
        except RuntimeError as error:
            found.details[f"temporal, batch {batch}, {name}"] = str(error).splitlines()[0]


def _temporal_with_norms(setting: Setting, found: Found, batch: int) -> None:
    """What comes before it included: from the product that holds queries, keys and values."""
    from syncflow.model.temporal_kernel import attend

    heads, size = _heads(setting)
    qkv = _normal(setting, batch, FRAMES, setting.of(256, 16), 3, heads, size)
    weights = tuple(torch.ones(size, device=setting.device, requires_grad=True) for _ in range(2))
    device = torch.device(setting.device)
    turn = rotation(torch.arange(FRAMES, device=device), rotary_frequencies(size, device=device))
    ways: dict[str, Callable[..., Tensor]] = {
        "eager": partial(_norm_turn_attend, turn),
        "compiled": torch.compile(partial(_norm_turn_attend, turn)),
        "one kernel": lambda qkv, *norms: attend(qkv, *norms, *turn, eps=EPS),
    }
    for name, work in ways.items():
        _both_ways(setting, found, f"norms, turns and temporal, batch {batch}, {name}", work, (qkv, *weights))


def _norm_turn_attend(turn: Rotation, qkv: Tensor, query_weight: Tensor, key_weight: Tensor) -> Tensor:
    query, key, value = qkv.unbind(-3)
    size = query_weight.shape
    query = F.rms_norm(query, size, query_weight.to(query.dtype), EPS)
    key = F.rms_norm(key, size, key_weight.to(key.dtype), EPS)
    return temporal_attention.attend_over_time(rotate(query, turn), rotate(key, turn), value)


def _spatial(setting: Setting, found: Found, batch: int) -> None:
    heads, head_dim = _heads(setting)
    inputs = tuple(_normal(setting, batch * FRAMES, heads, setting.of(256, 16), head_dim) for _ in range(3))
    _both_ways(setting, found, f"spatial, batch {batch}", F.scaled_dot_product_attention, inputs)


def _cross(setting: Setting, found: Found, batch: int) -> None:
    heads, head_dim = _heads(setting)
    query = _normal(setting, batch, heads, FRAMES * setting.of(256, 16), head_dim)
    for tokens in (setting.of(300, 12), 32):
        text = (_normal(setting, batch, heads, tokens, head_dim) for _ in range(2))
        inputs = (query, *text)
        mask = (torch.arange(tokens, device=setting.device) < tokens - 2).expand(batch, 1, 1, tokens)
        for name, given in (("masked", mask), ("no mask", None)):
            work = partial(F.scaled_dot_product_attention, attn_mask=given)
            _both_ways(setting, found, f"cross over {tokens} tokens, batch {batch}, {name}", work, inputs)


def _heads(setting: Setting) -> tuple[int, int]:
    video = setting.model.video
    return video.num_heads, video.hidden_size // video.num_heads


def _normal(setting: Setting, *shape: int) -> Tensor:
    return torch.randn(shape, device=setting.device, dtype=setting.product_type, requires_grad=True)


def _both_ways(
    setting: Setting, found: Found, name: str, forward: Callable[..., Tensor], inputs: tuple[Tensor, ...]
) -> None:
    """Forward, and forward with backward, in milliseconds."""
    with torch.no_grad():
        gradient = torch.randn_like(forward(*inputs))
        seconds = setting.seconds(partial(forward, *inputs), repeats=setting.of(5, 1))

    def both() -> None:
        torch.autograd.grad(forward(*inputs), inputs, gradient)

    together = setting.seconds(both, repeats=setting.of(5, 1))
    found.add(f"{name}, forward", 1e3 * seconds, "ms")
    found.add(f"{name}, forward + backward", 1e3 * together, "ms")
