"""Euler steps with guidance, of one clip and of several."""

from functools import partial

import torch

from gpu_parts.runner import Found
from gpu_parts.setting import Setting
from syncflow.flow.config import SolverConfig
from syncflow.model.dual_dit import DualDiT
from syncflow.records import AVLatents, ClipSpec
from syncflow.sampling.given import Given
from syncflow.sampling.graphed import Graphs
from syncflow.sampling.options import SampleOptions
from syncflow.sampling.prompts import Prompts
from syncflow.sampling.sample import sample
from syncflow.sampling.velocity import ClipVelocity

WHOLE = 50  # steps of a sampled clip; fewer are timed


@torch.no_grad()
def sampling(setting: Setting, found: Found) -> None:
    from syncflow.model.compiled import compile_blocks

    dtype = setting.product_type
    model = setting.random_model(dtype=dtype).eval()
    steps = setting.of(16, 2)
    floors = {1: setting.predicted(660, 660), 4: setting.predicted(2640, 2640)}
    foretold = {"eager": 4600, "graph": 2700, "compiled, graph": 1500}
    ways = ("eager", "graph", "compiled", "compiled, graph") if setting.on_gpu else ("eager", "graph")
    for way in ways:
        if way == "compiled":
            compile_blocks(model, setting="speed.compile")
        graphs = Graphs() if way.endswith("graph") else None
        for clips in (1, setting.of(4, 2)):
            seconds = setting.seconds(
                partial(_text_to_clip, setting, model, clips=clips, steps=steps, graphs=graphs),
                repeats=2,
                warm=1,
            )
            predicted = setting.predicted(foretold[way]) if clips == 1 and way in foretold else None
            found.add(f"{clips} clips, {WHOLE} steps, {way}", 1e3 * seconds * WHOLE / steps, "ms",
                      predicted=predicted, floor=floors.get(clips))  # fmt: skip


def _text_to_clip(
    setting: Setting, model: DualDiT, *, clips: int, steps: int, graphs: Graphs | None
) -> AVLatents:
    spec = ClipSpec(height=setting.pixels, width=setting.pixels)
    text = setting.text(
        clips, tokens=setting.of(300, 12), device=setting.device, dtype=torch.float32, whole=True
    )
    return sample(
        ClipVelocity(model=model, spec=spec, frame_times=setting.sample(text_tokens=1).frame_times),
        setting.latents(clips, device=setting.device),
        prompts=Prompts(text=text, negative=None),
        given=Given(latents=AVLatents(video=None, audio=None), keep=AVLatents(video=None, audio=None)),
        options=SampleOptions(solver=SolverConfig(steps=steps)),
        graphs=graphs,
    )
