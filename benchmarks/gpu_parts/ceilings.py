"""What the card gives at best: a large product, a large copy, and the model's own products."""

import torch

from gpu_parts.runner import Found
from gpu_parts.setting import Setting


def ceilings(setting: Setting, found: Found) -> None:
    """Into `setting.ceilings` too. Called before everything and after it: a card gets warm."""
    side = setting.of(8192, 256)
    dtype = setting.product_type
    a, b = (torch.randn(side, side, device=setting.device, dtype=dtype) for _ in range(2))
    seconds = setting.rate(lambda: torch.mm(a, b), calls=setting.of(50, 3))
    product = 2 * side**3 / seconds / 1e12
    found.add(f"product of {side} cubed", product, "TFLOP/s", predicted=setting.predicted(798, 790))
    source = torch.randn(setting.of(1_000_000_000, 1_000_000), device=setting.device)
    target = torch.empty_like(source)
    copied = 2 * source.numel() * source.element_size()
    copy = copied / setting.rate(lambda: target.copy_(source), calls=setting.of(10, 3)) / 1e12
    found.add("copy, read and written", copy, "TB/s", predicted=setting.predicted(3.0, 4.3))
    setting.ceilings.setdefault("product", product)
    setting.ceilings.setdefault("copy", copy)


def model_products(setting: Setting, found: Found) -> None:
    """The four shapes of a block: forward, gradient of the input, gradient of the weight."""
    width = setting.model.video.hidden_size
    shapes = {"qkv": (width, 3 * width), "output": (width, width)}
    shapes |= {"expand": (width, 4 * width), "contract": (4 * width, width)}
    dtype = setting.product_type
    for rows in (4608, 9216, 18432, 36864) if not setting.small else (128,):
        for name, (inner, out) in shapes.items():
            x = torch.randn(rows, inner, device=setting.device, dtype=dtype)
            weight = torch.randn(out, inner, device=setting.device, dtype=dtype)
            gradient = torch.randn(rows, out, device=setting.device, dtype=dtype)
            works = {
                "forward": lambda x=x, w=weight: torch.nn.functional.linear(x, w),
                "input": lambda g=gradient, w=weight: g @ w,
                "weight": lambda g=gradient, x=x: g.mT @ x,
            }
            for way, work in works.items():
                seconds = setting.rate(work, calls=setting.of(10, 2), warm=1)
                rate = 2 * rows * inner * out / seconds / 1e12
                found.details[f"{name} {way}, {rows} rows, TFLOP/s"] = rate
    rates = [value for key, value in found.details.items() if key.endswith("TFLOP/s")]
    if setting.ceilings:
        share = sum(rates) / len(rates) / setting.ceilings["product"]
        found.add(
            "the model's products, mean share of that", 100 * share, "%", predicted=setting.predicted(88, 88)
        )
