"""The figures of a reproduction that belong to no single run, or that answer the report's claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.figures.epochs import epoch_axis, line_width
from pneumo_cli.reports.figures.style import (
    BLUE,
    CLASS_COLOURS,
    FAINT,
    GREEN,
    PAGE,
    VERMILLION,
    column_figure,
    line_labels,
    panels,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pneumo_cli.evaluation.binary import RocPoints

_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (6, 1.5, 1, 1.5)))


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


@styled
def all_roc_curves(curves: Mapping[str, RocPoints]) -> Figure:
    """The ROC curves of several classifiers on the same images.

    Args:
        curves: name to points, at most three.
    """
    figure, axes = column_figure(3.1)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=0.5, zorder=1)  # chance
    for (name, points), colour, dashes in zip(curves.items(), CLASS_COLOURS, _DASHES, strict=False):
        area = np.trapezoid(points.true_positive_rate, points.false_positive_rate)
        axes.plot(
            points.false_positive_rate,
            points.true_positive_rate,
            color=colour,
            linestyle=dashes,
            label=f"{name}: AUC {area:.3f}",
        )
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel("False positive rate (1 − specificity)")
    axes.set_ylabel("Sensitivity")
    axes.legend(loc="lower right", fontsize=7)
    return figure


@styled
def losses_and_distance(
    epochs: Sequence[int],
    losses: Mapping[str, NDArray[np.float64]],
    distance: NDArray[np.float64],
    chosen: int,
) -> Figure:
    """The losses of a GAN by epoch, beside the distance of its images to real ones where that was measured.

    Args:
        epochs: [E].
        losses: name to values, [E].
        distance: kernel distance, [E]; NaN where it was not measured.
        chosen: the epoch with the smallest generator loss.
    """
    measured = np.isfinite(distance).any()
    figure, grid = panels(3, 0.1) if measured else panels(2, 0.1)
    for axes, (name, values), colour in zip(grid, losses.items(), (BLUE, VERMILLION), strict=False):
        axes.plot(epochs, values, color=colour, linewidth=line_width(len(epochs)))
        axes.set_ylabel(name)
    if measured:
        grid[2].plot(epochs, 1000 * distance, color=GREEN, linewidth=line_width(len(epochs)))
        grid[2].set_ylabel("KID × 1000 (validation)")
    for axes in grid[: 3 if measured else 2]:
        axes.axvline(chosen, color=FAINT, linestyle=":", linewidth=1)
        epoch_axis(axes, epochs)
    return figure
