"""What a notebook shows while a function works: the epochs so far, and the current step with a bar.

One output that is updated, a few times a second. Nothing is written on stderr, which notebooks show in red.
"""

from __future__ import annotations

import html
import importlib
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import Interrupted
from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_cli.reports.formatting import duration, lowered
from pneumo_cli.runtime.json_values import mapping, number, text
from pneumo_cli.runtime.progress import Advance, Progress
from pneumo_cli.runtime.streams import encodable, printable
from pneumo_cli.workflows.tables import STYLE, aligned, html_table

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

_BETWEEN_UPDATES = 0.3  # seconds
_BEFORE_FIRST = 0.3  # seconds that a short call may take without being shown
_EPOCHS = 12  # that are shown; of more, the last ones and the best
_MESSAGES = 8
_SIDES = {"train": "training", "validation": "validation"}


@dataclass
class _Stage:
    """A long step.

    Attributes:
        first: the units that were done first, perhaps before the run was resumed: not counted for the rate.
        began: a reading of the clock when they were done.
    """

    name: str
    total: int
    unit: str
    done: int = 0
    first: int = 0
    began: float = 0.0

    def add(self, count: int) -> None:
        """Note that ``count`` further units are done."""
        if not self.done:
            self.first, self.began = count, time.monotonic()
        self.done += count

    def words(self) -> str:
        """Such as ``64 of 128 images · 12/s · 5 s left``."""
        parts = [
            f"{self.done:,} of {self.total:,} {self.unit}" if self.total else f"{self.done:,} {self.unit}"
        ]
        seconds = time.monotonic() - self.began
        if self.done > self.first and seconds > 0:
            rate = (self.done - self.first) / seconds
            parts.append(f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.2g}/s")
            if self.total > self.done:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
        return " · ".join(parts)


