"""The application without a server around it, over copies of finished runs of the fake trainers."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from pneumo_cli.plugins.discovery import discover
from pneumo_ui.app import create_app
from pneumo_ui.safety import Access
from tests.programs import Ended, ProcessServer

QUICK = ("--preset", "quick", "--threads", "1")
HOST, PORT = "127.0.0.1", 8765

OpenPages = Callable[..., TestClient]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders are searched more often than every two seconds."""
    monkeypatch.setattr("pneumo_ui.run_index._PAUSE", 0.2)


@pytest.fixture
def finished(finished_run: Callable[..., Path]) -> Path:
    """The folder of a finished classifier, not to be changed."""
    return finished_run("fake", *QUICK)


@pytest.fixture
def runs(finished: Path, tmp_path: Path) -> Path:
    """A folder with the two runs ``fake/first`` and ``fake/second``, to be changed at will."""
    folder = tmp_path / "runs"
    for name in ("first", "second"):
        shutil.copytree(finished, folder / "fake" / name)
    return folder


@pytest.fixture
def open_pages(fakes: Path) -> Iterator[OpenPages]:
    """A client of the application over a folder: ``open_pages(folder, token)``."""
    with ExitStack() as stack:

        def start(folder: Path, token: str = "", host: str = HOST) -> TestClient:
            app = create_app(folder, discover(), Access(host, PORT, token))
            client = TestClient(app, base_url=f"http://{HOST}:{PORT}", follow_redirects=False)
            return stack.enter_context(client)

        yield start


@pytest.fixture
def pages(runs: Path, open_pages: OpenPages) -> TestClient:
    """A client of the application over ``runs``."""
    return open_pages(runs)


@dataclass
class Served:
    """A process of ``pneumo ui``: its id, and the address that it printed."""

    processes: ProcessServer
    process: int
    address: str
    ended: Ended | None = None

    def end(self, number: int = signal.SIGINT) -> Ended:
        """Send it a signal, and wait for its end."""
        if self.ended is None:
            os.kill(self.process, number)
            self.ended = self.processes.wait(self.process)
        return self.ended


@pytest.fixture
def serve(processes: ProcessServer, tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start ``pneumo ui`` with a free port in a process: ``serve(folder, *flags)``."""
    all_served = []

    def start(folder: Path, *flags: object) -> Served:
        before = set(folder.parent.glob(".stderr*"))
        process = processes.start(folder.parent, "ui", folder, "--port", 0, *flags, PNEUMO_DISABLE_PLUGINS="")
        for _ in range(600):
            for file in set(folder.parent.glob(".stderr*")) - before:
                if "Ctrl-C ends it" in (said := file.read_text()):
                    address = next(word for word in said.split() if word.startswith("http://"))
                    served = Served(processes, process, address)
                    all_served.append(served)
                    return served
            time.sleep(0.1)
        raise AssertionError("nothing was printed")

    yield start
    for served in all_served:
        served.end()
