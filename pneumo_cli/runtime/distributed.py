"""The processes that share a run: a single one, or several through torch.distributed.

:class:`Ranks` is the null object for a single process. Gradients are summed all at once per update, in
``Run.optimize``: on the CPUs of one machine through memory that the ranks share, else in one flat collective. The
module is not wrapped in DistributedDataParallel: a step that alternates between optimizers (a GAN) then needs no
special case, and ``run.model`` stays the module that the trainer built.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from pneumo_cli.runtime.accelerators import Hardware
from pneumo_cli.runtime.shared_sum import SharedSum

_BACKENDS = {"cuda": "nccl", "xpu": "xccl"}  # of torch.distributed


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
        """Sum the gradients over all ranks, in place, all at once."""

    def sum_tensors(self, tensors: Sequence[torch.Tensor]) -> None:
        """Sum tensors over all ranks, in place, all at once. To the same bits on all ranks."""

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
        accelerator: ``cuda`` or ``xpu`` if the ranks compute there (by NCCL or XCCL, gloo for the rest); empty: on
            CPUs.
    """

    def __init__(self, accelerator: str = "") -> None:
        self.rank = int(os.environ["RANK"])
        self.world = int(os.environ["WORLD_SIZE"])
        self.local_rank = int(os.environ.get("LOCAL_RANK", "0"))
        backend = f"cpu:gloo,{accelerator}:{_BACKENDS[accelerator]}" if accelerator else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=60))
        # Small values go over gloo, which needs no round trip through the device.
        self._small: Any = dist.new_group(backend="gloo") if accelerator else dist.group.WORLD
        self._shared = SharedSum(self.rank, self.world, self.gather, self.barrier)

    def sum_gradients(self, parameters: Iterable[torch.Tensor]) -> None:
        parameters = list(parameters)
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.sum_tensors([parameter.grad for parameter in parameters if parameter.grad is not None])

    def sum_tensors(self, tensors: Sequence[torch.Tensor]) -> None:
        if not tensors or self._shared.sum(tensors):
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
    return DistributedRanks(accelerator_of_ranks(device, Hardware.here()))


def accelerator_of_ranks(device: str, hardware: Hardware) -> str:
    """Where the ranks of a run compute, by its setting ``device``: ``cuda``, ``xpu``, or empty for elsewhere."""
    kinds = [one.type for one in hardware.devices]
    wanted = kinds[0] if device == "auto" else device.partition(":")[0]
    return wanted if wanted in kinds and wanted in _BACKENDS else ""
