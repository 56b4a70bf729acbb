"""Figures of a classifier of K classes or labels: curves, calibration and results of each one against the rest.

Pure functions, as in :mod:`pneumo_cli.reports.figures.classification`, which draws those of two classes; the
confusion matrix is in :mod:`pneumo_cli.reports.figures.training`. A few classes share one axes, in which colour and
line style tell them apart; more than that have a panel each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from pneumo_cli.evaluation.arrays import sigmoid
from pneumo_cli.evaluation.binary import precision_recall_points, roc_points
from pneumo_cli.evaluation.calibration import reliability
from pneumo_cli.reports.figures.classification import Band
from pneumo_cli.reports.figures.style import (
    BLUE,
    CLASS_COLOURS,
    COLUMN,
    FAINT,
    INK,
    PAGE,
    VERMILLION,
    page_figure,
    shortened,
    styled,
)
from pneumo_cli.runtime.percentages import share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from pneumo_cli.evaluation.arrays import Floats, Integers

_TOGETHER = 5  # classes in one axes
_COLUMNS = 4  # of panels on the width of a page
_DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.2, 1.2)),
    (0, (6, 1.5, 1.2, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)
_METRICS = {"auc": "ROC AUC", "recall": "Sensitivity", "specificity": "Specificity"}

_Draw: TypeAlias = "Callable[[Axes, ClassResult, Mapping[str, Any]], None]"


@dataclass(frozen=True)
class ClassResult:
    """One class against the rest.

    Attributes:
        name: of the class.
        scores: log odds of the class before calibration, [n], of the images where it is known.
        truth: [n] of 0 and 1.
        patients: of the images, [n].
        calibrated: calibrated probability of the class, [n]; None where nothing was calibrated.
        metrics: of the class, by name; those that depend on a threshold at the operating point in use.
        intervals: lower and upper end of the 95 % interval of each metric that has one.
        band: pointwise 95 % band of the curve that is drawn, if it is known.
    """

    name: str
    scores: Floats
    truth: Integers
    patients: NDArray[np.str_]
    calibrated: Floats | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    intervals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    band: Band | None = None


@styled
def roc_curves(classes: Sequence[ClassResult]) -> Figure:
    """The ROC curve of each class against the rest, with its AUC and the operating point in use.

    Args:
        classes: at least one; each has images with and without the class.
    """

    def draw(axes: Axes, of: ClassResult, look: Mapping[str, Any]) -> None:
        points = roc_points(of.scores, of.truth)
        _band(axes, of, look)
        axes.plot(points.false_positive_rate, points.true_positive_rate, **look)
        if {"recall", "specificity"} <= of.metrics.keys():
            _mark(axes, 1 - of.metrics["specificity"], of.metrics["recall"], look)

    figure, grid = _curves(classes, draw, "AUC", "auc")
    for axes in grid:
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1, zorder=1)
    _name_axes(figure, grid, "1 − specificity (false positive rate)", "Sensitivity (true positive rate)")
    return figure


@styled
def precision_recall_curves(classes: Sequence[ClassResult]) -> Figure:
    """The precision-recall curve of each class, with its average precision, prevalence and the point in use.

    Args:
        classes: as for :func:`roc_curves`.
    """

    def draw(axes: Axes, of: ClassResult, look: Mapping[str, Any]) -> None:
        points = precision_recall_points(of.scores, of.truth)
        _band(axes, of, look)
        axes.plot(points.recall, points.precision, drawstyle="steps-post", **look)
        chance = {"color": look["color"], "linestyle": ":", "linewidth": 0.9, "zorder": 1}
        axes.axhline(float(of.truth.mean()), **chance)
        if {"recall", "precision"} <= of.metrics.keys():
            _mark(axes, of.metrics["recall"], of.metrics["precision"], look)

    figure, grid = _curves(classes, draw, "AP", "average_precision")
    _name_axes(figure, grid, "Recall (sensitivity)", "Precision (positive predictive value)")
    return figure


@styled
def reliability_diagrams(classes: Sequence[ClassResult], bins: int = 10) -> Figure:
    """Observed frequency by predicted probability, a panel for each class, before and after calibration.

    Args:
        classes: at least one.
        bins: of equal width.
    """
    figure, grid = _panels(len(classes), 0.3)
    for axes, of in zip(grid, classes, strict=True):
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1, label="Perfect calibration")
        series: list[tuple[str, Floats, dict[str, Any]]] = [
            ("Before calibration", sigmoid(of.scores), {"color": BLUE, "marker": "o"})
        ]
        if of.calibrated is not None:
            dashed = {
                "color": VERMILLION,
                "marker": "s",
                "linestyle": (0, (4, 1.6)),
                "markerfacecolor": "white",
            }
            series.append(("After calibration", of.calibrated, dashed))
        for label, probabilities, look in series:
            found = reliability(probabilities, of.truth, bins)
            errors = np.stack((found.observed - found.low, found.high - found.observed)).clip(min=0)
            axes.errorbar(
                found.predicted,
                found.observed,
                yerr=errors,
                linewidth=1,
                markersize=3,
                elinewidth=0.7,
                capsize=1.5,
                label=label,
                clip_on=False,
                **look,
            )
        _square(axes)
        images = f"{int(of.truth.sum()):,} of {of.truth.size:,} images"
        axes.set_title(f"{shortened(of.name, 24)}\n{images}", fontsize=7.5)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels))
    _name_axes(figure, grid, "Predicted probability", "Observed frequency")
    return figure


@styled
def class_overview(classes: Sequence[ClassResult], macro: Mapping[str, Any]) -> Figure:
    """AUC, sensitivity and specificity of each class and their macro average, with 95 % intervals.

    Args:
        classes: at least one; a metric that a class lacks is left out.
        macro: ``metrics`` and ``intervals`` of the average, as ``details["averages"]["macro"]``.
    """
    rows = [(BLUE, "o", of.metrics, of.intervals) for of in classes]
    rows.append((INK, "D", macro["metrics"], macro["intervals"]))
    figure, grid = page_figure(0.23 * len(rows) + 0.85, len(_METRICS))
    places = [*range(len(classes)), len(classes) + 0.35]
    for axes, (metric, label) in zip(grid, _METRICS.items(), strict=True):
        for place, (colour, marker, metrics, intervals) in zip(places, rows, strict=True):
            value = metrics.get(metric)
            if value is None:
                axes.text(
                    0.5,
                    place,
                    "–",
                    color=FAINT,
                    ha="center",
                    va="center",
                    transform=axes.get_yaxis_transform(),
                )
                continue
            if ends := intervals.get(metric):
                axes.plot(ends, [place, place], color=colour, linewidth=1.2, solid_capstyle="butt")
            axes.plot([value], [place], color=colour, marker=marker, markersize=4, clip_on=False)
        axes.axhline(len(classes) - 0.32, color=FAINT, linewidth=0.5)
        low, high = axes.get_xlim()
        axes.set_xlim(max(0.0, min(low, 0.9)), min(1.0, max(high, 0.5)) + 0.005)
        axes.set_xlabel(label)
        _rows_only(axes)
    names = [f"{shortened(of.name, 26)} ({int(of.truth.sum()):,})" for of in classes]
    grid[0].set_yticks(places, [*names, "Macro average"])
    grid[0].set_ylim(places[-1] + 0.6, -0.6)
    return figure


@styled
def label_decisions(matrices: NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Decisions on each label: shares of the images with it and of those without it.

    Args:
        matrices: [K, 2, 2]: ``[[true negatives, false positives], [false negatives, true positives]]``.
        labels: K names.
    """
    figure, grid = page_figure(0.23 * len(labels) + 0.85, 2)
    sides = (
        ("With the label", (1, 1), (1, 0), ("true positive", "false negative")),
        ("Without the label", (0, 0), (0, 1), ("true negative", "false positive")),
    )
    places = range(len(labels))
    for axes, (title, right, wrong, names) in zip(grid, sides, strict=True):
        hits = np.array([matrix[right] for matrix in matrices])
        misses = np.array([matrix[wrong] for matrix in matrices])
        total = np.maximum(hits + misses, 1)
        axes.barh(places, hits / total, 0.72, color=BLUE, label=names[0])
        bars: dict[str, Any] = {"color": VERMILLION, "hatch": "////", "edgecolor": "white", "linewidth": 0}
        axes.barh(places, misses / total, 0.72, left=hits / total, label=names[1], **bars)
        for place, (hit, miss) in enumerate(zip(hits.tolist(), misses.tolist(), strict=True)):
            text = f"{hit:,} of {hit + miss:,}" if hit + miss else "no image"
            axes.text(1.02, place, text, va="center", fontsize=7)
        axes.set_xlim(0, 1)
        axes.set_title(title, fontsize=8.5)
        _rows_only(axes)
        axes.xaxis.set_major_formatter(lambda value, _: share(value))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14 * 14 / (len(labels) + 3)), ncols=2)
    grid[0].set_yticks(places, [shortened(name, 26) for name in labels])
    grid[0].set_ylim(len(labels) - 0.5, -0.5)
    return figure


