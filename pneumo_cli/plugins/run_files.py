"""The files of a run folder that grow during the run: ``metrics.jsonl`` and ``log.txt``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import hookimpl

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

api_version = 1

_log = logging.getLogger("pneumo")


class Files:
    """Appends a line per epoch to ``metrics.jsonl``, and log messages to ``log.txt``."""

    def __init__(self) -> None:
        self._handler: logging.Handler | None = None

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Start the files; of a resumed run, with the epochs of its checkpoint."""
        from pneumo_cli.runtime import atomic

        atomic.write_text(run.folder.metrics, "".join(_json(row) + "\n" for row in run.history))
        self._handler = logging.FileHandler(run.folder.log, encoding="utf-8")
        self._handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        _log.addHandler(self._handler)
        _log.info("resumed after epoch %d", len(run.history) - 1) if run.history else _log.info("started")
        for note in run.notes:  # from before the folder existed
            _log.info("%s", note)

    @hookimpl
    def epoch_finished(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """Append the epoch's row."""
        with run.folder.metrics.open("a", encoding="utf-8") as file:
            file.write(_json(metrics) + "\n")
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
        if self._handler is not None:
            _log.removeHandler(self._handler)
            self._handler.close()
            self._handler = None


@hookimpl
def plugins_for_run() -> Iterable[object]:
    """Files of its own for each run."""
    yield Files()


def _json(value: object) -> str:
    import json  # here, since every command loads this plugin

    from pneumo_cli.runtime.json_values import finite

    return json.dumps(finite(value), allow_nan=False)
