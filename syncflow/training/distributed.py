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


def all_any(flag: bool) -> bool:
    """Whether the flag is up at any worker."""
    if world_size() == 1:
        return flag
    return bool(all_sum(torch.tensor(float(flag), device=device())).item())


def barrier() -> None:
    """Wait for all workers."""
    if world_size() > 1:
        dist.barrier()
