"""The files of a run folder that grow during the run: ``metrics.jsonl`` and ``log.txt``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import hookimpl
from pneumo_cli.runtime.signals import callers_interruption
from pneumo_cli.runtime.terminal import EscapingFormatter

if TYPE_CHECKING:
    from pathlib import Path

    from pneumo_cli.runs.run import Run

api_version = 1

_log = logging.getLogger("pneumo")


class _RunLog(logging.FileHandler):
    """The ``log.txt`` of one run, with what is logged by the threads that work for it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self.setFormatter(EscapingFormatter("%(asctime)s %(levelname)s %(message)s"))
        self._caller = callers_interruption()

    def filter(self, record: logging.LogRecord) -> bool:
        own = _current.get()
        # A thread of a plugin's own belongs to no run: to all runs of the same caller.
        return own is self if own is not None else callers_interruption() is self._caller


_current: ContextVar[_RunLog | None] = ContextVar("run log", default=None)


class _OpenLogs(logging.Handler):
    """The logs of all runs that go on. They get messages from INFO on, whatever the calling program shows.

    Pneumo's own messages meet a filter of the logger, which keeps from the program's handlers what it would not
    show. Those of child loggers, such as a plugin's ``pneumo.mine``, meet handlers only. With a handler, logging
    does not show the warnings of a program that has not configured it: so messages go on to the root from here.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changing = threading.Lock()
        self._logs: tuple[_RunLog, ...] = ()
        self._shown, self._level, self._before = 0, 0, 0
        self._propagated = True

    def add(self, log: _RunLog) -> None:
        with self._changing:
            if not self._logs:
                self._shown, self._before = _log.getEffectiveLevel(), _log.level
                self._level = min(self._shown, logging.INFO)
                _log.setLevel(self._level)
                _log.addFilter(self._met)
                _log.addHandler(self)
                self._propagated, _log.propagate = _log.propagate, False
            self._logs = (*self._logs, log)

    def remove(self, log: _RunLog) -> None:
        with self._changing:
            self._logs = tuple(one for one in self._logs if one is not log)
            if not self._logs:
                _log.propagate = self._propagated
                _log.removeHandler(self)
                _log.removeFilter(self._met)
                if _log.level == self._level:  # else the program has set it meanwhile
                    _log.setLevel(self._before)
        log.close()

    def _met(self, record: logging.LogRecord) -> bool:
        self._write(record)
        return record.levelno >= self._shown

    def handle(self, record: logging.LogRecord) -> bool:
        """Without the lock of handlers, as it calls others."""
        if record.name != _log.name:
            self._write(record)
        root = logging.getLogger()
        # A logger with a level of its own shows what it lets through.
        shown = record.levelno >= (logging.getLogger(record.name).level or self._shown)
        if self._propagated and shown and (root.handlers or _log.handlers == [self]):
            root.callHandlers(record)
        return True

    def _write(self, record: logging.LogRecord) -> None:
        for log in self._logs:
            log.handle(record)


_open_logs = _OpenLogs()


class Files:
    """Appends a line per epoch to ``metrics.jsonl``, and log messages to ``log.txt``."""

    def __init__(self) -> None:
        self._file: _RunLog | None = None
        self._outer: _RunLog | None = None

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Start the files; of a resumed run, with the epochs of its checkpoint."""
        from pneumo_cli.runtime import atomic

        atomic.write_text(run.folder.metrics, "".join(_json(row) + "\n" for row in run.history))
        self._file = _RunLog(run.folder.log)
        self._outer = _current.get()  # of a run whose observer starts this one
        _current.set(self._file)
        _open_logs.add(self._file)
        _log.info("resumed after epoch %d", len(run.history) - 1) if run.history else _log.info("started")
        for note in run.notes:  # from before the folder existed
            _log.info("%s", note)

    @hookimpl
    def epoch_finished(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """Append the epoch's row."""
        try:
            with run.folder.metrics.open("a", encoding="utf-8") as file:
                file.write(_json(metrics) + "\n")
        except OSError:
            self._close()  # as an observer that fails is dropped
            raise
        _log.info("epoch %d: validation %s", metrics["epoch"], _json(metrics["validation"]))

    @hookimpl
    def run_finished(self, report: Mapping[str, Any]) -> None:
        """Close the log."""
        _log.info("finished: %s", _json(report["evaluations"]))
        self._close()

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        """Log the reason, and close the log."""
        _log.info("ended: %s: %s", type(error).__name__, error)
        self._close()

    def _close(self) -> None:
        if self._file is not None:
            _current.set(self._outer)
            _open_logs.remove(self._file)
            self._file = None


@hookimpl
def plugins_for_run() -> Iterable[object]:
    """Files of its own for each run."""
    yield Files()


def _json(value: object) -> str:
    import json  # here, since every command loads this plugin

    from pneumo_cli.runtime.json_values import finite

    return json.dumps(finite(value), allow_nan=False)