def _curves(classes: Sequence[ClassResult], draw: _Draw, title: str, area: str) -> tuple[Figure, list[Axes]]:
    """The classes' curves in one axes with a legend, or in a panel each with a title."""
    if len(classes) > _TOGETHER:
        figure, grid = _panels(len(classes), 0.0)
        for axes, of in zip(grid, classes, strict=True):
            draw(axes, of, {"color": BLUE})
            _square(axes)
            axes.set_title(f"{shortened(of.name, 24)}\n{title} {_measured(of, area)}", fontsize=7.5)
        return figure, grid
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN, 3.0 + 0.16 * len(classes)))
    axes = figure.subplots()
    for place, of in enumerate(classes):
        label = f"{shortened(of.name, 20)}: {title} {_measured(of, area)}"
        draw(axes, of, {"color": CLASS_COLOURS[place], "linestyle": _DASHES[place], "label": label})
    _square(axes)
    figure.legend(loc="outside upper center", fontsize=7.5, borderpad=0.1, handlelength=3)
    return figure, [axes]


def _measured(of: ClassResult, metric: str) -> str:
    value, ends = of.metrics.get(metric), of.intervals.get(metric)
    if value is None:
        return "–"
    return f"{value:.3f}" + (f" ({ends[0]:.3f}–{ends[1]:.3f})" if ends else "")


