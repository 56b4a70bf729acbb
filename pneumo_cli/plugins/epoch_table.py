"""The table of epochs that a run prints: as many columns as fit the terminal, the most useful ones first."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pneumo_cli.runtime.terminal import display_width

_SIDES = {"train": "train", "validation": "val"}
_SHORT = {
    "auc": "AUC",
    "average_precision": "avg prec",
    "balanced_accuracy": "bal accuracy",
    "brier": "Brier",
    "discriminator_loss": "disc loss",
    "ece": "ECE",
    "f1": "F1",
    "fake_score": "fake score",
    "generator_loss": "gen loss",
    "mse": "MSE",
    "psnr": "PSNR",
    "real_score": "real score",
    "recall": "recall",
}
_LATE = ("average_precision", "balanced_accuracy", "specificity", "mcc", "brier", "ece", "keras_accuracy")
"""Metrics that take a column only where all others have one."""
_MOST = 14  # columns
_LONGEST = 16  # characters of a heading
_NARROWEST = 7  # characters of a column of metrics, into which any number fits
_BETWEEN = "  "
_BEST = "best"


@dataclass(frozen=True)
class _Column:
    """A column: what it holds, its heading, its width in characters, and what it is called in full."""

    key: tuple[str, str]
    heading: str
    width: int
    name: str = ""


class EpochTable:
    """Makes the lines of the table.

    Columns are those of all epochs so far, as epoch 0 may lack some, and of the present width. Where they change,
    the heading is repeated.

    Args:
        epochs: how many there will be.
        monitored, side: the metric that selects the best epoch, and whose; may be empty.
    """

    def __init__(self, epochs: int, monitored: str, side: str) -> None:
        self._epochs, self._monitored, self._side = epochs, monitored, side
        self._found: dict[tuple[str, str], None] = {}
        self._columns: list[_Column] = []
        self._named: set[tuple[str, str]] = set()

    def see(self, row: Mapping[str, Any]) -> None:
        """Learn the metrics of an epoch, such as one of before a run was resumed."""
        self._found |= {(side, name): None for side in _SIDES for name in row[side]}

    def lines(self, row: Mapping[str, Any], width: int, *, best: bool) -> list[str]:
        """The line of an epoch, after a heading where it needs one.

        Args:
            row: as in ``metrics.jsonl``.
            width: of the terminal.
            best: whether it is the best epoch so far.
        """
        self.see(row)
        columns, left_out = self._chosen(width)
        lines = []
        if columns != self._columns:
            self._columns = columns
            lines += self._note(left_out, width)
            lines.append(_line((column.heading for column in columns), columns))
        line = _line((self._cell(column, row) for column in columns), columns)
        return [*lines, f"{line}{_BETWEEN}{_BEST}" if best else line]

    def _chosen(self, width: int) -> tuple[list[_Column], list[_Column]]:
        """The columns that fit, in their order, and the others."""
        digits = len(str(self._epochs))
        first = _Column(("", "epoch"), "epoch", max(5, 2 * digits + 1))
        metrics = [self._metric(*key) for key in self._in_order()]
        rate = _Column(("", "learning_rate"), "lr", 7, "learning rate")
        speed = _Column(("", "images_per_second"), "img/s", 7, "images per second")
        seconds = _Column(("", "seconds"), "time", 7, "seconds")
        needed = sum(column.key[1] == "loss" or self._is_monitored(column.key) for column in metrics) or 1
        late = [column for column in metrics if column.key[1] in _LATE and not self._is_monitored(column.key)]
        others = [column for column in metrics[needed:] if column not in late]
        room = width - first.width - len(_BETWEEN + _BEST)
        shown = [first]
        for column in [*metrics[:needed], seconds, *others, rate, speed, *late]:
            if column.width + len(_BETWEEN) <= room and len(shown) < _MOST:
                shown.append(column)
                room -= column.width + len(_BETWEEN)
        order = [first, *metrics, rate, speed, seconds]
        return [one for one in order if one in shown], [one for one in order if one not in shown]

    def _in_order(self) -> list[tuple[str, str]]:
        """The losses, the monitored metric, then the others: of validation, without it of training."""
        found = list(self._found)
        validated = any(side == "validation" for side, _ in found)
        own = "validation" if validated else "train"
        losses = [key for key in (("train", "loss"), ("validation", "loss")) if key in self._found]
        monitored = [key for key in found if self._is_monitored(key)]
        others = [key for key in found if key[0] == own]
        return list(dict.fromkeys([*losses, *monitored, *others]))

    def _is_monitored(self, key: tuple[str, str]) -> bool:
        return key == (self._side, self._monitored)

    def _metric(self, side: str, name: str) -> _Column:
        one_sided = len({of for of, _ in self._found}) == 1  # then whose it is goes without saying
        heading = short_label(name) if one_sided else f"{_SIDES[side]} {short_label(name)}"
        return _Column((side, name), heading, max(_NARROWEST, display_width(heading)), heading)

    def _note(self, left_out: Sequence[_Column], width: int) -> list[str]:
        """One line that names what has no column; nothing where it has been said."""
        new = [column.name for column in left_out if column.key not in self._named]
        self._named |= {column.key for column in left_out}
        if not new:
            return []
        for shown in range(len(new), 0, -1):
            more = f" and {len(new) - shown} more" if shown < len(new) else ""
            line = f"also in metrics.jsonl: {', '.join(new[:shown])}{more}"
            if display_width(line) <= width:
                return [line]
        return [f"{len(new)} more in metrics.jsonl"]

    def _cell(self, column: _Column, row: Mapping[str, Any]) -> str:
        side, name = column.key
        if side:
            return number_text(name, row[side].get(name), column.width)
        if name == "epoch":
            return f"{row['epoch']}/{self._epochs}"
        if name == "seconds":
            return clock(row["seconds"])
        value = row.get(name)
        if value is None:
            return ""
        return f"{value:.2g}" if name == "learning_rate" else _whole(value, column.width)


def short_label(name: str) -> str:
    """The label of a metric as it stands in the head of a column."""
    from pneumo_cli.evaluation.metric_names import metric_label
    from pneumo_cli.reports.formatting import lowered

    label = _SHORT.get(name) or lowered(metric_label(name).label)
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST - 1]}…"


def number_text(name: str, value: float | None, width: int) -> str:
    """The value of a metric with the metric's digits, or with as many as fit; a dash where there is none.

    >>> number_text("loss", 0.25, 7), number_text("loss", -1e12, 7), number_text("auc", float("nan"), 7)
    ('0.2500', '-1e+12', '–')
    """
    from pneumo_cli.evaluation.metric_names import metric_label, metric_text

    text = metric_text(name, value)
    if value is None or len(text) <= width:
        return text
    label = metric_label(name)
    shown = value * label.scale
    shorter = [] if "e" in text else [f"{shown:.{digits}f}" for digits in range(label.digits - 1, -1, -1)]
    shorter += [f"{shown:.{digits}e}" for digits in (2, 1, 0)]
    return next((one for one in shorter if len(one) <= width), shorter[-1])


def clock(seconds: float) -> str:
    """A duration: ``0:08``, ``1:02:03``, and from 100 hours on ``123 h``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 100:
        return f"{hours} h"
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _whole(value: float, width: int) -> str:
    text = f"{value:,.0f}" if math.isfinite(value) else "–"
    return next((one for one in (text, f"{value:.1e}") if len(one) <= width), f"{value:.0e}")


def _line(cells: Iterable[str], columns: Sequence[_Column]) -> str:
    padded = (
        " " * (column.width - display_width(cell)) + cell for cell, column in zip(cells, columns, strict=True)
    )
    return _BETWEEN.join(padded)
