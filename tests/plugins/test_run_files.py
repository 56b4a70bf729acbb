"""What ``log.txt`` gets, and what a program still sees."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pneumo_cli.plugins.run_files import Files

_log, _child = logging.getLogger("pneumo"), logging.getLogger("pneumo.mine")


@contextmanager
def a_run(path: Path) -> Iterator[None]:
    """A run goes on, with this ``log.txt``; what the logger was before, it is afterwards."""
    before = (_log.level, _log.handlers[:], _log.filters[:], _log.propagate)
    files, folder = Files(), SimpleNamespace(metrics=path.with_name("metrics.jsonl"), log=path)
    run: Any = SimpleNamespace(folder=folder, history=[], notes=[])
    files.run_started(run)
    yield
    files.run_failed(ValueError("at the end"))
    assert (_log.level, _log.handlers, _log.filters, _log.propagate) == before


@pytest.mark.parametrize("configured", [False, True])
def test_messages_of_child_loggers_are_kept_and_a_program_shows_what_it_showed(
    configured: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []
    handler = logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: shown.append(record.getMessage()))
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler] if configured else [])
    detailed = logging.getLogger("pneumo.detailed")
    detailed.setLevel(logging.DEBUG)
    path = tmp_path / "log.txt"
    with a_run(path):
        for number, logger in enumerate((_log, _child)):
            logger.info("note %d", number)
            logger.warning("warning %d", number)
        detailed.debug("detail")
    assert [line.split(" ", 2)[2] for line in path.read_text().splitlines()] == [
        "INFO started",
        *("INFO note 0", "WARNING warning 0", "INFO note 1", "WARNING warning 1", "DEBUG detail"),
        "INFO ended: ValueError: at the end",
    ]
    # The detail is shown as its logger is asked for it; but logging itself shows no more than warnings.
    assert shown == (["warning 0", "warning 1", "detail"] if configured else [])
    assert capsys.readouterr() == ("", "" if configured else "warning 0\nwarning 1\n")
