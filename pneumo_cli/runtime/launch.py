"""``--devices N``: the same command line in N processes on this machine that form one process group.

What torchrun does on one machine, without its agent: exit codes and signals pass through unchanged. For several
machines use torchrun: ``torchrun … -m pneumo_cli run cnn``.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

# After one rank has died the others wait in a collective: they get this long to report their own errors.
_GRACE_SECONDS = 10.0


def inside_launcher() -> bool:
    """Whether a launcher started this process as one of several ranks."""
    return "WORLD_SIZE" in os.environ


def launch(count: int, arguments: Sequence[str]) -> int:
    """Run ``pneumo ARGUMENTS`` in ``count`` processes.

    Returns:
        0 if all succeed, else the exit code of the first that failed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    threads = max(1, (os.cpu_count() or 1) // count)
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "pneumo_cli", *arguments],
            env={**os.environ, **shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(count)
    ]

    def forward(number: int, frame: FrameType | None) -> None:
        for process in processes:
            if process.poll() is None:
                process.send_signal(number)

    before: dict[int, Any] = {n: signal.signal(n, forward) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _wait(processes)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for process in processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def _wait(processes: Sequence[subprocess.Popen[bytes]]) -> int:
    failed_at: float | None = None
    code = 0
    while any(process.poll() is None for process in processes):
        for process in processes:
            if process.poll() not in (None, 0) and not code:
                code = process.returncode if process.returncode > 0 else 128 - process.returncode
                failed_at = time.monotonic()
        if failed_at is not None and time.monotonic() - failed_at > _GRACE_SECONDS:
            break
        time.sleep(0.05)
    return code or next((p.returncode for p in processes if p.returncode), 0)
