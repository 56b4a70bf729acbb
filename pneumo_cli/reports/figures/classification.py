"""Figures of a classifier's predictions: ROC and precision-recall curves, calibration, predictive values.

Pure functions as in :mod:`pneumo_cli.reports.figures.training`. Bands, intervals and bins are computed in
:mod:`pneumo_cli.evaluation` and passed in; all are optional. The positive class is label 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from pneumo_cli.evaluation.arrays import sigmoid
from pneumo_cli.evaluation.binary import binary_metrics, confusion, precision_recall_points, roc_points
from pneumo_cli.evaluation.calibration import predictive_values as values_at
from pneumo_cli.reports.figures.line_data import add_values
from pneumo_cli.reports.figures.style import (
    BLUE,
    COLUMN,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    column_figure,
    legend_above,
    shortened,
    styled,
)
from pneumo_cli.runtime.percentages import share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from pneumo_cli.evaluation.arrays import Values
    from pneumo_cli.evaluation.calibration import ReliabilityBins

Ends: TypeAlias = Sequence[float]
"""The lower and the upper end of an interval."""

Band: TypeAlias = tuple[ArrayLike, ArrayLike, ArrayLike]
"""Pointwise 95 % band of a curve: x [K] rising, low [K], high [K], all 0 to 1."""

_Place: TypeAlias = Literal["lower left", "lower right", "upper right"]

_HALF: Mapping[str, float] = {"threshold 0.5": 0.0}

_POINT = "operating point"
_DASHES = (0, (4, 1.6))
_SPAN = (0.005, 0.99)
_PREVALENCES = (0.01, 0.05, 0.2, 0.5, 0.8, 0.95)


class _Look(NamedTuple):
    colour: str
    marker: str
    size: float


# From large to small, so that coinciding points show all their markers.
_POINTS = (
    _Look(VERMILLION, "D", 6.5),
    _Look(GREEN, "s", 5.5),
    _Look(PURPLE, "^", 5.0),
    _Look(ORANGE, "o", 3.8),
    _Look(INK, "v", 3.2),
    _Look(SKY, "P", 2.8),
)


@styled
def roc_curve(
    logits: Values,
    labels: Values,
    *,
    points: Mapping[str, float] = _HALF,
    band: Band | None = None,
    interval: Ends | None = None,
) -> Figure:
    """Sensitivity against 1 - specificity, with the AUC, the chance line and the operating points.

    Args:
        logits: [N], finite. labels: [N], 1 is the positive class. points: logit threshold by name; an image is
        predicted positive where its logit is at least that. band: of the sensitivity over the false positive rate.
        interval: of the AUC.

    Raises:
        ValueError: one class is missing, or the input is not what :mod:`pneumo_cli.evaluation.binary` takes.
    """
    curve = roc_points(logits, labels)
    area = binary_metrics(logits, labels)["auc"]
    figure, axes = column_figure(3.25)
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1, label="Chance (AUC 0.5)")
    _band(axes, band)
    label = f"AUC {_measured(area, interval)}\n{_images(labels)}"
    (line,) = axes.plot(curve.false_positive_rate, curve.true_positive_rate, color=BLUE, label=label)
    add_values(line, "Threshold before calibration", sigmoid(curve.threshold))
    places = {}
    for name, threshold in points.items():
        (tn, fp), (fn, tp) = confusion(logits, labels, logit_threshold=threshold)
        places[name] = (float(tp / (tp + fn)), float(tn / (tn + fp)))
    for look, name, (sensitivity, specificity) in _distinct(places):
        _mark(axes, 1 - specificity, sensitivity, f"{name}: {sensitivity:.3f} / {specificity:.3f}", look)
    axes.set_xlabel("1 − specificity (false positive rate)")
    axes.set_ylabel("Sensitivity (true positive rate)")
    _finish(axes, "lower right", "Sensitivity / specificity at" if points else "")
    return figure


@styled
def precision_recall_curve(
    logits: Values,
    labels: Values,
    *,
    points: Mapping[str, float] = _HALF,
    band: Band | None = None,
    interval: Ends | None = None,
) -> Figure:
    """Precision against recall, with the average precision, the prevalence and the operating points.

    Args:
        logits: [N], finite. labels: [N], 1 is the positive class. points: logit threshold by name; one without
        positive predictions has no precision and is not marked. band: of the precision over the recall. interval:
        of the average precision.

    Raises:
        ValueError: one class is missing, or the input is not what :mod:`pneumo_cli.evaluation.binary` takes.
    """
    curve = precision_recall_points(logits, labels)
    metrics = binary_metrics(logits, labels)
    if "average_precision" not in metrics:
        raise ValueError("a precision-recall curve says nothing where every label is 1")
    area, prevalence = metrics["average_precision"], float(np.mean(np.asarray(labels)))
    figure, axes = column_figure(3.25)
    chance = f"Chance (prevalence {prevalence:.3f})"
    axes.axhline(prevalence, color=FAINT, linestyle=":", linewidth=1, label=chance)
    _band(axes, band)
    label = f"AP {_measured(area, interval)}\n{_images(labels)}"
    # Between two points the precision is that of the higher recall, as in the sum of the average precision.
    axes.plot(curve.recall, curve.precision, color=BLUE, drawstyle="steps-post", label=label)
    places = {}
    for name, threshold in points.items():
        (_, fp), (fn, tp) = confusion(logits, labels, logit_threshold=threshold)
        if tp + fp:
            places[name] = (float(tp / (tp + fn)), float(tp / (tp + fp)))
    for look, name, (recall, precision) in _distinct(places):
        _mark(axes, recall, precision, f"{name}: {recall:.3f} / {precision:.3f}", look)
    axes.set_xlabel("Recall (sensitivity)")
    axes.set_ylabel("Precision (positive predictive value)")
    # A good curve leaves the lower left free, a poor one for a rare class the upper right.
    _finish(axes, "lower left" if area > 0.55 else "upper right", "Recall / precision at" if places else "")
    return figure


@styled
def reliability_diagram(
    before: ReliabilityBins, after: ReliabilityBins | None = None, *, positive: str = "", bins: int = 10
) -> Figure:
    """Observed frequency of the positive class by predicted probability, above the number of images.

    Args:
        before: of the uncalibrated probabilities.
        after: of the calibrated probabilities of the same images.
        positive: name of class 1.
        bins: of equal width, as in ``before`` and ``after``.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    name = shortened(positive, 18) or "positive"
    figure = Figure(figsize=(COLUMN, 3.9))
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1, label="Perfect calibration")
    curves: list[tuple[ReliabilityBins, str, str, str, Any]] = [
        (before, "Before calibration" if after else "Predictions", BLUE, "o", "-")
    ]
    if after is not None:
        curves.append((after, "After calibration", VERMILLION, "s", _DASHES))
    width = 0.9 / bins / len(curves)
    for index, (found, label, colour, marker, dashes) in enumerate(curves):
        predicted, observed = np.asarray(found.predicted), np.asarray(found.observed)
        axes.errorbar(
            predicted,
            observed,
            yerr=np.stack((observed - found.low, found.high - observed)).clip(min=0),
            color=colour,
            linestyle=dashes,
            linewidth=1,
            marker=marker,
            markersize=4,
            markerfacecolor="white" if index else colour,
            elinewidth=0.9,
            capsize=2,
            label=label,
            clip_on=False,
        )
        # The mean of a bin lies within the bin, so it tells which bin it is.
        places = np.minimum(np.floor(predicted * bins), bins - 1)
        left = (places + 0.5) / bins + (index - (len(curves) - 1) / 2) * width
        hatch = "////" if index else ""
        counts.bar(left, found.count, width, color=colour, hatch=hatch, edgecolor="white", linewidth=0)
    axes.set_ylabel(f"Observed frequency of {name}")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    legend_above(axes, columns=2)
    counts.set_ylabel("Images")
    counts.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    counts.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    counts.set_xlabel(f"Predicted probability of {name}")
    counts.grid(False, axis="x")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: share(value))
    return figure


