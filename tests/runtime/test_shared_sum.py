"""Sums over processes through shared memory: the same bits on all ranks, and those of gloo on two."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch
import torch.distributed as dist

from pneumo_cli.runtime.distributed import DistributedRanks
from pneumo_cli.runtime.shared_sum import SharedSum

pytestmark = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="Linux only")

Work = Callable[[DistributedRanks], Any]


def on_ranks(world: int, work: Work) -> list[Any]:
    """What ``work`` returns on each of so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("fork")
    pipes, processes = [], []
    for rank in range(world):
        ours, theirs = context.Pipe()
        process = context.Process(target=_rank, args=(theirs, rank, world, port, work))
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        return [pipe.recv() for pipe in pipes]
    finally:
        for process in processes:
            process.kill()
            process.join()


def _rank(pipe: Connection, rank: int, world: int, port: int, work: Work) -> None:
    names = {"RANK": rank, "WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    torch.set_num_threads(1)
    ranks = DistributedRanks()
    pipe.send(work(ranks))
    ranks.close()


def tensors(rank: int, seed: int = 0) -> list[torch.Tensor]:
    """Of odd sizes, one of them in channels-last memory, one without elements and one with one."""
    generator = torch.Generator().manual_seed(100 * seed + rank)
    shapes = [(3, 5, 7, 2), (1001,), (0,), (4, 333), ()]
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    # Each rank's memory may be laid out in its own way.
    return [made[0].to(memory_format=torch.channels_last) if rank else made[0], *made[1:]]


def digest(values: list[torch.Tensor]) -> str:
    return hashlib.sha256(b"".join(value.contiguous().numpy().tobytes() for value in values)).hexdigest()


def summed_both_ways(ranks: DistributedRanks) -> tuple[bool, list[str], list[str]]:
    """Three sums in a row, the last of them larger: through memory, and through gloo."""
    shared, through_gloo, possible = [], [], True
    for seed in range(3):
        values = tensors(ranks.rank, seed)
        more = [torch.full((2000,), 0.1 * (ranks.rank + 1))] if seed == 2 else []
        for how in (shared, through_gloo):
            own = [value.clone() for value in [*values, *more]]
            if how is shared:
                possible &= ranks._shared.sum(own)
            else:
                flat = torch.cat([value.reshape(-1) for value in own])
                dist.all_reduce(flat)
                own = [
                    part.view(one.shape)
                    for part, one in zip(flat.split([o.numel() for o in own]), own, strict=True)
                ]
            how.append(digest(own))
    return possible, shared, through_gloo


def test_two_ranks_have_the_bits_of_gloo() -> None:
    (possible, shared, through_gloo), other = on_ranks(2, summed_both_ways)
    assert possible
    assert shared == through_gloo
    assert other == (possible, shared, through_gloo)


def test_three_ranks_agree_to_the_bit_each_time() -> None:
    first, again = on_ranks(3, summed_both_ways), on_ranks(3, summed_both_ways)
    assert first[0][0]
    assert len({tuple(shared) for _, shared, _ in first + again}) == 1


def counted_waits(ranks: DistributedRanks) -> list[None]:
    """A list that grows by one whenever the rank waits for the others in a sum."""
    waits: list[None] = []
    wait = ranks._shared._barrier

    def counted() -> None:
        waits.append(None)
        wait()

    ranks._shared._barrier = counted
    return waits


def orders_in_memory(ranks: DistributedRanks) -> list[tuple[int, bool, list[float]]]:
    """Sums of tensors that lie in memory in the same order on all ranks, and in another one on one rank.

    Of each: how often the rank waited, whether the tensor's own memory was kept, and the sums.
    """
    waits, found = counted_waits(ranks), []
    plain, last = torch.contiguous_format, torch.channels_last
    for own, others in ((last, last), (plain, plain), (last, plain), (last, last), (plain, last)):
        before = len(waits)
        values = torch.arange(24.0).view(2, 3, 2, 2) * 10.0**-ranks.rank
        tensor = values.to(memory_format=others if ranks.rank else own)
        memory, strides = tensor.data_ptr(), tensor.stride()
        ranks.sum_tensors([tensor, torch.ones(3)])
        kept = (tensor.data_ptr(), tensor.stride()) == (memory, strides)
        found.append((len(waits) - before, kept, tensor.flatten().tolist()))
    return found


@pytest.mark.parametrize("world", [2, 3])
def test_a_second_wait_only_where_memory_is_laid_out_differently(world: int) -> None:
    values = torch.arange(24.0)
    summed = values + values * 10.0**-1
    if world == 3:
        summed += values * 10.0**-2
    for found in on_ranks(world, orders_in_memory):
        assert [waits for waits, _, _ in found] == [1, 1, 2, 1, 2]
        assert all(kept and sums == summed.tolist() for _, kept, sums in found)


def unused_on_one_rank(ranks: DistributedRanks) -> tuple[int, list[list[float]]]:
    """How often the rank waited for the others in two sums, and the gradients after the second."""
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    waits = counted_waits(ranks)
    for _ in range(2):
        for number, parameter in enumerate(parameters):
            # Rank 0 has no gradient of the first, rank 1 none of the last.
            parameter.grad = None if number == 2 * ranks.rank else torch.full((2,), float(number + 1))
        ranks.sum_gradients(parameters)
    return len(waits), [parameter.grad.tolist() for parameter in parameters if parameter.grad is not None]


def test_parameters_without_a_gradient_on_one_rank_change_no_order() -> None:
    first, other = on_ranks(2, unused_on_one_rank)
    assert first == other == (2, [[1.0, 1.0], [4.0, 4.0], [3.0, 3.0]])


def of_a_sum_of_weights(ranks: DistributedRanks) -> tuple[bool, list[list[float]]]:
    """The gradients of two parameters that are only used as their sum, which are one tensor."""
    first, second = (torch.full((3,), value, requires_grad=True) for value in (0.0, 1.0))
    loss = ((first + second) ** 2).sum() * (ranks.rank + 1)
    gradients = [one.detach() for one in torch.autograd.grad(loss, [first, second])]
    one = gradients[0].data_ptr() == gradients[1].data_ptr()
    ranks.sum_tensors(gradients)
    return one, [gradient.tolist() for gradient in gradients]


@pytest.mark.parametrize(("world", "total"), [(2, 6.0), (3, 12.0)])
def test_two_gradients_that_are_one_tensor_are_summed_once(world: int, total: float) -> None:
    assert on_ranks(world, of_a_sum_of_weights) == [(True, [[total] * 3] * 2)] * world


def of_two_kinds(ranks: DistributedRanks) -> list[list[float]]:
    """Sums of tensors that go through gloo: another dtype, or memory that is not shared."""
    halves = [torch.ones(3, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)]
    ranks.sum_tensors([torch.empty(0)])  # before anything is shared
    ranks.sum_tensors(halves)
    # Of the ranks one cannot open the memory, as on another machine: all go through gloo.
    ranks._shared = SharedSum(ranks.rank, ranks.world, _damaged(ranks), ranks.barrier)
    plain = [torch.full((2,), 1.0 + ranks.rank)]
    ranks.sum_tensors(plain)
    ranks.sum_tensors(plain)
    return [value.tolist() for value in [*halves, *plain]]


def _damaged(ranks: DistributedRanks) -> Callable[[Any], list[Any]]:
    def gather(value: Any) -> list[Any]:
        values = ranks.gather(value)
        if isinstance(values[0], tuple) and ranks.rank == 1:
            values[0] = ("/proc/self/fd/0", values[0][1])
        return values

    return gather


def test_what_cannot_be_shared_goes_through_gloo_on_all_ranks() -> None:
    first, other = on_ranks(2, of_two_kinds)
    assert first == other == [[2.0] * 3, [2.0] * 2, [6.0] * 2]
