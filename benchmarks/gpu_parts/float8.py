"""Products in float8: how far features move, one product, and the frozen tower's forward, beside bfloat16."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_parts.runner import Found
from gpu_parts.setting import Setting
from syncflow.model.compiled import compile_blocks
from syncflow.model.dual_dit import DualDiT
from syncflow.model.float8 import Float8Linear, cannot_multiply, compute_in_float8, to_float8
from syncflow.model.linear import Linear
from syncflow.records import TextBatch
from syncflow.shipped import shipped_folder

HALF = torch.bfloat16
CLIP = {"fps": 16.0, "height": 64, "width": 64}
MOST_APART = 0.05  # of features, by their norm: twice what a CPU's were of float32's
AS_ON_CPU = 0.03  # numbers between two of e4m3 fall to either side


@torch.no_grad()
def float8(setting: Setting, found: Found) -> None:
    if reason := cannot_multiply(torch.device(setting.device)):
        found.details["left out"] = reason
        return
    _features(setting, found)
    _product(setting, found)
    _tower(setting, found)


def apart(found: Tensor, expected: Tensor) -> float:
    """Norm of the difference over that of what is expected."""
    return float((found.cpu().float() - expected.cpu().float()).norm() / expected.cpu().float().norm())


def _features(setting: Setting, found: Found) -> None:
    """The shipped weights' features: in float8 here and on the CPU, and in float32 on the CPU."""
    ways = {"float32": ("cpu", False), "float8 on a CPU": ("cpu", True), "float8": (setting.device, True)}
    layers = {name: _shipped_features(*way) for name, way in ways.items()}
    for other, most in (("float32", MOST_APART), ("float8 on a CPU", AS_ON_CPU)):
        errors = [apart(*pair) for pair in zip(layers["float8"], layers[other], strict=True)]
        found.details[f"features against {other}, relative, by layer"] = errors
        found.add(f"features of the layer that is most apart from {other}", 100 * max(errors), "%")
        found.check(f"features in float8 are near those in {other}", max(errors) < most)


def _shipped_features(device: str, in_float8: bool) -> tuple[Tensor, ...]:
    folder = shipped_folder("tiny")
    assert folder is not None
    model = DualDiT.from_pretrained(folder / "dual_dit", low_cpu_mem_usage=False).eval()
    torch.nn.Module.to(model, device)
    if in_float8:
        compute_in_float8(torch.nn.Module.to(model, HALF), ["video_tower"], setting="frozen_fp8")
    video, draw = model.settings.video, torch.Generator().manual_seed(0)
    tokens = torch.randn(4, 20, video.text_dim, generator=draw).to(device)
    latents = torch.randn(4, video.in_channels, 9, 8, 8, generator=draw).to(device)
    none = torch.zeros(4, dtype=torch.bool, device=device)
    text = TextBatch(tokens=tokens, mask=torch.ones(4, 20, dtype=torch.bool, device=device), dropped=none)
    return model.video(latents, torch.linspace(0, 1, 4, device=device), text, **CLIP).features


def _product(setting: Setting, found: Found) -> None:
    """1152 -> 4608 over the tokens of a batch of 16, in float8 with its input rounded at each call."""
    width, rows = setting.model.video.hidden_size, setting.of(16 * 9 * 256, 128)
    x = torch.randn(rows, width, device=setting.device, dtype=HALF)
    layer = Linear(width, 4 * width, device=setting.device, dtype=HALF)
    in_float8 = Float8Linear(layer)
    exact = F.linear(x.float(), layer.weight.float(), layer.bias.float())
    found.add("product: relative error", 100 * apart(in_float8(x), exact), "%")
    works: dict[str, tuple[Callable[[], object], float | None]] = {
        "bfloat16": (lambda: F.linear(x, layer.weight, layer.bias), setting.predicted(0.556, 0.562)),
        "float8": (lambda: in_float8(x), None),
        "float8, rounding of the input alone": (lambda: to_float8(x), None),
    }
    if setting.on_gpu:
        together = torch.compile(in_float8, dynamic=False)
        works["float8, compiled"] = (lambda: together(x), setting.predicted(0.40, 0.38))
    for name, (work, foretold) in works.items():
        milliseconds = 1e3 * setting.rate(work, calls=setting.of(20, 2))
        found.add(f"{rows} x {width} x {4 * width}, {name}", milliseconds, "ms", predicted=foretold)


def _tower(setting: Setting, found: Found) -> None:
    """The forward pass that a step of stage audio makes, compiled on a GPU."""
    model = setting.random_model(dtype=HALF).eval().requires_grad_(False)
    batch, tokens = setting.of(16, 1), setting.of(300, 12)
    latents = setting.latents(batch, device=setting.device, dtype=HALF).video
    assert latents is not None
    text = setting.text(batch, tokens=tokens, device=setting.device, dtype=HALF, whole=True)
    t = torch.rand(batch, device=setting.device)
    clip = CLIP | {"height": setting.pixels, "width": setting.pixels}
    milliseconds = {}
    for name in ("bfloat16", "float8"):
        if name == "float8":
            torch._dynamo.reset()
            found.details["told"] = compute_in_float8(model, ["video_tower"], setting="frozen_fp8")
        if setting.on_gpu:
            compile_blocks(model, setting="engine.compile")
        work = lambda: model.video(latents, t, text, **clip).features  # noqa: E731
        milliseconds[name] = 1e3 * setting.seconds(work, repeats=setting.of(5, 1), warm=setting.of(2, 1))
        found.add(f"video tower of {batch}, forward, {name}", milliseconds[name], "ms")
    less = milliseconds["bfloat16"] - milliseconds["float8"]
    found.add("video tower, forward: less in float8", less, "ms", predicted=setting.predicted(23, 28))
