"""From an empty folder, following only printed text: scaffold, edit, install, check and run, for each kind.

The commands are those that ``pneumo new`` prints, in a fresh environment and without a network.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.environments import Environment
from tests.programs import ProcessServer

pytestmark = pytest.mark.slow

KINDS = ("trainer", "extension", "observer", "dataset", "model", "decoder", "command")
OFFLINE = {
    "PIP_NO_INDEX": "1",
    "PIP_NO_DEPS": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # pip's way to say --no-build-isolation
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "OMP_NUM_THREADS": "1",
}

Followed = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def follow(tmp_path_factory: pytest.TempPathFactory, fake_environ: dict[str, str]) -> Iterator[Followed]:
    """Makes a package of a kind and does what is printed; returns what each command printed.

    ``pneumo`` is the program of a fresh environment, forked from a process that has imported torch.
    """
    environ = {name: value for name, value in fake_environ.items() if name != "PYTHONPATH"}
    environment = Environment(tmp_path_factory.mktemp("author"), environ)
    pip = environment.python.with_name("pip")  # what pip would have written, had it been installed here
    pip.write_text(f'#!/bin/sh\nexec "{environment.python}" -m pip "$@"\n')
    pip.chmod(0o755)
    path = f"{environment.python.parent}{os.pathsep}{os.environ['PATH']}"
    shell = {**environ, **OFFLINE, "PATH": path, "PNEUMO_DISABLE_PLUGINS": ""}

    def follow(kind: str) -> list[str]:
        printed = run(f"pneumo new first-{kind} --kind {kind}", environment.work)
        enter, *commands = re.findall(r"^    (.+)$", printed, re.MULTILINE)
        place = environment.work / enter.removeprefix("cd ")
        (edited,) = re.findall(r"into (\S+),", printed)
        source = place / edited
        source.write_text(source.read_text() + f"\n# edited by the author of first-{kind}\n")
        return [printed, *(run(command, place) for command in commands)]

    def run(command: str, where: Path) -> str:
        program, *arguments = shlex.split(command)
        if program == "pneumo":
            ended = server.run(where, *arguments)
            code, output = ended.code, ended.stdout + ended.stderr
        else:
            done = subprocess.run(
                ["bash", "-c", command], cwd=where, env=shell, capture_output=True, text=True
            )
            code, output = done.returncode, done.stdout + done.stderr
        assert code == 0, f"{command}\n{output}"
        return output

    server = ProcessServer(shell, environment.site, environment.python)
    yield follow
    server.close()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_leads_to_a_checked_plugin_that_runs(kind: str, follow: Followed) -> None:
    printed, *outputs = follow(kind)
    assert printed.startswith(f"pneumo-first-{kind}: the {kind} first-{kind}, ")
    assert any(re.search(rf"^first-{kind}: \d+ checks ok, 0 broken", out, re.MULTILINE) for out in outputs)
    if kind != "command":
        assert "report   runs/" in outputs[-1] or "report.html" in outputs[-1]
