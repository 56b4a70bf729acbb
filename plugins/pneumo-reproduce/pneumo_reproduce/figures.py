"""The figures of a reproduction: what belongs to no single run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.figures.style import BLUE, PAGE, VERMILLION, shortened, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Pair:
    """One metric of one task.

    Attributes:
        report: the report's value.
        ours: ours, None where there is none.
        interval: our 95 % interval, None where there is none.
    """

    report: float
    ours: float | None
    interval: tuple[float, float] | None


@styled
def beside_the_report(tasks: Mapping[str, Mapping[str, Pair]], metrics: Sequence[str]) -> Figure:
    """Our metrics with their 95 % intervals, and the report's, one panel per metric and one row per task.

    Args:
        tasks: task to metric to its pair.
        metrics: those that are drawn, in order.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 0.95 + 0.3 * len(tasks)))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    rows = np.arange(len(tasks))
    reached = [
        value
        for pairs in tasks.values()
        for pair in pairs.values()
        for value in (pair.report, pair.ours, *(pair.interval or ()))
        if value is not None
    ]
    low = np.floor(20 * min(reached, default=0.5) - 0.2) / 20
    for axes, metric in zip(panels, metrics, strict=True):
        for row, pairs in enumerate(tasks.values()):
            pair = pairs[metric]
            if pair.interval is not None:
                axes.plot(pair.interval, [row, row], color=BLUE, linewidth=2, solid_capstyle="butt")
            if pair.ours is not None:
                axes.plot(
                    [pair.ours], [row], color=BLUE, marker="o", markersize=5, linestyle="none", label="here"
                )
            axes.plot(
                [pair.report],
                [row],
                color=VERMILLION,
                marker="D",
                markersize=5,
                markerfacecolor="white",
                linestyle="none",
                label="the report",
            )
        axes.set_xlim(max(0.0, float(low)), 1.01)
        axes.set_ylim(len(tasks) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(metric_label(metric).label)
    panels[0].set_yticks(rows, [shortened(name, 44).replace(": ", ":\n", 1) for name in tasks])
    found = {str(line.get_label()): line for axes in panels for line in axes.lines}
    handles = [line for label, line in found.items() if not label.startswith("_")]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles) or 1)
    return figure
