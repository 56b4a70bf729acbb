"""``pneumo`` in processes of its own, which may be killed: the client of ``fakes/process_server.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

FAKES = Path(__file__).parent / "fakes"

COARSE_DPI = 60
"""Of the figures in reports of test runs."""


def disabled(*enabled: str) -> str:
    """The installed plugins, for ``PNEUMO_DISABLE_PLUGINS``, except those of some distributions."""
    kept = {"pneumo-cli", "pneumo-fake", *enabled}
    bundled = {
        point.name
        for distribution in distributions()
        for point in distribution.entry_points
        if point.group == "pneumo" and distribution.name not in kept
    }
    return ",".join(sorted(bundled))


@dataclass(frozen=True)
class Ended:
    """Exit code (negative: the signal that killed the process) and output of a process."""

    code: int
    stdout: str
    stderr: str


class ProcessServer:
    """The client of ``fakes/process_server.py``."""

    def __init__(self, environ: Mapping[str, str], site: Path, python: Path = Path(sys.executable)) -> None:
        self._environ = dict(environ)
        self._site = str(site)
        self._process = subprocess.Popen(
            [python, FAKES / "process_server.py", str(COARSE_DPI)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environ, "MPLBACKEND": "agg"},
        )
        self._outputs: dict[int, tuple[Path, Path]] = {}

    def start(self, folder: Path, *arguments: object, script: Path | None = None, **environ: str) -> int:
        """Start ``pneumo ARGUMENTS``, or a Python file, in ``folder``; return the process id."""
        number = len(self._outputs)
        streams = (folder / f".stdout{number}", folder / f".stderr{number}")
        request = {
            "arguments": [str(argument) for argument in arguments],
            "environ": {
                **self._environ,
                "PYTHONPATH": self._site,
                "SABOTAGE": "",  # the saboteur is part of the recipe, also of what is resumed without one
                **environ,
            },
            "script": str(script) if script is not None else "",
            "folder": str(folder),
            "path": [self._site],
            "stdout": str(streams[0]),
            "stderr": str(streams[1]),
        }
        process = int(self._ask({"start": request}))
        self._outputs[process] = streams
        return process

    def wait(self, process: int) -> Ended:
        """Wait for the end of a process."""
        code = int(self._ask({"wait": process}))
        stdout, stderr = self._outputs[process]
        return Ended(code, stdout.read_text(), stderr.read_text())

    def run(self, folder: Path, *arguments: object, **environ: str) -> Ended:
        """Run ``pneumo ARGUMENTS`` in ``folder``."""
        return self.wait(self.start(folder, *arguments, **environ))

    def close(self) -> None:
        """Stop the server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def _ask(self, request: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())
