"""The base class of trackers: observers that send a run's settings, metrics and figures to an experiment tracker.

A tracker must not hold up a run, and must not end one. So everything it does happens in a thread of its own, in
order; its first error is a warning and the last thing that is heard of it; at the end of a run it is given a few
seconds to finish.
"""

from __future__ import annotations

import logging
import math
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import with_type
from pneumo_cli.settings.schema import PartSettings

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

_log = logging.getLogger("pneumo")


class Tracker(ABC):
    """Sends a run to an experiment tracker; a plugin registers a subclass of it as an observer.

    All abstract methods are called in one thread, the same for all, while training goes on. None may use the run's
    model or tensors.

    Args:
        settings: of the plugin, an instance of a subclass of :class:`~pneumo_cli.settings.schema.PartSettings`.

    Attributes:
        title: the tracker's name, for messages.
        patience: seconds to wait, at the end of a run, for what has not been sent yet.
    """

    title: str = "the tracker"
    patience: float = 60.0

    def __init__(self, settings: PartSettings) -> None:
        self.settings = settings
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._failed = False

    @abstractmethod
    def open(self, folder: Path, trainer: str, settings: Mapping[str, Any], epochs: int) -> None:
        """Begin, or go on with, the record of a run.

        Args:
            folder: the run's folder. Its name identifies the run, also when it is resumed.
            trainer: the trainer's name.
            settings: the recipe and where it runs, as plain values by name.
            epochs: how many rows of its history the run has already; later metrics replace what was recorded of
                the same epochs.
        """

    @abstractmethod
    def metrics(self, values: Mapping[str, float], epoch: int) -> None:
        """Record metrics of an epoch, named ``train/loss``; of the best checkpoint ``best/test/auc``."""

    @abstractmethod
    def figure(self, path: Path) -> None:
        """Record a figure of the report, a PNG file."""

    @abstractmethod
    def note(self, name: str, value: str) -> None:
        """Record a text by name, such as the SHA-256 of a checkpoint: the last one of a name counts."""

    @abstractmethod
    def close(self, error: str) -> None:
        """End the record.

        Args:
            error: why the run ended; empty: it is finished.
        """

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Start the thread and the record."""
        from pneumo_cli.settings.resolve import plain_values

        recipe = plain_values(run.settings) | plain_values(run.resolved.options)
        facts = recipe | {"device": str(run.device.torch), "precision": run.device.precision}
        for part in run.resolved.parts:
            name = part.entry.spec.name
            facts |= {f"{name}.{key}": value for key, value in plain_values(part.settings).items()}
        folder, trainer, epochs = run.folder.path.absolute(), run.spec.name, len(run.history)
        work, name = self._work, f"pneumo-{self.title}"
        self._thread = threading.Thread(target=copy_context().run, args=(work,), name=name, daemon=True)
        self._thread.start()
        self._tasks.put(lambda: self.open(folder, trainer, facts, epochs))

    @hookimpl
    def epoch_finished(self, metrics: Mapping[str, Any]) -> None:
        """Record the epoch."""
        values, epoch = epoch_metrics(metrics), int(metrics["epoch"])
        self._tasks.put(lambda: self.metrics(values, epoch))

    @hookimpl
    def checkpoint_saved(self, path: Path) -> None:
        """Record the checkpoint's digest."""
        from pneumo_cli.runs.checkpoints import Checkpoints

        digest = Checkpoints(path.parent).digest(path.stem)
        self._tasks.put(lambda: self.note(f"checkpoints/{path.name}", digest))

    @hookimpl
    def run_finished(self, run: Run, report: Mapping[str, Any]) -> None:
        """Record the results and figures of the report, and end the record."""
        epoch = len(run.history) - 1
        for split, result in report.get("evaluations", {}).items():
            values = finite({f"best/{split}/{name}": value for name, value in result.items()})
            self._tasks.put(lambda values=values: self.metrics(values, epoch))  # type: ignore[misc]
        for path in sorted(run.folder.figures.glob("*.png")):
            self._tasks.put(lambda path=path: self.figure(path))  # type: ignore[misc]
        self._end("")

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        """End the record with the error."""
        self._end(f"{type(error).__name__}: {error}")

    def _end(self, error: str) -> None:
        if self._thread is None:
            return
        self._tasks.put(lambda: self.close(error))
        self._tasks.put(None)
        self._thread.join(self.patience)
        if self._thread.is_alive():
            message = "%s has not recorded everything after %.0f s; the run itself is complete in its folder"
            _log.warning(message, self.title, self.patience)
        self._thread = None

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._failed:
                continue
            try:
                task()
            except Exception as error:
                self._failed = True
                reason = with_type(error)
                _log.warning("%s fails and records nothing more of this run: %s", self.title, reason)
                _log.debug("the error of %s", self.title, exc_info=True)


def epoch_metrics(row: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a row of a run's history, by name: ``train/loss``, ``validation/auc``, ``seconds``."""
    values: dict[str, Any] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            values |= {f"{name}/{metric}": number for metric, number in value.items()}
        elif name != "epoch":
            values[name] = value
    return finite(values)


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among some values."""
    numbers = {name: value for name, value in values.items() if isinstance(value, (int, float))}
    return {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
