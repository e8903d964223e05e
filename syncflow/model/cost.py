"""What a model costs before it is launched: parameters, FLOPs, and memory of states by ZeRO stage.

Everything runs on the meta device: shapes without numbers, so the large model needs no memory.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from syncflow.model.config import PARTS, DualDiTConfig, SampleShape
from syncflow.model.dual_dit import DualDiT
from syncflow.records import AVLatents, TextBatch

Modality = Literal["video", "audio"]

FP8, BF16, FP32 = 1, 2, 4  # bytes
REDUCE_BUCKET = 500_000_000  # numbers that DeepSpeed reduces at a time (its default)


@dataclass(frozen=True, kw_only=True)
class StageCost:
    """A training stage, a sample."""

    forward: int  # FLOP
    total: int  # FLOP, forward and backward
    trained: int  # parameters
    frozen: int  # parameters
    activations: int  # bytes that the backward pass needs, in float32; fused attention keeps no maps


def meta_model(config: DualDiTConfig) -> DualDiT:
    """The model without numbers."""
    with torch.device("meta"):
        return DualDiT(**config.model_dump())


def parameter_counts(model: DualDiT) -> dict[str, int]:
    """Parameters of each part."""
    return {part: sum(p.numel() for p in getattr(model, part).parameters()) for part in PARTS}


def stage_cost(
    model: DualDiT,
    sample: SampleShape,
    *,
    trains: Collection[str],
    scores: Collection[Modality],
    audio_draws: int = 1,
) -> StageCost:
    """Count one sample of a stage that trains the parts `trains` and scores the modalities `scores`.

    `audio_draws` draws of audio noise go under one pass of the video tower.
    `model` is on the meta device and is left with exactly `trains` trainable. Multiplications and
    additions of matrix products count, attention's among them; the rest is below a percent.
    """
    assert set(trains) <= set(PARTS), trains
    for part in PARTS:
        getattr(model, part).requires_grad_(part in trains)
    forward, total = FlopCounterMode(display=False), FlopCounterMode(display=False)
    weights = {p.untyped_storage()._cdata for p in model.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}  # alive, so that none takes another's place

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), _FusedAttention():
        _forward(model, sample, scores, audio_draws)
    with total:  # of plain attention: what fused attention computes twice is none of the model's work
        with forward:
            velocity = _forward(model, sample, scores, audio_draws)
        losses = [getattr(velocity, modality).square().mean() for modality in scores]
        if trains:
            torch.stack(losses).sum().backward()
    model.zero_grad(set_to_none=True)
    counts = parameter_counts(model)
    trained = sum(counts[part] for part in trains)
    return StageCost(
        forward=forward.get_total_flops(),
        total=total.get_total_flops(),
        trained=trained,
        frozen=sum(counts.values()) - trained,
        activations=sum(storage.nbytes() for storage in kept.values()),
    )


@cache
def deep_stage_cost(
    config: DualDiTConfig,
    sample: SampleShape,
    *,
    trains: tuple[str, ...],
    scores: tuple[Modality, ...],
    audio_draws: int = 1,
) -> StageCost:
    """As `stage_cost`, in seconds for a deep model: layers are alike, so one and two are counted.

    Args:
        trains: the parts that are trained.
    """

    def shallow(depth: int) -> StageCost:
        parts = {
            part: getattr(config, part).model_copy(update={"depth": depth}) for part in ("video", "audio")
        }
        model = meta_model(config.model_copy(update=parts))
        return stage_cost(model, sample, trains=trains, scores=scores, audio_draws=audio_draws)

    one = shallow(1)
    if config.video.depth == 1:
        return one
    two, further = shallow(2), config.video.depth - 1

    def at_depth(name: str) -> int:
        first = getattr(one, name)
        return first + further * (getattr(two, name) - first)

    return StageCost(**{field.name: at_depth(field.name) for field in fields(StageCost)})


def output_shapes(model: DualDiT, sample: SampleShape) -> Mapping[str, list[int]]:
    """Shapes of what one forward hands over."""
    with torch.no_grad():
        latents, t, text = _inputs(model, sample, ("video", "audio"))
        assert latents.video is not None and latents.audio is not None
        video = model.video(latents.video, t, text, fps=sample.fps, height=sample.height, width=sample.width)
        audio = model.audio(latents.audio, t, text, video.features, frame_times=sample.frame_times)
    return {
        "video latents": list(latents.video.shape),
        "audio latents": list(latents.audio.shape),
        "text tokens": list(text.tokens.shape),
        "video velocity": list(video.velocity.shape),
        f"features (one of {len(video.features)})": list(video.features[0].shape),
        "audio velocity": list(audio.shape),
    }


def state_bytes(
    *,
    trained: int,
    frozen: int,
    workers: int,
    zero: Literal[0, 1, 2, 3],
    in_bf16: int = 0,
    in_fp8: int = 0,
    average: bool = False,
) -> int:
    """Bytes a worker holds for weights, gradients and Adam, activations aside, as the engines hold them.

    Weights, gradients and moments are float32. ZeRO 1 to 3 update a copy of their share of the weights and
    reduce gradients in buckets: 1 shares the optimizer's states among the workers, 2 the gradients too, 3 the
    weights too (the frozen ones are not the engine's and stay whole).

    Args:
        trained: parameters that are trained.
        zero: ZeRO stage; 0 keeps all of the state at each worker.
        in_bf16: how many of the frozen parameters are held in bfloat16.
        in_fp8: how many are held in float8 (their scales, a thousandth of them, are not counted).
        average: whether there is a moving average; each worker holds its share of it.
    """
    weights = trained / (workers if zero == 3 else 1) + (trained / workers if zero else 0)
    gradients = trained / (workers if zero >= 2 else 1)
    moments = 2 * trained / (workers if zero else 1)
    shared = trained / workers if average else 0
    bucket = min(REDUCE_BUCKET, trained) if zero else 0
    others = FP32 * (frozen - in_bf16 - in_fp8) + BF16 * in_bf16 + FP8 * in_fp8
    return round(FP32 * (weights + gradients + moments + shared + bucket) + others)


class _FusedAttention(TorchFunctionMode):
    """Attention as a GPU computes it, which keeps no maps for the backward pass; on `meta` torch would."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is not F.scaled_dot_product_attention:
            return func(*args, **kwargs)
        query, key, value = args
        mask = kwargs.get("attn_mask")
        bias = None if mask is None else mask.to(query.dtype)
        return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, bias, True)[0]


