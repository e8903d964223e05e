"""The video tower beside diffusers' Latte: forward, and forward with backward, eager and compiled."""

from collections.abc import Callable

import torch
from diffusers import LatteTransformer3DModel
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from gpu_parts.runner import Found
from gpu_parts.setting import Setting
from syncflow.model.compiled import compile_blocks
from syncflow.model.config import VideoTowerConfig
from syncflow.model.text import PreparedText


def latte(video: VideoTowerConfig, *, size: int, frames: int) -> LatteTransformer3DModel:
    """As deep and wide as ours."""
    return LatteTransformer3DModel(
        num_attention_heads=video.num_heads,
        attention_head_dim=video.hidden_size // video.num_heads,
        in_channels=video.in_channels,
        out_channels=2 * video.in_channels,
        num_layers=video.depth,
        attention_bias=True,
        sample_size=size,
        patch_size=2,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
        caption_channels=video.text_dim,
        video_length=frames,
        cross_attention_dim=video.hidden_size,
    )


def against_latte(setting: Setting, found: Found) -> None:
    """No mask on either side; bf16 weights on a GPU."""
    dtype = setting.product_type
    model = setting.random_model(dtype=dtype)
    batch, tokens = setting.of(8, 1), setting.of(300, 12)
    latents = setting.latents(batch, device=setting.device, dtype=dtype).video
    assert latents is not None
    with torch.device(setting.device):
        rival = latte(setting.model.video, size=latents.shape[-1], frames=latents.shape[2]).to(dtype)
    text = setting.text(batch, tokens=tokens, device=setting.device, dtype=dtype, whole=True)
    t = torch.rand(batch, device=setting.device)
    with torch.no_grad():
        prompts = PreparedText(
            model.video_tower.prepare_text(text.tokens, text.mask, text.dropped).tokens, None
        )
    clip = {"fps": 16.0, "height": setting.pixels, "width": setting.pixels}
    model.adaptors.requires_grad_(False)
    model.audio_tower.requires_grad_(False)

    def ours() -> Tensor:
        return model.video_tower(latents, t, prompts, **clip).velocity

    def theirs() -> Tensor:
        timestep = 1000 * (1 - t)
        return rival(latents, timestep=timestep, encoder_hidden_states=text.tokens, return_dict=False)[0]

    rivals: dict[str, tuple[Callable[[], Tensor], nn.Module]] = {
        "ours": (ours, model),
        "Latte": (theirs, rival),
    }
    for way in ("eager", "compiled") if setting.on_gpu else ("eager",):
        if way == "compiled":
            compile_blocks(model, setting="engine.compile")
            for block in (*rival.transformer_blocks, *rival.temporal_transformer_blocks):
                block.compile()
        for name, (forward, module) in rivals.items():
            _measure(setting, found, f"{name}, {way}, batch {batch}", forward, module)


def _measure(
    setting: Setting, found: Found, name: str, forward: Callable[[], Tensor], module: nn.Module
) -> None:
    def both() -> None:
        forward().square().mean().backward()
        module.zero_grad(set_to_none=True)

    for what, work in (("forward", torch.no_grad()(forward)), ("forward + backward", both)):
        with FlopCounterMode(display=False) as counter:
            work()
        seconds = setting.seconds(work, repeats=setting.of(5, 1), warm=setting.of(2, 1))
        rate = counter.get_total_flops() / seconds / 1e12
        found.add(f"{name}, {what}", 1e3 * seconds, "ms")
        found.add(f"{name}, {what}, rate", rate, "TFLOP/s")
        if setting.ceilings:
            found.details[f"{name}, {what}, % of the product"] = 100 * rate / setting.ceilings["product"]
