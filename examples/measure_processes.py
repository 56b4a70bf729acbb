"""What may be expected of several processes on a CPU: bare loops of the CNN, in one process and in several.

    python examples/measure_processes.py [--batch-size 16 32 64] [--image-size 64] [--processes 2]

One process with all threads trains on whole batches; several with their share of the threads each train on their
share of each batch, once without exchanging anything, and once with the sum of gradients that a run makes
(``Ranks.sum_gradients``). The loops take turns, a few steps at a time, and have nothing of pneumo but network,
optimizer and sum. What is done by each process again costs the difference: casting and packing all weights for
fewer images, and updating all of them.

The machine must be idle otherwise. Of several processes a step takes as long as that of the slowest.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from typing import Any

import recording
import torch
import torch.nn.functional as F

from pneumo_cli.runtime.devices import choose_device, keep_freed_memory
from pneumo_cli.runtime.distributed import DistributedRanks
from pneumo_cli.runtime.threads import usable_cores
from pneumo_cli.trainers.optimization import SGD
from pneumo_cnn.model import build_cnn

_FIRST = 3  # steps that are not counted
Exchange = Callable[[Iterable[torch.Tensor]], None]


class Loop:
    """A bare training loop on one resident batch."""

    def __init__(self, images: int, size: int) -> None:
        torch.manual_seed(0)
        keep_freed_memory()
        self._device = choose_device("cpu", "auto")
        layout = self._device.memory_format
        self._model = build_cnn().to(memory_format=layout).train()
        self._parameters = list(self._model.parameters())
        self._optimizer = SGD(self._parameters, lr=1e-4, momentum=0.9, nesterov=True, fused=True)
        self._images = torch.randn(images, 3, size, size).contiguous(memory_format=layout)
        self._labels = (torch.arange(images) % 2).float()

    def steps(self, count: int, exchange: Exchange) -> tuple[float, float]:
        """Make so many steps; return the seconds of the median step, and the processor time of a step."""
        took, began = [], time.process_time()
        for _ in range(count):
            start = time.perf_counter()
            self._optimizer.zero_grad()
            with self._device.autocast():
                outputs = self._model(self._images)
            F.binary_cross_entropy_with_logits(outputs.float().flatten(), self._labels).backward()
            exchange(self._parameters)
            self._optimizer.step()
            took.append(time.perf_counter() - start)
        return statistics.median(took), (time.process_time() - began) / count


def work(pipe: Connection, threads: int, images: int, size: int, environ: dict[str, str]) -> None:
    """Make steps whenever they are asked for, in a process of its own.

    Args:
        environ: where the other processes are; empty: there are none.
    """
    os.environ.update(environ)
    torch.set_num_threads(threads)
    loop = Loop(images, size)
    ranks = DistributedRanks() if environ else None
    for summed, count in iter(pipe.recv, None):
        exchange: Exchange = ranks.sum_gradients if ranks is not None and summed else lambda parameters: None
        if ranks is not None:
            ranks.barrier()
        pipe.send(loop.steps(count, exchange))


class Group:
    """Processes that each make the same steps at the same time."""

    def __init__(self, processes: int, threads: int, images: int, size: int) -> None:
        context = multiprocessing.get_context("spawn")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        self._pipes, self._processes = [], []
        for rank in range(processes):
            own = {"RANK": str(rank), "WORLD_SIZE": str(processes), **place} if processes > 1 else {}
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, threads, images, size, own), daemon=True)
            process.start()
            theirs.close()  # so that a process that dies is noticed
            self._pipes.append(ours)
            self._processes.append(process)

    def steps(self, count: int, *, summed: bool) -> tuple[float, float]:
        """Seconds of a step, of the slowest process, and the processor time of all."""
        for pipe in self._pipes:
            pipe.send((summed, count))
        answers = [pipe.recv() for pipe in self._pipes]
        return max(seconds for seconds, _ in answers), sum(processor for _, processor in answers)

    def close(self) -> None:
        """End the processes."""
        for pipe, process in zip(self._pipes, self._processes, strict=True):
            pipe.send(None)
            process.join()


def compared(batch: int, size: int, processes: int, rounds: int) -> dict[str, float]:
    """The values for one batch size: speeds in images per second, and ratios to one process."""
    threads = usable_cores()
    one = Group(1, threads, batch, size)
    several = Group(processes, max(1, threads // processes), batch // processes, size)
    kinds: dict[str, tuple[Group, bool]] = {
        "one": (one, False),
        "apart": (several, False),
        "summed": (several, True),
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    count = max(2, 128 // batch)
    for group, summed in kinds.values():
        group.steps(_FIRST, summed=summed)
    for number in range(rounds):
        order = list(kinds.items())
        for name, (group, summed) in reversed(order) if number % 2 else order:
            found[name].append(group.steps(count, summed=summed))
    for group in (one, several):
        group.close()
    values: dict[str, float] = {}
    for name, measured in found.items():
        ratios = [own / other for (own, _), (other, _) in zip(found["one"], measured, strict=True)]
        seconds = statistics.median(seconds for seconds, _ in measured)
        values |= {
            f"{name}_images_per_second": round(batch / seconds, 1),
            f"{name}_ratio": round(statistics.median(ratios), 3),
            f"{name}_processor_ms": round(1e3 * statistics.median(processor for _, processor in measured), 1),
        }
    return values


def main() -> None:
    """Compare for each batch size, and print the speeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--batch-size", type=int, nargs="+", default=[16, 32, 64], help="of all processes")
    parser.add_argument("--image-size", type=int, default=64, help="in pixels")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=6)
    recording.add_option(parser)
    arguments = parser.parse_args()
    titles = {
        "one": "one process",
        "apart": f"{arguments.processes} without a sum",
        "summed": f"{arguments.processes} with it",
    }
    found: dict[str, Any] = {}
    for batch in arguments.batch_size:
        values = compared(batch, arguments.image_size, arguments.processes, arguments.rounds)
        for name, title in titles.items():
            speed, ratio, processor = (
                values[f"{name}_{key}"] for key in ("images_per_second", "ratio", "processor_ms")
            )
            print(
                f"batch {batch:3}, {title:<16} {speed:6.1f} images/s, {ratio:.3f} of one process, "
                f"{processor:.0f} ms of processor time per step",
                flush=True,
            )
        found |= {f"batch{batch}_{name}": value for name, value in values.items()}
    recording.write(arguments.record, found)


if __name__ == "__main__":
    main()