def _forward(
    model: DualDiT, sample: SampleShape, scores: Collection[Modality], audio_draws: int
) -> AVLatents:
    needs_video = "video" in scores or model.audio_tower.reads_video
    latents, t, text = _inputs(model, sample, {*scores, *(("video",) if needs_video else ())})
    video = audio = None
    if latents.video is not None:
        video = model.video(latents.video, t, text, fps=sample.fps, height=sample.height, width=sample.width)
    if latents.audio is not None:
        noisy, features = latents.audio.expand(audio_draws, -1, -1), None if video is None else video.features
        audio = model.audio(noisy, t.expand(audio_draws), text, features, frame_times=sample.frame_times)
    return AVLatents(video=None if video is None else video.velocity, audio=audio)


def _inputs(
    model: DualDiT, sample: SampleShape, modalities: Collection[str]
) -> tuple[AVLatents, torch.Tensor, TextBatch]:
    video, audio = model.settings.video, model.settings.audio
    with torch.device("meta"):
        latents = AVLatents(
            video=torch.empty(1, video.in_channels, *sample.video_latents) if "video" in modalities else None,
            audio=torch.empty(1, sample.audio_latents, audio.latent_dim) if "audio" in modalities else None,
        )
        text = TextBatch(
            tokens=torch.empty(1, sample.text_tokens, video.text_dim),
            mask=torch.empty(1, sample.text_tokens, dtype=torch.bool),
            dropped=torch.empty(1, dtype=torch.bool),
        )
        return latents, torch.empty(1), text
