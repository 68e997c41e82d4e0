"""Several processes training one network, each on batches of its own (``torchrun``).

Two single-threaded processes use two busy CPU cores better than one process with two threads,
whose every operation waits for the slower core.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta

import torch

# Its functions have the group as a default argument. An optimizer imports it, and where that is
# after `join`, the group outlives `leave`: one of its threads may then still hold a tensor while
# the interpreter ends, which aborts the process (pytorch/pytorch#190489). Here it is before.
import torch.distributed.nn.functional
from torch import Tensor, distributed


def join() -> int:
    """Joins the group that ``torchrun`` made, if it did: this process's rank, else 0."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return 0
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, timeout=timedelta(minutes=30))
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    return distributed.get_rank()


def leave() -> None:
    """Leaves the group, if there is one, and waits for its threads to end."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank() -> int:
    """This process's place in the group, 0 without one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replaces every gradient by its mean over the group, in one exchange."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def from_first(value: float, device: torch.device) -> float:
    """The first process's value, everywhere."""
    if not distributed.is_initialized():
        return value
    held = torch.tensor([value], dtype=torch.float64, device=device)
    distributed.broadcast(held, 0)
    return float(held)


def from_first_tensors(tensors: Iterable[Tensor]) -> None:
    """Overwrites tensors by the first process's."""
    if distributed.is_initialized():
        for tensor in tensors:
            distributed.broadcast(tensor, 0)
