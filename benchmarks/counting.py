"""Kernels and bytes of GPU work, counted without one: on torch's meta device, or by Inductor's plan."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from syncflow.model import attention

PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "_linear_pointwise", "_scaled_mm", "_scaled_mm_v2")
MOVES_NOTHING = ("empty", "empty_like", "empty_strided", "new_empty", "_unsafe_view", "detach", "lift_fresh")
HALF = torch.bfloat16


@dataclass(kw_only=True)
class Counts:
    """Kernels by kind, and the bytes that those which only pass over tensors read and write."""

    passes: int = 0  # norms, sums, casts, copies, activations: all but the other two
    products: int = 0
    attentions: int = 0
    bytes_of_passes: int = 0

    @property
    def kernels(self) -> int:
        return self.passes + self.products + self.attentions

    def add(self, name: str, moved: int) -> None:
        """A kernel by the name of its operator."""
        parts = name.split(".")
        if any(part in PRODUCTS for part in parts):
            self.products += 1
        elif any("scaled_dot_product" in part or part.startswith("one_kernel") for part in parts):
            self.attentions += 1
        else:
            self.passes += 1
            self.bytes_of_passes += moved

    def times(self, number: int) -> "Counts":
        return Counts(**{name: number * value for name, value in vars(self).items()})

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(**{name: value + vars(other)[name] for name, value in vars(self).items()})

    def __sub__(self, other: "Counts") -> "Counts":
        return self + other.times(-1)


class KernelCount(TorchDispatchMode):
    """Counts every operator that would launch a kernel; views and allocations are none."""

    def __init__(self) -> None:
        super().__init__()
        self.counts = Counts()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        on_device = [each for each in tree_leaves(result) if isinstance(each, Tensor) and each.is_meta]
        if on_device and not func.is_view and name not in MOVES_NOTHING:
            given = {name: value for name, value in (kwargs or {}).items() if name != "out"}
            read = [each for each in tree_leaves((args, given)) if isinstance(each, Tensor)]
            self.counts.add(name, sum(map(_bytes, [*read, *on_device])))
        return result


def _bytes(tensor: Tensor) -> int:
    """Of the numbers that lie in memory: an expanded tensor's once."""
    sizes = [size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride]
    return math.prod(sizes) * tensor.element_size()


class AsOnCUDA(TorchFunctionMode):
    """Attention and the RMS norm as one kernel each, and autocast by CUDA's lists, on the meta device.

    Autocast is on where it is on for the CPU: `torch.autocast("cpu", torch.bfloat16)`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cast_weights: dict[int, tuple[Tensor, Tensor]] = {}  # each once, as autocast does

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, autocast = kwargs or {}, torch.is_autocast_enabled("cpu")
        if func is F.linear:
            return func(*map(self._half, args)) if autocast else func(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            query, key, value = map(self._half, args) if autocast else args
            mask = kwargs.get("attn_mask")
            bias = None if mask is None else mask.to(query.dtype)
            return torch.ops.aten._scaled_dot_product_efficient_attention(query, key, value, bias, True)[0]
        if autocast and (
            func in (F.rms_norm, F.layer_norm)
            or (func is torch.addcmul and len({each.dtype for each in (*args, *kwargs.values())}) > 1)
        ):
            args, kwargs = tree_map_only(Tensor, Tensor.float, (args, kwargs))
        if func is F.rms_norm:
            return _rms_norm(*args, **kwargs)
        return func(*args, **kwargs)

    def _half(self, tensor: Tensor | None) -> Tensor | None:
        if tensor is None or tensor.dtype == HALF or not tensor.is_floating_point():
            return tensor
        if not (tensor.is_leaf and tensor.requires_grad):
            return tensor.to(HALF)
        if id(tensor) not in self.cast_weights:
            self.cast_weights[id(tensor)] = tensor, tensor.to(HALF)  # held, so that no other gets its id
        return self.cast_weights[id(tensor)][1]


def _rms_norm(x: Tensor, normalized_shape: tuple[int, ...], weight: Tensor, eps: float) -> Tensor:
    """As CUDA's kernel takes its input: in one piece. The meta device would take it apart."""
    return _RMSNorm.apply(x.contiguous(), weight)  # type: ignore[return-value]


