"""The few collective operations of training; with one worker they do nothing."""

import zlib

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """Number of this worker; 0 when there is but one."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many workers train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def owner(name: str) -> int:
    """The worker that keeps and writes the tensor `name`, where each is kept by one."""
    return zlib.crc32(name.encode()) % world_size()


def device() -> torch.device:
    """Where this worker computes: its CUDA device, or the CPU."""
    return (
        torch.device("cuda", torch.cuda.current_device())
        if torch.cuda.is_available()
        else torch.device("cpu")
    )


def all_sum(tensor: Tensor) -> Tensor:
    """Sum over the workers, in place."""
    if world_size() > 1:
        dist.all_reduce(tensor)
    return tensor


def broadcast(tensor: Tensor, *, source: int) -> Tensor:
    """The tensor of the worker `source`, at all workers, on the device where they compute."""
    if world_size() == 1:
        return tensor
    there = tensor.to(device(), copy=rank() != source)
    dist.broadcast(there, src=source)
    return there


def all_rows(tensor: Tensor) -> Tensor:
    """The rows of all workers, in the order of their ranks; they need not have as many each."""
    if world_size() == 1:
        return tensor
    counts = torch.zeros(world_size(), dtype=torch.int64, device=tensor.device)
    counts[rank()] = len(tensor)
    sizes = all_sum(counts).tolist()
    padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes, strict=True)])


def all_any(flag: bool) -> bool:
    """Whether the flag is up at any worker."""
    if world_size() == 1:
        return flag
    return bool(all_sum(torch.tensor(float(flag), device=device())).item())


def barrier() -> None:
    """Wait for all workers."""
    if world_size() > 1:
        dist.barrier()