class NotebookView(Progress):
    """One output of a notebook's cell: progress of long steps, and an observer of runs."""

    def __init__(self) -> None:
        self._stages: list[_Stage] = []
        self._title, self._state, self._folder = "", "", ""
        self._epochs: dict[str, list[str]] = {}
        self._best: int | None = None
        self._earlier: list[str] = []  # runs of a group that have ended
        self._messages: list[str] = []
        self._handle: Any = None
        self._began = time.monotonic()
        self._updated = 0.0

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """Show a step, below the epochs."""
        stage = _Stage(name, total, unit)
        self._stages.append(stage)
        self._update()

        def advance(count: int) -> None:
            stage.add(count)
            self._update()

        try:
            yield advance
        finally:
            # It may be gone: after a second Ctrl-C a thread goes on when its output is closed.
            self._stages = [one for one in self._stages if one is not stage]
            if not self._stages and not self._title:  # a call with this step alone
                self.close()

    def say(self, message: str) -> None:
        """Show a message, below the epochs."""
        self._messages = [*self._messages, message][-_MESSAGES:]
        self._update(_BETWEEN_UPDATES)

    def close(self) -> None:
        """Show the last state."""
        self._stages.clear()
        if self._handle is not None or self._title or self._messages:
            self._update(None)

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Show what is trained, in place of an earlier run of the same group."""
        if self._title and self._state:
            self._earlier.append(f"{self._title}: {self._state}")
        where = f" ({run.folder.path.name})" if self._earlier else ""
        self._title = f"{run.spec.name} on {run.data.dataset.name}: {run.model_entry.spec.name}{where}"
        self._state, self._folder, self._epochs = "", str(run.folder.path), {}
        if run.history:
            self._read(run)
        self._update(0.0)

    @hookimpl
    def epoch_finished(self, run: Run) -> None:
        """Show the epochs so far."""
        self._read(run)
        self._update(0.05)

    @hookimpl
    def run_finished(self, run: Run, report: Mapping[str, Any]) -> None:
        """Show the outcome."""
        seconds = duration(mapping(report.get("run")).get("seconds"))
        self._state = f"finished in {seconds}"
        if run.monitor.metric and run.best.epoch is not None:
            label = lowered(metric_label(run.monitor.metric).label)
            value = metric_text(run.monitor.metric, run.best.value)
            self._state += f"; best epoch {run.best.epoch} by {_SIDES[run.monitor.side]} {label} ({value})"
        self._update(0.0)

    @hookimpl
    def run_failed(self, error: BaseException) -> None:
        """Show that it ended; the error itself is raised."""
        self._state = "stopped" if isinstance(error, Interrupted) else "failed"

    def _read(self, run: Run) -> None:
        """The table of epochs: title to cells."""
        rows, best = run.history, run.best.epoch if run.monitor.metric else None
        shown = rows if len(rows) <= _EPOCHS else rows[-_EPOCHS:]
        if best is not None and best < len(rows) and rows[best] not in shown:
            shown = [rows[best], *shown]
        self._best = next((place for place, row in enumerate(shown) if row["epoch"] == best), None)
        self._epochs = {"epoch": [f"{row['epoch']} of {run.settings.epochs}" for row in shown]}
        for side, name in _columns(rows[-1], run):
            head = f"{_SIDES[side]} {lowered(metric_label(name).label)}"
            self._epochs[head] = [metric_text(name, mapping(row.get(side)).get(name)) for row in shown]
        rates = [number(row.get("images_per_second")) for row in shown]
        self._epochs["images/s"] = ["" if rate is None else f"{rate:,.0f}" for rate in rates]
        self._epochs["time"] = [duration(row.get("seconds")) for row in shown]

    def _update(self, wait: float | None = _BETWEEN_UPDATES) -> None:
        """Show the present state, unless the last one is younger than ``wait`` seconds; None: in any case."""
        now = time.monotonic()
        early = self._handle is None and now - self._began < _BEFORE_FIRST
        if wait is not None and (early or now - self._updated < wait):
            return
        self._updated = now
        if self._handle is None:
            display = importlib.import_module("IPython.display").display
            self._handle = display(_Page(self.html(), self.text()), display_id=True)
        else:
            self._handle.update(_Page(self.html(), self.text()))

    def html(self) -> str:
        """The present state in HTML; everything that comes from data and plugins is escaped."""
        parts = [f'<p class="soft">{html.escape(line)}</p>' for line in self._earlier]
        if self._title:
            parts.append(f'<p class="title">{html.escape(self._title)}</p>')
        if self._epochs:
            rows = list(zip(*self._epochs.values(), strict=True))
            parts.append(html_table(self._epochs, rows, list(self._epochs)[1:], self._best))
        parts += [f'<p class="soft">{html.escape(text(message))}</p>' for message in self._messages]
        for stage in self._stages[-1:]:
            share = min(1.0, stage.done / stage.total) if stage.total else 0.0
            bar = f'<span class="bar"><span style="width: {share:.1%}"></span></span>'
            parts.append(f"<p>{html.escape(stage.name)}{bar}{html.escape(stage.words())}</p>")
        if self._title and (self._state or not self._stages):
            ending = f"{self._state} · " if self._state else ""
            parts.append(f'<p class="soft">{html.escape(ending)}<code>{html.escape(self._folder)}</code></p>')
        return f'{STYLE}<div class="pneumo">{"".join(parts)}</div>' if parts else ""

    def text(self) -> str:
        """The present state in plain text, for outputs without HTML."""
        lines = [*self._earlier, *([self._title] if self._title else [])]
        lines += aligned(self._epochs, list(self._epochs)[1:]) if self._epochs else []
        lines += (printable(text(message)) for message in self._messages)
        lines += [f"{stage.name}: {stage.words()}" for stage in self._stages[-1:]]
        return "\n".join([*lines, *([self._state] if self._state else [])])


def _columns(row: Mapping[str, Any], run: Run) -> list[tuple[str, str]]:
    """The losses and the monitored metric; of a run without them the first metrics that it has."""
    sides = [(side, mapping(row.get(side))) for side in _SIDES]
    found = [(side, "loss") for side, metrics in sides if "loss" in metrics]
    found += [
        (side, name)
        for side, metrics in sides
        for name in metrics
        if (name, side) == (run.monitor.metric, run.monitor.side) and name != "loss"
    ]
    return found or [(side, name) for side, metrics in sides for name in list(metrics)[:2]]


@dataclass(frozen=True)
class _Page:
    """What a notebook keeps of one state."""

    page: str
    plain: str

    def _repr_html_(self) -> str:
        return self.page

    def __repr__(self) -> str:
        return encodable(self.plain)
