"""The processes that share a run: a single one, or several through torch.distributed.

:class:`Ranks` is the null object for a single process. Gradients are summed in one flat collective per update, in
``Run.optimize``, instead of wrapping the module in DistributedDataParallel: a step that alternates between
optimizers (a GAN) then needs no special case, and ``run.model`` stays the module that the trainer built.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist


class Ranks:
    """A single process."""

    rank = 0
    world = 1
    local_rank = 0

    @property
    def first(self) -> bool:
        """Whether this process writes the files and prints."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        """Sum the gradients over all ranks, in place, in one flat collective."""

    def sum_tensors(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum tensors over all ranks, in place, in one flat collective."""

    def average_buffers(self, module: torch.nn.Module) -> None:
        """Average the floating-point buffers (BatchNorm statistics) over all ranks, in place."""

    def gather(self, value: Any) -> list[Any]:
        """Return every rank's value, in rank order, on every rank."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """Return the first rank's value on every rank."""
        return value

    def largest(self, value: int) -> int:
        """Return the largest value of all ranks on every rank."""
        return value

    def barrier(self) -> None:
        """Wait for all ranks."""

    def close(self) -> None:
        """Leave the process group."""


class DistributedRanks(Ranks):
    """One of several processes, started by ``--devices N`` or torchrun.

    Args:
        cuda: whether the ranks compute on CUDA devices (NCCL for tensors there, gloo for the rest).
    """

    def __init__(self, cuda: bool) -> None:
        self.rank = int(os.environ["RANK"])
        self.world = int(os.environ["WORLD_SIZE"])
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=60))
        # Small values go over gloo, which needs no round trip through the device.
        self._small: Any = dist.new_group(backend="gloo") if cuda else dist.group.WORLD

    def sum_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.sum_tensors([parameter.grad for parameter in parameters if parameter.grad is not None])

    def sum_tensors(self, tensors: Sequence[torch.Tensor]) -> None:
        if not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        offset = 0
        for tensor in tensors:
            tensor.copy_(flat[offset : offset + tensor.numel()].view_as(tensor))
            offset += tensor.numel()

    def average_buffers(self, module: torch.nn.Module) -> None:
        for buffer in module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= self.world

    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.world
        dist.all_gather_object(values, value, group=self._small)
        return values

    def broadcast(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0, group=self._small)
        return box[0]

    def largest(self, value: int) -> int:
        box = torch.tensor(value)
        dist.all_reduce(box, op=dist.ReduceOp.MAX, group=self._small)
        return int(box)

    def barrier(self) -> None:
        dist.barrier(group=self._small)

    def close(self) -> None:
        dist.destroy_process_group()


def join_ranks(device: str) -> Ranks:
    """The ranks of the surrounding launcher, or this single process; ``device`` is the setting."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Ranks()
    return DistributedRanks(cuda=device.startswith(("auto", "cuda")) and torch.cuda.is_available())
