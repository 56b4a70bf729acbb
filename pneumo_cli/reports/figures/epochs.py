"""Common parts of figures over epochs: the axis, gaps for missing values, the selected epoch.

:mod:`pneumo_cli.reports.figures.training` and :mod:`pneumo_cli.reports.figures.galleries` draw the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.figures.style import FAINT
from pneumo_cli.runtime.json_values import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_MARKERS = 14
_LONG = 60
"""Epochs above which lines are thinner, so that a noisy one does not hide the other."""

Entry = Mapping[str, Any]
"""One epoch of ``report["history"]``."""


def series(history: Sequence[Entry], side: str, metric: str) -> NDArray[np.float64]:
    """One value per epoch [E], in the unit of the metric's label; NaN where there is none."""
    return gapped([(entry.get(side) or {}).get(metric) for entry in history]) * metric_label(metric).scale


def gapped(values: Sequence[Any]) -> NDArray[np.float64]:
    """Values as numbers; NaN, a gap in a line, for anything else."""
    return np.array([np.nan if number(value) is None else value for value in values], dtype=np.float64)


def line_width(epochs: int) -> float:
    """In points."""
    return 0.8 if epochs > _LONG else 1.3


def marker_step(count: int) -> int:
    """The step between the markers of a line of ``count`` points."""
    return -(-count // _MOST_MARKERS) if count else 1


def epoch_axis(axes: Axes, epochs: Sequence[int]) -> None:
    """Label the horizontal axis, with ticks at whole epochs only."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("Epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True, min_n_ticks=1))
    if epochs:
        room = max(0.03 * (max(epochs) - min(epochs)), 0.15)
        axes.set_xlim(min(epochs) - room, max(epochs) + room)


def mark_best(axes: Axes, history: Sequence[Entry], best: int | None) -> None:
    """A thin line at the selected epoch, if the history has it."""
    if best is None or all(int(entry["epoch"]) != best for entry in history):
        return
    axes.axvline(
        best, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0.5, label=f"Selected: epoch {best}"
    )


def say_empty(axes: Axes) -> None:
    """A text in axes without values."""
    axes.text(0.5, 0.5, "no values", transform=axes.transAxes, ha="center", va="center", color=FAINT)
