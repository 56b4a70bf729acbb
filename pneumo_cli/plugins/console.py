"""What a run says on stderr: one line per epoch, and where everything lies at the end."""

from __future__ import annotations

import shutil
import sys
import textwrap
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pneumo_cli.api import hookimpl

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
_COLUMNS = 6
_LATER = {"average_precision", "balanced_accuracy", "specificity", "mcc", "brier", "ece"}
"""Metrics that wait for the report: a row per epoch has to fit a terminal."""
_RESULTS = ("accuracy", "auc", "recall", "specificity", "precision", "f1")
_NOTES = 4


class Console:
    """Prints plain lines, which a terminal, a log file and a screen reader all take."""

    def __init__(self) -> None:
        self._columns: list[tuple[str, str]] = []
        self._began = (0.0, 0.0)
        self._judged = False

    @hookimpl
    def run_started(self, run: Run) -> None:
        """Say what is about to happen."""
        data = run.data
        counts = ", ".join(f"{len(part):,} {name}" for name, part in data.split.parts().items())
        verb = f"resumed after epoch {len(run.history) - 1}" if run.history else "started"
        trainable = sum(p.numel() for p in run.model.parameters() if p.requires_grad)
        kind = " (synthetic)" if data.dataset.synthetic else ""
        _say(f"{run.spec.name} {verb}: {run.model_entry.spec.name}, {trainable:,} trainable parameters")
        _fact(
            "data",
            f"{data.dataset.name}{kind}: {counts} images of {data.size} px, split by {data.split.policy}",
        )
        _fact("device", f"{run.device.name}, {run.device.precision}")
        _say(f"folder   {run.folder.path}")

    @hookimpl
    def epoch_started(self) -> None:
        """Note the clocks, by which :meth:`step_finished` sees whether the processor is shared."""
        self._began = time.monotonic(), time.process_time()

    @hookimpl
    def step_finished(self, run: Run) -> None:
        """Say once, after some seconds of training, when other processes take a good part of the cores.

        Threads that wait for one that is not running make a step many times slower, not twice.
        """
        wall = time.monotonic() - self._began[0]
        if self._judged or wall < _SECONDS_TO_MEASURE:
            return
        self._judged = True
        import torch

        threads = torch.get_num_threads()
        if run.device.torch.type == "cpu" and threads > 1:
            share = (time.process_time() - self._began[1]) / (wall * threads)
            if share < _FAIR_SHARE:
                _say(
                    f"note     other work takes {1 - share:.0%} of the {threads} cores: "
                    f"--threads {max(1, threads // 2)} may well be faster"
                )

    @hookimpl
    def epoch_finished(self, run: Run, metrics: Mapping[str, Any]) -> None:
        """Print the epoch's row, below a heading before the first."""
        if not self._columns:
            self._columns = _columns(run, metrics)
            heading = "".join(f"  {_heading(side, name)}" for side, name in self._columns)
            _say(f"{'epoch':>9}{heading}{'lr':>10}{'img/s':>8}{'time':>8}")
        cells = "".join(
            f"{metrics[side].get(name, float('nan')):>{len(_heading(side, name)) + 2}.4f}"
            for side, name in self._columns
        )
        speed = f"{metrics['images_per_second']:,.0f}" if "images_per_second" in metrics else ""
        best = " best" if run.monitor.metric and run.best.epoch == metrics["epoch"] else ""
        place = f"{metrics['epoch']}/{run.settings.epochs}"
        _say(
            f"{place:>9}{cells}{metrics['learning_rate']:>10.2g}{speed:>8}{_time(metrics['seconds']):>8}{best}"
        )

    @hookimpl
    def run_finished(self, run: Run, report: Mapping[str, Any]) -> None:
        """Name the results, the folder, the report and the next command."""
        title = f"{'best of epoch' if run.monitor.metric else 'epoch'} {run.best.epoch}"
        for line in _with_intervals(title, report) if report.get("intervals") else _in_columns(title, report):
            _say(line)
        notes = report.get("summary", {}).get("notes", [])
        rules = [rule["text"] for rule in report.get("caveats", [])]
        for notice in (*report["notices"], *rules, *notes[:_NOTES]):
            for line in textwrap.wrap(f"note     {notice}", 110, subsequent_indent=" " * 9):
                _say(line)
        _say(f"took     {_time(report['run']['seconds'])}")
        _say(f"folder   {run.folder.path}")
        _say(f"report   {run.folder.report_html}")
        _say(f"next     {report['next'][0]}")


@hookimpl
def plugins_for_run(run: Run) -> Iterable[object]:
    """A console of its own for each run."""
    yield Console()


def _columns(run: Run, metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Loss of both sides, then the validation metrics, the monitored one among them.

    Where nothing validates, the training metrics, loss first.
    """
    if not metrics["validation"]:
        names = sorted(metrics["train"], key=lambda name: name != "loss")
        return [("train", name) for name in names[:_COLUMNS]]
    names = [name for name in metrics["validation"] if name != "loss"]
    columns = [("train", "loss")] if "loss" in metrics["train"] else []
    columns += [("validation", "loss")] if "loss" in metrics["validation"] else []
    return columns + [("validation", name) for name in names if name not in _LATER][:_COLUMNS]


def _in_columns(title: str, report: Mapping[str, Any]) -> list[str]:
    """A row per split, a column per metric."""
    evaluations = report["evaluations"]
    names = list(next(iter(evaluations.values()), {}))
    labels = {name: _abbreviated(name) for name in names}
    widths = {name: max(9, len(label) + 2) for name, label in labels.items()}
    lines = [title + "".join(f"{labels[name]:>{widths[name]}}" for name in names)]
    for split, values in evaluations.items():
        cells = "".join(f"{values.get(name, float('nan')):>{widths[name]}.4f}" for name in names)
        lines.append(f"{split:<{len(title)}}{cells}")
    return lines


def _with_intervals(title: str, report: Mapping[str, Any]) -> list[str]:
    """A row per metric that has an interval, a column per split: the first few; the report has all."""
    evaluations, intervals = report["evaluations"], report["intervals"]
    known = list(dict.fromkeys(name for ends in intervals.values() for name in ends))
    names = [name for name in _RESULTS if name in known] or known[:_COLUMNS]
    rows = [[title, *evaluations], *([_abbreviated(name)] for name in names)]
    for name, row in zip(names, rows[1:], strict=True):
        for split, values in evaluations.items():
            low, high = intervals.get(split, {}).get(name, (None, None))
            shown = f"{values[name]:.4f}" if name in values else "–"
            row.append(shown if low is None else f"{shown} ({low:.4f} to {high:.4f})")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _heading(side: str, name: str) -> str:
    short = {"train": "train", "validation": "val"}[side]
    return f"{short} {_abbreviated(name)}"


def _abbreviated(name: str) -> str:
    return _ABBREVIATIONS.get(name, name.replace("_", " "))


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02}:{rest:02}"
    return f"{minutes}:{rest:02}"


def _fact(name: str, said: str) -> None:
    """A line behind its name; in a narrower terminal it goes on below, broken between words."""
    line = f"{name:<9}{said}"
    width = max(40, shutil.get_terminal_size().columns) if sys.stderr.isatty() else len(line)
    for part in textwrap.wrap(line, width, subsequent_indent=" " * 9, break_on_hyphens=False):
        _say(part)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
