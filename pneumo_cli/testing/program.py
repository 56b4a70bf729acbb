"""Runs ``pneumo`` in the test's process."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from dataclasses import dataclass
from unittest import mock

from pneumo_cli.cli.main import main
from pneumo_cli.plugins.discovery import Plugins, discover
from pneumo_cli.testing.workplace import installed_plugins


@dataclass(frozen=True)
class Invocation:
    """How a command ended: its exit code and what it printed."""

    code: int
    stdout: str
    stderr: str


def invoke(
    *arguments: object,
    suite_datasets: bool = False,
    encoding: str = "utf-8",
    plugins: Plugins | None = None,
) -> Invocation:
    """Run ``pneumo ARGUMENTS`` in this process, in the working folder and environment as they are.

    Args:
        suite_datasets: register :data:`TINY` and :data:`SMALL`, too.
        encoding: of stdout and stderr.
        plugins: what is installed; None: what discovery finds.
    """
    stdout, stderr = (io.TextIOWrapper(io.BytesIO(), encoding, newline="\n") for _ in range(2))
    find = installed_plugins if suite_datasets else discover
    root, own = logging.getLogger(), logging.getLogger("pneumo")
    before = root.handlers[:], root.level, own.level
    root.handlers = []  # so that the program makes its own, on the stderr of this invocation
    code: object = 0
    try:
        with (
            mock.patch.object(sys, "argv", ["pneumo", *map(str, arguments)]),
            mock.patch.dict(os.environ),  # `--plugin` sets a variable for further processes
            mock.patch("pneumo_cli.cli.main.discover", find if plugins is None else lambda: plugins),
            contextlib.redirect_stdout(stdout),
            contextlib.redirect_stderr(stderr),
        ):
            main()
    except SystemExit as end:
        code = end.code
    finally:
        root.handlers = before[0]
        root.setLevel(before[1])
        own.setLevel(before[2])
    texts = []
    for stream in (stdout, stderr):
        stream.seek(0)
        texts.append(stream.read())
    return Invocation(code if isinstance(code, int) else 0, *texts)
