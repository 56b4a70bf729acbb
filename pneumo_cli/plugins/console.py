"""What a run prints on stderr: a line per epoch, and at the end the results and where the files are."""

from __future__ import annotations

import math
import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import hookimpl
from pneumo_cli.runtime.streams import is_terminal

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

api_version = 1

_SECONDS_TO_MEASURE = 8.0
_FAIR_SHARE = 0.75
_ABBREVIATIONS = {
    "average_precision": "avg prec",
    "generator_loss": "gen loss",
    "discriminator_loss": "disc loss",
}
_SIDES = {"train": "train", "validation": "val"}
_COLUMNS = 6
_REPORT_ONLY = {"average_precision", "balanced_accuracy", "specificity", "mcc", "brier", "ece"}
"""Metrics that only the report shows: a row per epoch has to fit a terminal."""
_RESULTS = ("accuracy", "auc", "recall", "specificity", "precision", "f1")
_LINE = 110  # characters
_NOTES = 4


class Console:
    """Prints plain lines, which work in a terminal, a log file and a screen reader."""

    def __init__(self) -> None:
        self._columns: list[tuple[str, str]] = []
        self._began = (0.0, 0.0)
        self._measured = False

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Print model, data, device and folder."""
        data = run.data
        counts = ", ".join(f"{len(indices):,} {split}" for split, indices in data.split.parts().items())
        verb = f"resumed after epoch {len(run.history) - 1}" if run.history else "started"
        trainable = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
        kind = " (synthetic)" if data.dataset.synthetic else ""
        _print(f"{run.spec.name} {verb}: {run.model_entry.spec.name}, {trainable:,} trainable parameters")
        images = f"{counts} images of {data.size} px, split by {data.split.policy}"
        _print_fact("data", f"{data.dataset.name}{kind}: {images}")
        _print_fact("device", f"{run.device.name}, {run.device.precision}")
        _print(f"folder   {run.folder.path}")

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
            share = (time.process_time() - self._began[1]) / (wall * threads)
            if share < _FAIR_SHARE:
                _print(
                    f"note     other processes use {1 - share:.0%} of the {threads} cores: "
                    f"--threads {max(1, threads // 2)} may be faster"
                )

    @hookimpl
    def epoch_finished(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """Print the epoch's row, before the first one the heading."""
        if not self._columns:
            self._columns = _columns(metrics, run.monitor.metric, run.monitor.side)
            heading = "".join(f"  {_heading(side, name)}" for side, name in self._columns)
            _print(f"{'epoch':>9}{heading}{'lr':>10}{'img/s':>8}{'time':>8}")
        cells = "".join(
            f"{_number(metrics[side].get(name)):>{len(_heading(side, name)) + 2}}"
            for side, name in self._columns
        )
        throughput = f"{metrics['images_per_second']:,.0f}" if "images_per_second" in metrics else ""
        best = " best" if run.monitor.metric and run.best.epoch == metrics["epoch"] else ""
        epoch = f"{metrics['epoch']}/{run.settings.epochs}"
        rate, seconds = f"{metrics['learning_rate']:.2g}", _time(metrics["seconds"])
        _print(f"{epoch:>9}{cells}{rate:>10}{throughput:>8}{seconds:>8}{best}")

    @hookimpl
    def run_finished(self, run: Run, report: Mapping[str, Any]) -> None:
        """Print the results, the notes, the files and the next command."""
        title = f"{'best of epoch' if run.monitor.metric else 'epoch'} {run.best.epoch}"
        monitored = run.monitor.metric
        of_splits = _with_intervals if report.get("intervals") else _in_columns
        for line in of_splits(title, report, monitored):
            _print(line)
        notes = report.get("summary", {}).get("notes", [])
        caveats = [caveat["text"] for caveat in report.get("caveats", [])]
        for note in (*report["notices"], *caveats, *notes[:_NOTES]):
            _print_fact("note", note, _LINE)
        _print(f"took     {_time(report['run']['seconds'])}")
        _print(f"folder   {run.folder.path}")
        _print(f"report   {run.folder.report_html if run.machine.report else run.folder.report_json}")
        _print(f"next     {report['next'][0]}")


