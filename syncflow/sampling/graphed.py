"""Both towers as one CUDA graph for each shape: a GPU then waits for no launches.

One evaluation at one clip is some 4,000 short kernels, which the CPU launches more slowly than a GPU
computes them. A graph is recorded once for a shape of latents and prompts, and replayed with other numbers.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

from syncflow.flow.latents import present, send
from syncflow.model.dual_dit import DualText
from syncflow.records import AVLatents
from syncflow.sampling.velocity import ClipVelocity

WARM = 2  # evaluations before a graph is recorded: what is compiled or looked up once is not part of it
KEPT = 4  # graphs; each holds the memory of an evaluation


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A graph, and the memory that it reads and writes."""

    graph: torch.cuda.CUDAGraph
    inputs: list[Tensor | None]
    velocity: AVLatents


class Graphs:
    """The graphs of a pipeline, by what they were recorded for; the longest unused goes first."""

    def __init__(self) -> None:
        self.recorded: OrderedDict[Hashable, Recorded] = OrderedDict()

    def velocity(self, clip: ClipVelocity) -> "GraphedVelocity":
        return GraphedVelocity(clip, self)


class GraphedVelocity:
    """As `ClipVelocity`, with the same numbers (a `TextVelocity`); on a CPU it is that one itself."""

    def __init__(self, clip: ClipVelocity, graphs: Graphs) -> None:
        self.clip, self.graphs = clip, graphs
        times = tuple((start, end) for start, end in clip.frame_times)
        weights = tuple(parameter.data_ptr() for parameter in clip.model.parameters())
        self.fixed = clip.spec.fps, clip.spec.height, clip.spec.width, times, hash(weights)

    @torch.no_grad()
    def __call__(self, x_t: AVLatents, t: Tensor, text: DualText) -> AVLatents:
        device = present(x_t)[0].device
        if device.type != "cuda":
            return self.clip(x_t, t, text)
        given, form = tree_flatten((x_t.video, x_t.audio, send(t, device), text))
        shapes = tuple(None if each is None else (each.shape, each.dtype) for each in given)
        key = self.fixed, str(form), shapes
        kept = self.graphs.recorded
        if key not in kept:
            kept[key] = self._record(given, form)
            while len(kept) > KEPT:
                kept.popitem(last=False)
        kept.move_to_end(key)
        found = kept[key]
        for place, tensor in zip(found.inputs, given, strict=True):
            if place is not None:
                place.copy_(tensor, non_blocking=True)
        found.graph.replay()
        video, audio = found.velocity.video, found.velocity.audio
        return AVLatents(
            video=None if video is None else video.clone(), audio=None if audio is None else audio.clone()
        )

    def _record(self, given: list[Tensor | None], form: TreeSpec) -> Recorded:
        inputs = [None if each is None else each.clone() for each in given]
        video, audio, t, text = tree_unflatten(inputs, form)
        latents = AVLatents(video=video, audio=audio)
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM):
                self.clip(latents, t, text)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            velocity = self.clip(latents, t, text)
        return Recorded(graph=graph, inputs=inputs, velocity=velocity)