@styled
def predictive_values(
    points: Mapping[str, tuple[float, float]],
    prevalence: float | None = None,
    *,
    classes: tuple[str, str] = ("negative", "positive"),
) -> Figure:
    """Positive and negative predictive value at other prevalences than that of the images.

    Args:
        points: (sensitivity, specificity) by name, each 0 to 1.
        prevalence: of class 1 in the split on which they were measured, 0 to 1; it is marked.
        classes: names of class 0 and class 1.
    """
    figure, axes = column_figure(3.5)
    # Even steps of the log odds, on which both ends have space.
    low, high = (np.log(share / (1 - share)) for share in _SPAN)
    prevalences = 1 / (1 + np.exp(-np.linspace(low, high, 400)))
    for look, name, (sensitivity, specificity) in _distinct(points):
        ppv, npv = values_at(sensitivity, specificity, prevalences)
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markersize": 3.5}
        axes.plot(prevalences, ppv, markevery=(20, 72), label=name, **style)
        axes.plot(prevalences, npv, markevery=(56, 72), linestyle=_DASHES, markerfacecolor="white", **style)
    if prevalence is not None and 0 < prevalence < 1:
        place, label = float(np.clip(prevalence, *_SPAN)), f"these images: {share(prevalence)}"
        axes.axvline(place, color=INK, linewidth=0.9, linestyle=":", label=label)
    negative, positive = (shortened(name, 14) for name in classes)
    axes.plot([], [], color=INK, label=f"PPV: predicted {positive}")
    axes.plot([], [], color=INK, linestyle=_DASHES, label=f"NPV: predicted {negative}")
    axes.set_xscale("logit")
    axes.set_xlim(*_SPAN)
    axes.set_xticks(_PREVALENCES, [share(value) for value in _PREVALENCES])
    axes.set_xticks([], minor=True)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: share(value))
    axes.set_xlabel(f"Prevalence of {positive}")
    axes.set_ylabel("Predictive value")
    figure.legend(loc="outside upper center", ncols=2, fontsize=7, columnspacing=1.2, borderpad=0.1)
    return figure


