"""Progress bars on a terminal, and output that is printed meanwhile."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pneumo_cli.runtime.progress import Progress, TerminalProgress, WatchedProgress

pty = pytest.importorskip("pty", reason="there are no pseudo-terminals on this system")

PROGRAM = """
from pneumo_cli.runtime.progress import for_stderr

with for_stderr().stage("predicting", 2) as advance:
    for row in ("the first row", "the second row, " + 300 * "x"):
        print(row)
        advance(1)
"""


def test_redirected_output_stays_in_its_file_while_a_bar_is_on_the_terminal(tmp_path: Path) -> None:
    terminal, end = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environ.pop("NO_COLOR", None)
    with (tmp_path / "rows.csv").open("w") as rows:
        subprocess.run([sys.executable, "-c", PROGRAM], stdout=rows, stderr=end, env=environ, check=True)
    os.close(end)
    shown = os.read(terminal, 100_000).decode()
    os.close(terminal)
    assert (tmp_path / "rows.csv").read_text() == "the first row\nthe second row, " + 300 * "x" + "\n"
    assert "predicting" in shown
    assert "row" not in shown


def test_an_exception_of_the_callback_ends_a_watched_step() -> None:
    calls = []

    def callback() -> None:
        calls.append(len(calls))
        if len(calls) == 2:
            raise KeyError("enough")

    with WatchedProgress(Progress(), callback).stage("step", 5) as advance:
        advance(1)
        with pytest.raises(KeyError):
            advance(1)
    assert calls == [0, 1]


def test_of_two_bars_at_once_the_first_is_shown_and_stdout_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    before = sys.stdout
    first, second = (TerminalProgress().stage(name, 2) for name in ("decoding", "training"))
    with first as advance:
        second.__enter__()(1)  # of a run in another thread
        advance(1)
    second.__exit__(None, None, None)
    assert sys.stdout is before
    assert sys.stderr is shown
    assert "decoding" in shown.getvalue()
    assert "training" not in shown.getvalue()
    with TerminalProgress().stage("training", 1):
        pass
    assert "training" in shown.getvalue()


def test_a_bar_is_updated_seldom_and_shows_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.progress import Progress as Bars

    monkeypatch.setattr(sys, "stderr", io.StringIO())
    shown: list[float] = []
    update = Bars.update
    monkeypatch.setattr(
        Bars,
        "update",
        lambda self, *given, **new: (shown.append(new["completed"]), update(self, *given, **new)),
    )
    monkeypatch.setattr("pneumo_cli.runtime.progress._REDRAWN", 3600.0)
    with TerminalProgress().stage("training", 1000) as advance:
        for _ in range(1000):
            advance(1)
    assert shown == [1, 1000]
