"""How fast does the CNN train beside busy processes, and alone?

Each measurement is a run in a process of its own, beside so many processes that do nothing but count and were there
before. The speed is that of its training steps over some seconds, after which the process ends. With ``--before``
every measurement is repeated with the code of another version, alternately, in the same environment.

    python examples/measure_shared_machine.py [--busy 0 1] [--repetitions 2] [--before PYTHONPATH]

The machine must be idle otherwise. On two cores a measurement takes a quarter of a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import recording
import torch

import pneumo_cli as pneumo

_BUSY = "while True: pass"
_SKIPPED = 3  # steps
_HEAD_START = 2.0  # seconds of the busy processes before the run starts


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Within it, so many processes are busy."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(count)]
    try:
        time.sleep(_HEAD_START if count else 0.0)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


class Clock:
    """Counts training steps for some seconds, prints images per second and threads, and ends the process."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._began = 0.0
        self._steps = -_SKIPPED

    def step_finished(self, run: Any) -> None:
        """Called after each training step."""
        self._steps += 1
        if self._steps == 0:
            self._began = time.perf_counter()
        passed = time.perf_counter() - self._began
        if self._steps > 0 and passed > self._seconds:
            rate = self._steps * run.settings.batch_size / passed
            print(json.dumps([rate, torch.get_num_threads()]), flush=True)
            os._exit(0)


def train(folder: str, size: int, seconds: float) -> None:
    """Train until the clock ends the process."""
    pneumo.run(
        "cnn",
        preset="quick",
        dataset="phantom",
        image_size=size,
        epochs=100,
        output=folder,
        observers=[Clock(seconds)],
        progress=False,
    )


def measured(size: int, seconds: float, path: str | None) -> tuple[float, int]:
    """Images per second, and the number of threads.

    Args:
        path: the ``PYTHONPATH`` of another version; None: this one.
    """
    environ = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    if path is not None:
        environ["PYTHONPATH"] = path
    with tempfile.TemporaryDirectory() as folder:
        words = ("--image-size", str(size), "--seconds", str(seconds), "--train", folder)
        command = [sys.executable, __file__, *words]
        done = subprocess.run(command, env=environ, stdout=subprocess.PIPE, text=True, check=True)
    rate, threads = json.loads(done.stdout.splitlines()[-1])
    return float(rate), int(threads)


def main() -> None:
    """Measure all combinations in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], help="busy processes beside the run")
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--before", metavar="PYTHONPATH", help="of the code of another version")
    parser.add_argument("--image-size", type=int, default=64, help="in pixels")
    parser.add_argument("--seconds", type=float, default=6.0, help="of training steps that are counted")
    parser.add_argument("--train", metavar="FOLDER", help=argparse.SUPPRESS)
    recording.add_option(parser)
    arguments = parser.parse_args()
    if arguments.train is not None:
        train(arguments.train, arguments.image_size, arguments.seconds)
        return
    versions = {"now": None, **({"before": arguments.before} if arguments.before else {})}
    speeds: dict[tuple[int, str], list[float]] = {}
    threads: dict[tuple[int, str], int] = {}
    for _ in range(arguments.repetitions):
        for busy in arguments.busy:
            for version, path in versions.items():
                with busy_processes(busy):
                    speed, threads[busy, version] = measured(arguments.image_size, arguments.seconds, path)
                speeds.setdefault((busy, version), []).append(speed)
                print(
                    f"{busy} busy, {version}: {speed:.1f} images/s, {threads[busy, version]} threads",
                    flush=True,
                )
    values: dict[str, float] = {}
    for (busy, version), found in speeds.items():
        values[f"busy{busy}_{version}"] = round(statistics.median(found), 1)
        values[f"busy{busy}_{version}_threads"] = threads[busy, version]
    for busy in arguments.busy if arguments.before else []:
        ratio = values[f"busy{busy}_now"] / values[f"busy{busy}_before"]
        values[f"busy{busy}_ratio"] = round(ratio, 2)
        print(f"{busy} busy: {ratio:.2f} times as fast as before")
    recording.write(arguments.record, values)


if __name__ == "__main__":
    main()
