"""Whether the GPU computes what the CPU does: losses, samples, engines, bf16 and a resume, in miniature."""

import dataclasses
from typing import Any

import torch

from gpu_parts.runner import Found
from gpu_parts.setting import Setting
from gpu_parts.training import make_engine
from syncflow.checkpoint import StageName
from syncflow.flow.noise import keyed_noise
from syncflow.model.compiled import attend_in_one_kernel
from syncflow.training.stage.stages import STAGES

STEPS = 2


def checks(setting: Setting, found: Found) -> None:
    """All in miniature, whatever `setting` is."""
    tiny = dataclasses.replace(setting, small=True)
    cpu = dataclasses.replace(tiny, device="cpu")
    for stage in STAGES:
        expected = _losses(cpu, stage, kind="torch", bf16=False)
        for name, engine in (("plain", {"kind": "torch"}), ("ZeRO-1", {"zero_stage": 1})):
            losses = _losses(tiny, stage, **engine, bf16=False)
            found.check(f"stage {stage}, {name}: the CPU's losses", _near(losses, expected, 1e-4))
        rounded = _losses(tiny, stage, kind="torch", bf16=True)
        found.check(f"stage {stage}, bf16: nearly the same", _near(rounded, expected, 2e-2))
        found.details[f"stage {stage}"] = {"losses": expected, "bf16": rounded}
    whole, parts = _losses(tiny, "joint", kind="torch", bf16=False, steps=STEPS), _resumed(tiny)
    found.check("a run in two parts has the losses of a whole one", _near(parts, whole, 1e-5))
    found.check("temporal attention in groups is the plain one", _same_attention(setting))
    if setting.on_gpu:
        kernel = _losses(tiny, "video", kind="torch", bf16=False, temporal_kernel=True)
        plain = _losses(cpu, "video", kind="torch", bf16=False)
        found.check("attention over time in one kernel: the CPU's losses", _near(kernel, plain, 1e-3))
    found.check("a sampled clip is the CPU's", _same_clip(tiny, cpu))


def _near(found: list[float], expected: list[float], relative: float) -> bool:
    pairs = zip(found, expected, strict=True)
    return all(abs(a - b) <= relative * abs(b) for a, b in pairs)


def _case(setting: Setting, stage: StageName, **engine: Any):
    torch.manual_seed(0)
    config = setting.train_config(stage, batch=4, **engine)
    on_cpu = dataclasses.replace(setting, device="cpu")
    model = on_cpu.random_model()
    model.to(setting.device)  # type: ignore[arg-type]
    if config.engine.temporal_kernel:
        attend_in_one_kernel(model, setting="engine.temporal_kernel")
    objective = setting.objective(model, config)
    batches = []
    for number in range(STEPS):
        index = torch.arange(4) + 4 * number
        like = setting.latents(4, device="cpu")
        latents = keyed_noise(like, seed=1, index=index, stream="data")
        made = next(on_cpu.batches(objective, config, text_tokens=12))
        generator = torch.Generator().manual_seed(number)
        tokens = torch.randn(made.text.tokens.shape, generator=generator)
        text = dataclasses.replace(made.text, tokens=tokens)
        own = {"index": index, "noise_index": index, "noise": None}
        batches.append(dataclasses.replace(made, latents=latents, text=text, **own))
    return make_engine(objective, config), batches


def _losses(setting: Setting, stage: StageName, *, steps: int = STEPS, **engine: Any) -> list[float]:
    made, batches = _case(setting, stage, **engine)
    return [float(made.step([batches[step]], step=step)["loss"]) for step in range(steps)]


def _resumed(setting: Setting) -> list[float]:
    first, batches = _case(setting, "joint", kind="torch", bf16=False)
    half = STEPS // 2
    losses = [float(first.step([batches[step]], step=step)["loss"]) for step in range(half)]
    state = {name: tensor.detach().cpu().clone() for name, tensor in first.state()}
    second, batches = _case(setting, "joint", kind="torch", bf16=False)
    second.restore(state)
    return losses + [float(second.step([batches[s]], step=s)["loss"]) for s in range(half, STEPS)]


def _same_attention(setting: Setting) -> bool:
    from syncflow.model import temporal_attention

    shape = (2, 9, 32, 4, 72)
    q, k, v = (torch.randn(shape, device=setting.device, dtype=torch.float32) for _ in range(3))
    plain, grouped = temporal_attention.plain(q, k, v), temporal_attention.grouped(q, k, v)
    return bool((plain - grouped).abs().max() < 1e-4)


@torch.no_grad()
def _same_clip(setting: Setting, cpu: Setting) -> bool:
    found = []
    for each in (setting, cpu):
        torch.manual_seed(0)
        model = cpu.random_model().eval()
        latents = cpu.latents(2, device="cpu")
        text = cpu.text(2, tokens=12, device="cpu", dtype=torch.float32)
        t = torch.rand(2)
        model.to(each.device)  # type: ignore[arg-type]
        there = lambda x, each=each: x.to(each.device)  # noqa: E731
        moved = type(latents)(video=there(latents.video), audio=there(latents.audio))
        prompts = type(text)(tokens=there(text.tokens), mask=there(text.mask), dropped=there(text.dropped))
        size = {"fps": 16.0, "height": each.pixels, "width": each.pixels}
        times = each.sample(text_tokens=12).frame_times
        velocity = model(moved, there(t), prompts, **size, frame_times=times)
        found.append([velocity.video.cpu(), velocity.audio.cpu()])
    return all(float((a - b).norm() / b.norm()) < 1e-4 for a, b in zip(*found, strict=True))
