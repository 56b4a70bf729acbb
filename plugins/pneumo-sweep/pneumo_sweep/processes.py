"""Several workers on this machine, each a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import IO, Any

from sqlalchemy.engine import URL

from pneumo_cli.errors import Interrupted, PneumoError
from pneumo_cli.runtime.signals import callers_interruption
from pneumo_cli.runtime.turns import turns
from pneumo_cli.settings.parts import flag
from pneumo_sweep.plan import SweepFolder

STORAGE_VARIABLE = "SWEEP_STORAGE"
"""Where a worker finds the URL of the database, with its password, which is for no command line. It is no setting,
so it has no PNEUMO_."""
_POLL_SECONDS = 0.1


def work_in_processes(
    folder: SweepFolder,
    stage: str,
    count: int,
    say: Callable[[str], None],
    machine: Mapping[str, Any],
    url: URL | None,
) -> None:
    """Carry out a stage in ``count`` processes, and wait for them. An interruption is passed on to them.

    Raises:
        Interrupted: they were interrupted, and have saved their trials.
        PneumoError: one failed otherwise than by being killed, whose trial the others take over.
    """
    given = [
        word for name, value in machine.items() if value is not None for word in (flag(name), str(value))
    ]
    environ = dict(os.environ)
    if url is not None:
        environ[STORAGE_VARIABLE] = url.render_as_string(hide_password=False)
    command = [
        sys.executable,
        "-m",
        "pneumo_cli",
        "sweep",
        "resume",
        str(folder.path),
        "--worker",
        stage,
        *given,
    ]
    workers = [_Process(command, environ, say) for _ in range(count)]
    request, passed_on = callers_interruption(), False
    try:
        while any(one.running for one in workers):
            turns.pass_on()
            if request is not None and request.number and not passed_on:
                passed_on = True
                for one in workers:
                    one.process.send_signal(request.number)
            time.sleep(_POLL_SECONDS)
    finally:
        for one in workers:
            one.end()
    if request is not None and request.number:
        raise Interrupted("interrupted", 128 + request.number)
    for number, one in enumerate(workers, 1):
        code = one.process.returncode
        if code < 0:
            say(f"worker {number} was killed (signal {-code})")
        elif code:
            raise PneumoError(
                one.last_line.removeprefix("pneumo: ") or f"a worker ended with the exit code {code}"
            )


class _Process:
    """A worker's process, whose lines on stderr are passed on."""

    def __init__(self, command: list[str], environ: Mapping[str, str], say: Callable[[str], None]) -> None:
        # A session of its own: Ctrl-C in a terminal goes to this process, which passes it on, once.
        self.process = subprocess.Popen(
            command, env=environ, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True
        )
        self.last_line = ""
        assert self.process.stderr is not None
        self._thread = threading.Thread(target=self._pass_on, args=(self.process.stderr, say), daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    def end(self) -> None:
        """End it, if it runs, and wait for its last lines."""
        if self.running:
            self.process.kill()
        self.process.wait()
        self._thread.join(5)

    def _pass_on(self, lines: IO[str], say: Callable[[str], None]) -> None:
        with lines:
            for line in lines:
                self.last_line = line.rstrip("\n")
                say(self.last_line)
