"""The figure of a reproduction that belongs to no single run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.figures.style import BLUE, PAGE, VERMILLION, line_labels, shortened, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Pair:
    """One metric of one task.

    Attributes:
        report: the report's value.
        ours: our value, if any.
        interval: its 95 % interval, if any.
    """

    report: float
    ours: float | None
    interval: tuple[float, float] | None


@styled
def beside_the_report(tasks: Mapping[str, Mapping[str, Pair]], metrics: Sequence[str]) -> Figure:
    """Our metrics with their 95 % intervals, and the report's, one panel per metric and one row per task.

    Args:
        tasks: task to metric to its pair.
        metrics: to be drawn, in order.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 0.95 + 0.3 * len(tasks)))
    panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
    rows = np.arange(len(tasks))
    point: dict[str, Any] = {"markersize": 5, "linestyle": "none"}
    values = [
        value
        for pairs in tasks.values()
        for pair in pairs.values()
        for value in (pair.report, pair.ours, *(pair.interval or ()))
        if value is not None
    ]
    low = np.floor(20 * min(values, default=0.5) - 0.2) / 20
    for axes, metric in zip(panels, metrics, strict=True):
        for row, pairs in enumerate(tasks.values()):
            pair = pairs[metric]
            if pair.interval is not None:
                axes.plot(pair.interval, [row, row], color=BLUE, linewidth=2, solid_capstyle="butt")
            if pair.ours is not None:
                axes.plot([pair.ours], [row], color=BLUE, marker="o", label="here", **point)
            axes.plot(
                [pair.report], [row], color=VERMILLION, marker="D", mfc="white", label="the report", **point
            )
        axes.set_xlim(max(0.0, float(low)), 1.01)
        axes.set_ylim(len(tasks) - 0.5, -0.5)
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(metric_label(metric).label)
    panels[0].set_yticks(rows, [shortened(name, 44).replace(": ", ":\n", 1) for name in tasks])
    handles = [*line_labels(panels).values()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles) or 1)
    return figure