class _RMSNorm(torch.autograd.Function):
    """What CUDA's kernel reads and writes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return torch.ops.count.rms_norm(x, weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        return torch.ops.count.rms_norm_backward(gradient.contiguous(), x, weight), weight


@torch.library.custom_op("count::rms_norm", mutates_args=())
def _rms_norm_kernel(x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("count::rms_norm_backward", mutates_args=())
def _rms_norm_backward_kernel(gradient: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    return torch.empty_like(x)


_rms_norm_kernel.register_fake(lambda x, weight: torch.empty_like(x))
_rms_norm_backward_kernel.register_fake(lambda gradient, x, weight: torch.empty_like(x))


class _OneKernel(torch.autograd.Function):
    """What `temporal_kernel.attend` reads and writes, forward and backward."""

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, query_weight: Tensor, key_weight: Tensor) -> Tensor:
        ctx.save_for_backward(qkv, query_weight, key_weight)
        return torch.ops.count.one_kernel(qkv)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        qkv, query_weight, key_weight = ctx.saved_tensors
        return torch.ops.count.one_kernel_backward(qkv, gradient), query_weight, key_weight


@torch.library.custom_op("count::one_kernel", mutates_args=())
def _one_kernel(qkv: Tensor) -> Tensor:
    return qkv.new_empty(*qkv.shape[:3], *qkv.shape[4:])


@torch.library.custom_op("count::one_kernel_backward", mutates_args=())
def _one_kernel_backward(qkv: Tensor, gradient: Tensor) -> Tensor:
    return torch.empty_like(qkv)


_one_kernel.register_fake(lambda qkv: qkv.new_empty(*qkv.shape[:3], *qkv.shape[4:]))
_one_kernel_backward.register_fake(lambda qkv, gradient: torch.empty_like(qkv))


def one_kernel(
    qkv: Tensor, query_weight: Tensor, key_weight: Tensor, cos: Tensor, sin: Tensor, *, eps: float
) -> Tensor:
    """In the place of `temporal_kernel.attend`, without Triton."""
    return _OneKernel.apply(qkv, query_weight, key_weight)  # type: ignore[return-value]


@contextmanager
def patches_share_tiles() -> Iterator[None]:
    """Temporal attention as on a GPU, where patches share a tile."""
    if not hasattr(attention, "attend_over_time"):  # versions before it had the plain form alone
        yield
        return
    from syncflow.model.temporal_attention import group_size, grouped, plain

    def on_gpu(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        form = grouped if group_size(query.shape[1], query.shape[2]) > 1 else plain
        return form(query, key, value)

    with mock.patch.object(attention, "attend_over_time", on_gpu):
        yield


def eager(work: Callable[[], Tensor], *, autocast: bool) -> tuple[Counts, Counts]:
    """Forward and backward pass of `work` on the meta device, whose result is summed up."""
    with patches_share_tiles(), AsOnCUDA(), KernelCount() as forward:
        with torch.autocast("cpu", dtype=HALF, enabled=autocast):
            result = work()
        if not result.requires_grad:
            return forward.counts, Counts()
    gradient = torch.empty_like(result)
    with KernelCount() as backward:
        result.backward(gradient)
    return forward.counts, backward.counts


def compiled(work: Callable[[], Tensor], *, autocast: bool) -> tuple[Counts, Counts]:
    """Forward and backward pass of `work`, on a CPU, as Inductor fuses it. No C++ is compiled or run.

    Numbers that come out are nonsense. Groups of operators are Inductor's for a CPU; those for a GPU differ
    little. Products and attention are kernels that it calls as they are.
    """
    from torch._inductor import config
    from torch._inductor.async_compile import AsyncCompile
    from torch._inductor.ir import MultiOutput
    from torch._inductor.scheduler import Scheduler
    from torch._inductor.virtualized import V

    forward, backward = Counts(), Counts()
    codegen = Scheduler.codegen

    def note(scheduler: Scheduler) -> Any:
        counts = backward if V.graph.is_backward else forward
        for node in scheduler.nodes:
            if isinstance(node.node, MultiOutput):  # takes one of the results of the kernel before it
                continue
            name = str(node.node.python_kernel_name) if node.is_extern() else "fused"
            counts.add(name, node.get_read_write_buffers_sizes())
        return codegen(scheduler)

    with (
        mock.patch.object(Scheduler, "codegen", note),
        mock.patch.object(AsyncCompile, "cpp_pybinding", lambda *_: lambda *_: None),
        config.patch(force_disable_caches=True, compile_threads=1),
        patches_share_tiles(),
    ):
        torch._dynamo.reset()
        with torch.autocast("cpu", dtype=HALF, enabled=autocast):
            result = torch.compile(work, dynamic=False)()
        if result.requires_grad:
            result.backward(torch.ones_like(result))
    torch._dynamo.reset()
    return forward, backward