def _band(axes: Axes, of: ClassResult, look: Mapping[str, Any]) -> None:
    if of.band is not None:
        axes.fill_between(*of.band, color=look["color"], alpha=0.15, linewidth=0)


def _mark(axes: Axes, x: float, y: float, look: Mapping[str, Any]) -> None:
    """The operating point in use, in the colour of its curve."""
    dot: dict[str, Any] = {"color": look["color"], "marker": "D", "markersize": 5, "markeredgecolor": "white"}
    axes.plot([x], [y], linestyle="none", markeredgewidth=0.6, clip_on=False, zorder=4, **dot)


def _panels(count: int, margin: float) -> tuple[Figure, list[Axes]]:
    """Square panels in rows on the width of a page, which share their axes; ``margin`` inches for a legend."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, max(count, 3))
    rows = -(-count // columns)
    figure = Figure(figsize=(PAGE, (PAGE / columns + 0.28) * rows + margin))
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).ravel().tolist()
    for place, axes in enumerate(grid):
        if place >= count:
            axes.set_axis_off()
        elif place + columns >= count:  # the lowest one of its column
            axes.tick_params(labelbottom=True)
    return figure, grid[:count]


def _rows_only(axes: Axes) -> None:
    axes.grid(False, axis="y")
    axes.tick_params(axis="y", length=0)


def _square(axes: Axes) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")


def _name_axes(figure: Figure, grid: Sequence[Axes], x: str, y: str) -> None:
    """Names of the axes: of the one, or of all panels together."""
    if len(grid) == 1:
        grid[0].set_xlabel(x)
        grid[0].set_ylabel(y)
    else:
        figure.supxlabel(x, fontsize=8.5)
        figure.supylabel(y, fontsize=8.5)