def _distinct(points: Mapping[str, tuple[float, float]]) -> list[tuple[_Look, str, tuple[float, float]]]:
    """A look, a name and the values of each point; points with equal values are one, with all their names."""
    names: dict[tuple[float, float], list[str]] = {}
    for name, values in points.items():
        names.setdefault(values, []).append(name)
    joined = [(shortened(", ".join(several), 24), values) for values, several in names.items()]
    return [(_POINTS[place % len(_POINTS)], name, values) for place, (name, values) in enumerate(joined)]


def _measured(value: float, interval: Ends | None) -> str:
    ends = "" if interval is None else f" (95 %: {interval[0]:.3f} to {interval[1]:.3f})"
    return f"{value:.3f}{ends}"


def _images(labels: Values) -> str:
    truth = np.asarray(labels)
    return f"{truth.size:,} images, {int(truth.sum()):,} positive"


def _band(axes: Axes, band: Band | None) -> None:
    if band is not None:
        axes.fill_between(*band, color=BLUE, alpha=0.2, linewidth=0, label="95 % band, pointwise")


def _mark(axes: Axes, x: float, y: float, label: str, look: _Look) -> None:
    axes.plot(
        [x],
        [y],
        color=look.colour,
        marker=look.marker,
        markersize=look.size,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linestyle="none",
        label=label,
        gid=_POINT,
        clip_on=False,
        zorder=4,
    )


def _finish(axes: Axes, place: _Place, heading: str) -> None:
    """A unit square, and a legend: the curve and its band, then the points below a heading of their own."""
    from matplotlib.lines import Line2D

    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    axes.set_aspect("equal")
    entries = list(zip(*axes.get_legend_handles_labels(), strict=True))
    points = [entry for entry in entries if entry[0] in axes.lines and entry[0].get_gid() == _POINT]
    shown = [entry for entry in reversed(entries) if entry not in points]
    if heading:
        shown.append((Line2D([], [], linestyle="none"), heading))
    handles, labels = zip(*shown, *points, strict=True)
    legend = axes.legend(handles, labels, loc=place, borderaxespad=0.3, labelspacing=0.35, fontsize=7)
    legend.set_in_layout(False)  # it is inside the axes: nothing has to make room for it
