"""``--devices N``: the same command line in N processes on this machine that form one process group.

What torchrun does on one machine, without its agent: exit codes and signals pass through. For several machines use
torchrun: ``torchrun … -m pneumo_cli run cnn``.
"""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pneumo_cli.runtime import atomic
from pneumo_cli.runtime.signals import Interruption, interruption
from pneumo_cli.runtime.threads import usable_cores

# After one rank has died the others wait in a collective: they get this long to report their own errors.
_GRACE_SECONDS = 10.0
_OUTCOME = (
    "LAUNCHER_OUTCOME"  # names a folder in which the ranks note what came out; no setting, so no PNEUMO_
)


@dataclass(frozen=True)
class Outcome:
    """What came out of launched processes.

    Attributes:
        code: 0 if all succeeded, else the exit code of the first that failed.
        folder: of the run or group, if they noted it.
        error: the message of that process, which is also on its stderr; may be empty.
    """

    code: int
    folder: Path | None = None
    error: str = ""


def inside_launcher() -> bool:
    """Whether a launcher started this process as one of several ranks."""
    return "WORLD_SIZE" in os.environ


def launched() -> bool:
    """Whether :func:`launch` started this process, and prints the results itself."""
    return _OUTCOME in os.environ


def first_rank() -> bool:
    """Whether this process prints: the first of several, or a single one."""
    return os.environ.get("RANK", "0") == "0"


def note_folder(path: Path) -> None:
    """Tell :func:`launch`, if it started this process as the first rank, the folder of the run."""
    if first_rank():
        _note("folder", str(path))


def note_error(message: str) -> None:
    """Tell :func:`launch`, if it started this process, why it ends."""
    _note(f"error-{os.environ.get('RANK')}", message)


def _note(name: str, text: str) -> None:
    if noted := os.environ.get(_OUTCOME):
        with suppress(OSError):  # the launcher is gone, or the disk is full, which other messages say
            atomic.write_text(Path(noted, name), text)


def launch(count: int, arguments: Sequence[str], *, quiet: bool = False, threads: int = 0) -> Outcome:
    """Run ``pneumo ARGUMENTS`` in ``count`` processes.

    Args:
        quiet: whether what they print is dropped.
        threads: of each process, where the arguments and the environment name no number; 0: its share of the
            usable cores.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    share = threads or max(1, usable_cores() // count)
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(share)),
    }
    if threads:  # as a setting it is recorded
        shared["PNEUMO_THREADS"] = str(threads)
    stream = subprocess.DEVNULL if quiet else None
    processes: list[subprocess.Popen[bytes]] = []
    with TemporaryDirectory(prefix="pneumo-") as noted, interruption() as received:
        try:
            for rank in range(count):
                own = {"RANK": str(rank), "LOCAL_RANK": str(rank), _OUTCOME: noted}
                command = [sys.executable, "-m", "pneumo_cli", *arguments]
                environ = {**os.environ, **shared, **own}
                processes.append(subprocess.Popen(command, env=environ, stdout=stream, stderr=stream))
            failed = _wait(processes, received)
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                process.wait()
        if failed is None:
            folder = _noted(noted, "folder")
            return Outcome(0, Path(folder) if folder else None)
        code = processes[failed].returncode
        code = code if code > 0 else 128 - code
        if received.number and code == 128 + signal.SIGTERM:
            code = 128 + received.number  # see _wait
        return Outcome(code, error=_noted(noted, f"error-{failed}"))


def _noted(folder: str, name: str) -> str:
    try:
        return Path(folder, name).read_text(encoding="utf-8")
    except OSError:
        return ""


def _wait(processes: Sequence[subprocess.Popen[bytes]], received: Interruption) -> int | None:
    """Wait for all processes, or until one has failed and the others had their time; return the first that failed.

    Ctrl-C is passed on as SIGTERM: in a terminal it reaches the processes as well, and a second one would end them
    before they have saved.
    """
    from pneumo_cli.runtime.turns import turns  # here, since the program starts without torch

    failed: int | None = None
    deadline, told = math.inf, False
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        if received.number and not told:
            number = signal.SIGTERM if received.number == signal.SIGINT else received.number
            for process in processes:
                process.send_signal(number)
            told = True
        if failed is None and (ends := _failures(processes)):
            failed, deadline = ends[0], time.monotonic() + _GRACE_SECONDS
        turns.pass_on()
        time.sleep(0.05)
    return failed if failed is not None else next(iter(_failures(processes)), None)


def _failures(processes: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    return [rank for rank, process in enumerate(processes) if process.poll() not in (None, 0)]
