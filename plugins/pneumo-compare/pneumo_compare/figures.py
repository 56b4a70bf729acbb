"""The figures of a comparison: curves of several runs in one axes, their ROC curves, and their differences.

Pure functions in the style of :mod:`pneumo_cli.reports.figures.training`. A run has the same letter, colour and
line style in every figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.evaluation.binary import RocPoints
from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.figures.epochs import Entry, epoch_axis, line_width, say_empty, series
from pneumo_cli.reports.figures.style import (
    BLUE,
    CLASS_COLOURS,
    FAINT,
    INK,
    VERMILLION,
    column_figure,
    legend_above,
    line_labels,
    panels,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHES: tuple[Any, ...] = (
    "-",
    (0, (4, 1.6)),
    (0, (6, 1.5, 1, 1.5)),
    (0, (9, 2)),
    (0, (4, 1.2, 1, 1.2, 1, 1.2)),
)
CORNER = 0.4
"""Side length of the upper left corner of a ROC curve, of 1."""
_SIDES = ("validation", "train")


@dataclass(frozen=True)
class Span:
    """A difference with its 95 % interval; ``better``: 1 or -1 if it is significantly better or worse, else 0."""

    label: str
    value: float
    low: float
    high: float
    better: int


@styled
def overlaid_curves(runs: Mapping[str, Sequence[Entry]], metrics: Sequence[str]) -> Figure:
    """Metrics over the epochs of several runs, a panel each, on the width of a page.

    Args:
        runs: name to ``report["history"]``, in the order of the letters. Validation metrics are drawn, or training
            metrics if no run has the others.
        metrics: at least one name.

    Raises:
        ValueError: there is no metric.
    """
    if not metrics:
        raise ValueError("curves need at least one metric")
    figure, grid = panels(len(metrics), 0.35)
    for axes, metric in zip(grid, metrics, strict=False):
        _overlay(axes, runs, metric)
    lines = line_labels(grid)
    figure.legend(handles=[*lines.values()], loc="outside upper center", ncols=min(4, len(lines)) or 1)
    return figure


@styled
def overlaid_roc(curves: Mapping[str, RocPoints], *, corner: bool = False) -> Figure:
    """ROC curves of several classifiers on the same images.

    Args:
        curves: name to points, in the order of the letters.
        corner: draw only the upper left corner, where good classifiers differ.
    """
    figure, axes = column_figure(3.1)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.5, zorder=1)  # chance
    for place, (name, points) in enumerate(curves.items()):
        axes.plot(
            points.false_positive_rate,
            points.true_positive_rate,
            label=shortened(name, 42),
            linewidth=1.2,
            **_line_style(place),
        )
    axes.set_xlim(-0.01, CORNER if corner else 1.01)
    axes.set_ylim(1 - CORNER if corner else -0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel("False positive rate (1 − specificity)")
    axes.set_ylabel("Sensitivity")
    legend = axes.legend(loc="lower right", fontsize=7)
    legend.set_zorder(5)
    return figure


@styled
def difference_rows(spans: Sequence[Span], *, plus: str, minus: str) -> Figure:
    """Differences with their intervals, a row each, and the line of no difference.

    Args:
        spans: from top to bottom. Significant differences are drawn in colour with a filled marker, others in gray.
        plus, minus: the names of minuend and subtrahend.
    """
    from matplotlib.ticker import MaxNLocator

    figure, axes = column_figure(0.75 + 0.25 * max(1, len(spans)))
    axes.axvline(0, color=INK, linewidth=0.8)
    for row, span in enumerate(spans):
        colour = {0: FAINT, 1: BLUE, -1: VERMILLION}[span.better]
        axes.plot([span.low, span.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(
            [span.value],
            [row],
            color=colour,
            marker="o",
            markersize=5,
            markerfacecolor=colour if span.better else "white",
            linestyle="none",
        )
    for better, name, colour in ((1, plus, BLUE), (-1, minus, VERMILLION)):
        if any(span.better == better for span in spans):
            axes.plot([], [], color=colour, marker="o", label=f"{shortened(name, 24)} is better")
    if any(not span.better for span in spans):
        axes.plot([], [], color=FAINT, marker="o", markerfacecolor="white", label="not significant")
    # At least a hundredth, so that tiny differences do not look large.
    reach = max([0.01, *(abs(end) for span in spans for end in (span.low, span.high))])
    axes.set_xlim(-1.08 * reach, 1.08 * reach)
    axes.set_ylim(max(1, len(spans)) - 0.5, -0.5)
    axes.set_yticks(np.arange(len(spans)), [span.label for span in spans])
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4, symmetric=True))
    axes.set_xlabel(f"{shortened(plus, 24)} − {shortened(minus, 24)}")
    legend_above(axes)
    return figure


def _overlay(axes: Axes, runs: Mapping[str, Sequence[Entry]], metric: str) -> None:
    all_epochs: list[int] = []
    side = next(
        (one for one in _SIDES for rows in runs.values() if np.isfinite(series(rows, one, metric)).any()), ""
    )
    for place, (name, rows) in enumerate(runs.items()):
        values = series(rows, side, metric)
        if not np.isfinite(values).any():
            continue
        epochs = [int(entry["epoch"]) for entry in rows]
        all_epochs += epochs
        # A run of one epoch is a point: a line would be invisible.
        marker = "o" if len(epochs) < 3 else None
        axes.plot(
            epochs,
            values,
            label=shortened(name, 34),
            linewidth=line_width(len(epochs)),
            marker=marker,
            **_line_style(place),
        )
    if not axes.lines:
        say_empty(axes)
    label = metric_label(metric)
    axes.set_ylabel(label.label + (" (training)" if side == "train" else ""))
    if label.share:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.02), min(high, 1.02))
    epoch_axis(axes, all_epochs)


def _line_style(place: int) -> dict[str, Any]:
    """Colours repeat after six, dashes after five: thirty runs look different."""
    return {
        "color": CLASS_COLOURS[place % len(CLASS_COLOURS)],
        "linestyle": _DASHES[place % len(_DASHES)],
    }
