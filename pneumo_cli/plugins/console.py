"""What a run prints on stderr: a line per epoch, and at the end results, notes, files and the next commands."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import hookimpl
from pneumo_cli.runtime.percentages import share
from pneumo_cli.runtime.streams import printable
from pneumo_cli.runtime.terminal import line_width, wrapped

if TYPE_CHECKING:
    from pneumo_cli.plugins.epoch_table import EpochTable
    from pneumo_cli.runs.run import Run

api_version = 1

_SECONDS_TO_MEASURE = 8.0
_FAIR_SHARE = 0.75
_RESULTS = ("accuracy", "auc", "recall", "specificity", "precision", "f1")
_MOST_RESULTS = 6  # metrics; the report has all
_NOTES = 4
_INDENT = 9  # of the texts below "data", "note" and the like


class Console:
    """Prints plain lines, which work in a terminal, a log file and a screen reader."""

    def __init__(self) -> None:
        self._table: EpochTable | None = None
        self._began = (0.0, 0.0)
        self._measured = False

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Print model, data, device and folder."""
        data = run.data
        parts = {split: len(indices) for split, indices in data.split.parts().items() if len(indices)}
        counts = ", ".join(f"{n:,} {split}" for split, n in parts.items())
        division = f"split by {data.split.policy}" if "validation" in parts else "no validation images"
        verb = f"resumed after epoch {len(run.history) - 1}" if run.history else "started"
        trainable = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
        kind = " (synthetic)" if data.dataset.synthetic else ""
        _print_text(
            f"{run.spec.name} {verb}: {run.model_entry.spec.name}, {trainable:,} trainable parameters"
        )
        images = f"{counts} images of {data.size} px, {division}"
        _print_text(f"{data.dataset.name}{kind}: {images}", "data")
        _print_text(f"{run.device.name}, {run.device.precision}", "device")
        _print(f"{'folder':<{_INDENT}}{run.folder.path}")

    @hookimpl
    def epoch_started(self) -> None:
        """Read the clocks that :meth:`step_finished` compares."""
        self._began = time.monotonic(), time.process_time()

    @hookimpl
    def step_finished(self, run: Run) -> None:
        """Print once, after some seconds of training, if other processes use a good part of the cores.

        Threads that wait for one that is not running make a step many times slower, not twice.
        """
        wall = time.monotonic() - self._began[0]
        if self._measured or wall < _SECONDS_TO_MEASURE:
            return
        self._measured = True
        import torch

        threads = torch.get_num_threads()
        if run.device.torch.type == "cpu" and threads > 1:
            used = (time.process_time() - self._began[1]) / (wall * threads)
            if used < _FAIR_SHARE:
                _print_text(
                    f"other processes use {share(1 - used)} of the {threads} cores: "
                    f"--threads {max(1, threads // 2)} may be faster",
                    "note",
                )

    @hookimpl
    def epoch_finished(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """Print the epoch's row, before the first one the heading."""
        from pneumo_cli.plugins.epoch_table import EpochTable  # here: this module is imported at every start

        if self._table is None:
            self._table = EpochTable(run.settings.epochs, run.monitor.metric, run.monitor.side)
            for row in run.history:  # of before the run was resumed
                self._table.see(row)
        best = bool(run.monitor.metric) and run.best.epoch == metrics["epoch"]
        for line in self._table.lines(metrics, line_width(), best=best):
            _print(line)

    @hookimpl
    def run_finished(self, run: Run, report: Mapping[str, Any]) -> None:
        """Print the results, the notes, the files and the next commands."""
        from pneumo_cli.plugins.epoch_table import clock

        title = f"{'best of epoch' if run.monitor.metric else 'epoch'} {run.best.epoch}"
        for line in _results(title, report, run.monitor.metric, line_width()):
            _print(line)
        if headline := _headline(report):
            _print(headline)
        summary = report.get("summary", {})
        warnings = list(summary.get("warnings", []))
        notes = [note for note in summary.get("notes", []) if note not in warnings]
        caveats = [caveat["text"] for caveat in report.get("caveats", [])]
        notes = [*report["notices"], *caveats, *notes]
        for note in notes[:_NOTES]:
            _print_text(note, "note")
        if len(notes) > _NOTES:
            _print(f"{'':<{_INDENT}}more in the report: {len(notes) - _NOTES}")
        _print(f"{'took':<{_INDENT}}{clock(report['run']['seconds'])}")
        _print(f"{'folder':<{_INDENT}}{run.folder.path}")
        page = run.folder.report_html if run.machine.report else run.folder.report_json
        _print(f"{'report':<{_INDENT}}{page}")
        for warning in warnings:
            _print_text(warning, "warning")
        for command, name in zip(report["next"], ("next", *[""] * len(report["next"])), strict=False):
            _print(f"{name:<{_INDENT}}{command}")


@hookimpl
def plugins_for_run() -> Iterable[object]:
    """A console of its own for each run."""
    yield Console()


def _results(title: str, report: Mapping[str, Any], monitored: str, width: int) -> list[str]:
    """A row for each important metric, and a column per split; in a narrow terminal one split after another.

    Args:
        title: stands above the names of the metrics.
    """
    from pneumo_cli.evaluation.metric_names import average_of
    from pneumo_cli.plugins.epoch_table import short_label

    evaluations = report["evaluations"]
    task = report.get("dataset", {}).get("task", "binary")
    intervals = {split: of for split, of in report.get("intervals", {}).items() if of}
    names = _shown_metrics(evaluations, intervals, monitored)
    labels = [
        short_label(name) + (f" ({average})" if (average := average_of(name, task)) else "") for name in names
    ]
    columns = {
        split: [_result(name, values.get(name), intervals.get(split, {}).get(name)) for name in names]
        for split, values in evaluations.items()
    }
    lines = _aligned([title, *labels], columns)
    if len(columns) < 2 or max(map(len, lines)) <= width:
        return lines
    return [line for split in columns for line in _aligned([title, *labels], {split: columns[split]})]


def _headline(report: Mapping[str, Any]) -> str:
    """The metric that a list of runs shows, such as the KID, if it is one of the run as a whole."""
    from pneumo_cli.evaluation.metric_names import in_order, is_known, metric_label, metric_text

    metrics = report.get("summary", {}).get("metrics", {})
    whole = {name: value for name, value in metrics.items() if is_known(name)}
    evaluated = {name for of in report["evaluations"].values() for name in of}
    first = next((name for name in in_order({**whole, **dict.fromkeys(evaluated)}) if name != "loss"), "")
    if first not in whole or first in evaluated or "auc" in evaluated:
        return ""
    return f"{metric_label(first).label}  {metric_text(first, whole[first])}"


def _shown_metrics(
    evaluations: Mapping[str, Mapping[str, float]], intervals: Mapping[str, Mapping[str, Any]], monitored: str
) -> list[str]:
    """Those with intervals, without any the loss and all others; the monitored one in any case."""
    available = list(dict.fromkeys(name for of in (intervals or evaluations).values() for name in of))
    names = [name for name in _RESULTS if name in available] if intervals else []
    names = names or sorted(available, key=lambda name: (name != "loss", name != monitored))
    names = names[:_MOST_RESULTS]
    measured = any(monitored in values for values in evaluations.values())
    return [monitored, *names] if measured and monitored not in (*names, "loss") else names


def _result(name: str, value: float | None, ends: Sequence[float | None] | None) -> str:
    """Such as ``0.880 (0.824–0.920)``."""
    from pneumo_cli.evaluation.metric_names import interval_text, metric_text

    interval = interval_text(name, ends)
    return f"{metric_text(name, value)} ({interval})" if interval else metric_text(name, value)


def _aligned(first: Sequence[str], columns: Mapping[str, Sequence[str]]) -> list[str]:
    """The lines of a table: a first column, and others below their heads."""
    lines = list(first)
    for head, cells in columns.items():
        widest = max(map(len, lines))
        lines = [f"{line:<{widest}}  {cell}" for line, cell in zip(lines, (head, *cells), strict=True)]
    return lines


def _print_text(text: str, name: str = "") -> None:
    """Print a text, wrapped between words to the width of the terminal."""
    for line in wrapped(printable(text), line_width(), f"{name:<{_INDENT}}" if name else ""):
        _print(line)


def _print(line: str) -> None:
    """Print a line that has the right width, or that is to be copied as a whole."""
    print(printable(line), file=sys.stderr, flush=True)