@hookimpl
def plugins_for_run() -> Iterable[object]:
    """A console of its own for each run."""
    yield Console()


def _columns(metrics: Mapping[str, Any], monitored: str, side: str) -> list[tuple[str, str]]:
    """The losses, the monitored metric (of its ``side``), then others: of validation, without it of training."""
    columns = [(place, "loss") for place in _SIDES if "loss" in metrics[place]]
    room = _COLUMNS if metrics["validation"] else _COLUMNS - len(columns)
    if monitored in metrics[side] and (side, monitored) not in columns:
        columns.append((side, monitored))
        room -= 1
    own = "validation" if metrics["validation"] else "train"
    others = [(own, name) for name in metrics[own] if name not in _REPORT_ONLY]
    return columns + [column for column in others if column not in columns][:room]


def _in_columns(title: str, report: Mapping[str, Any], monitored: str) -> list[str]:
    """A row per split, a column per metric: the loss and the monitored one, then as many as fit a line."""
    evaluations = report["evaluations"]
    names = list(next(iter(evaluations.values()), {}))
    if len(names) > _COLUMNS:
        names = sorted(names, key=lambda name: (name != "loss", name != monitored))[:_COLUMNS]
    widths = {name: max(9, len(_abbreviated(name)) + 2) for name in names}
    lines = [title + "".join(f"{_abbreviated(name):>{widths[name]}}" for name in names)]
    for split, values in evaluations.items():
        cells = "".join(f"{_number(values.get(name)):>{widths[name]}}" for name in names)
        lines.append(f"{split:<{len(title)}}{cells}")
    return lines


def _with_intervals(title: str, report: Mapping[str, Any], monitored: str) -> list[str]:
    """A row per metric that has an interval, a column per split: the most important ones; the report has all."""
    from pneumo_cli.evaluation.metric_names import average_of  # here: this module is imported at every start

    evaluations, intervals = report["evaluations"], report["intervals"]
    available = list(dict.fromkeys(name for ends in intervals.values() for name in ends))
    names = [name for name in _RESULTS if name in available] or available[:_COLUMNS]
    if monitored not in (*names, "loss", "") and any(monitored in values for values in evaluations.values()):
        names.insert(0, monitored)
    task = report["dataset"].get("task", "binary")
    averages = {name: f" ({average})" if (average := average_of(name, task)) else "" for name in names}
    rows = [[title, *evaluations], *([_abbreviated(name) + averages[name]] for name in names)]
    for name, row in zip(names, rows[1:], strict=True):
        for split, values in evaluations.items():
            low, high = intervals.get(split, {}).get(name, (None, None))
            value = _number(values.get(name))
            row.append(value if low is None or high is None else f"{value} ({low:.4f} to {high:.4f})")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _number(value: float | None) -> str:
    """Four digits; a dash for a metric that is missing or undefined."""
    return f"{value:.4f}" if value is not None and math.isfinite(value) else "–"


def _heading(side: str, name: str) -> str:
    return f"{_SIDES[side]} {_abbreviated(name)}"


def _abbreviated(name: str) -> str:
    return _ABBREVIATIONS.get(name, name.replace("_", " "))


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _print_fact(name: str, text: str, longest: int = 0) -> None:
    """Print a named text; in a narrow terminal, or from a length on, wrapped between words."""
    line = f"{name:<9}{text}"
    width = max(40, shutil.get_terminal_size().columns) if is_terminal(sys.stderr) else len(line)
    width = min(width, longest or width)
    for part in textwrap.wrap(line, width, subsequent_indent=" " * 9, break_on_hyphens=False):
        _print(part)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
