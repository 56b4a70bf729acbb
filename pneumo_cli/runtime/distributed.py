"""The processes that share a run: one alone, or several through torch.distributed.

:class:`Ranks` is the null object, one process that talks to nobody; :class:`DistributedRanks` is the real thing.
Gradients are summed in one flat collective per update, in ``Run.optimize``, and not by wrapping the module in
DistributedDataParallel: a task whose step alternates between optimizers (a GAN) then needs no special case, and
``run.model`` stays the module that the trainer built.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


class Ranks:
    """One process alone."""

    rank = 0
    world = 1
    local_rank = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files and speaks."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients of all ranks, in place."""

    def average_buffers(self, module: torch.nn.Module) -> None:
        """Give every rank the mean of the floating-point buffers (BatchNorm statistics)."""

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of the ranks, on every rank."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """The first rank's value, on every rank."""
        return value

    def largest(self, value: int) -> int:
        """The largest of the ranks' values, on every rank."""
        return value

    def barrier(self) -> None:
        """Wait for every rank."""

    def close(self) -> None:
        """Leave the group."""


class DistributedRanks(Ranks):
    """One of several processes, started by ``--devices N`` or torchrun.

    Args:
        cuda: whether the ranks compute on CUDA devices (NCCL for tensors there, gloo for everything else).
    """

    def __init__(self, cuda: bool) -> None:
        self.rank = int(os.environ["RANK"])
        self.world = int(os.environ["WORLD_SIZE"])
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=60))
        # Small values travel over gloo: the CPU needs no round trip through the device for them.
        self._small: Any = dist.new_group(backend="gloo") if cuda else dist.group.WORLD

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Add up the gradients of all ranks in one flat collective, in place."""
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if not gradients:
            return
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        offset = 0
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()

    def average_buffers(self, module: torch.nn.Module) -> None:
        """Give every rank the mean of the floating-point buffers (BatchNorm statistics)."""
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.world

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in the order of the ranks, on every rank."""
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self._small)
        return values

    def broadcast(self, value: Any) -> Any:
        """The first rank's value, on every rank."""
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._small)
        return box[0]

    def largest(self, value: int) -> int:
        """The largest of the ranks' values, on every rank."""
        box = torch.tensor(value)
        dist.all_reduce(box, op=dist.ReduceOp.MAX, group=self._small)
        return int(box)

    def barrier(self) -> None:
        """Wait for every rank."""
        dist.barrier(group=self._small)

    def close(self) -> None:
        """Leave the group."""
        dist.destroy_process_group()


def join_ranks(device: str) -> Ranks:
    """The ranks of this process: those of the surrounding launcher, or this process alone.

    Args:
        device: the setting ``device``.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    return DistributedRanks(cuda=device.startswith(("auto", "cuda")) and torch.cuda.is_available())
