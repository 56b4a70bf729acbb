"""Figures of a classifier's predictions, with how sure they are: curves with bands, calibration, predictive values.

Pure functions in the manner of :mod:`pneumo_cli.reports.figures.training`. Bands, intervals and bins are
arguments: they are computed in :mod:`pneumo_cli.evaluation`, and every figure can be drawn without them. The
positive class is label 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from pneumo_cli.evaluation.binary import binary_metrics, confusion, precision_recall_points, roc_points
from pneumo_cli.evaluation.calibration import predictive_values as values_at
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


# From large to small, so that points which coincide show all their markers.
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
    """Sensitivity against 1 - specificity, with the area, the chance line and the operating points.

    Args:
        logits: [N], finite. labels: [N], 1 is the positive class. points: name to logit_threshold, a logit: an
        image is called positive where its logit is at least the logit_threshold. band: of the sensitivity over
        the false positive rate. interval: of the area.

    Raises:
        ValueError: one class is missing, or the input is not what :mod:`pneumo_cli.evaluation.binary` takes.
    """
    curve = roc_points(logits, labels)
    area = binary_metrics(logits, labels)["auc"]
    figure, axes = column_figure(3.25)
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1, label="Chance (AUC 0.5)")
    _band(axes, band)
    axes.plot(
        curve.false_positive_rate,
        curve.true_positive_rate,
        color=BLUE,
        label=f"AUC {_measured(area, interval)}\n{_images(labels)}",
    )
    places = {}
    for name, threshold in points.items():
        (negatives, alarms), (misses, hits) = confusion(logits, labels, logit_threshold=threshold)
        places[name] = (float(hits / (hits + misses)), float(negatives / (negatives + alarms)))
    for look, name, (sensitivity, specificity) in _together(places):
        _mark(axes, 1 - specificity, sensitivity, f"{name}: {sensitivity:.3f} / {specificity:.3f}", look)
    axes.set_xlabel("1 − specificity (false positive rate)")
    axes.set_ylabel("Sensitivity (true positive rate)")
    _unit_square(axes)
    _legend(axes, "lower right", "Sensitivity / specificity at" if points else "")
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
        logits: [N], finite. labels: [N], 1 is the positive class. points: name to logit_threshold, a logit; one
        at which nothing is called positive has no precision and is not marked. band: of the precision over the
        recall. interval: of the average precision.

    Raises:
        ValueError: one class is missing, or the input is not what :mod:`pneumo_cli.evaluation.binary` takes.
    """
    curve = precision_recall_points(logits, labels)
    metrics = binary_metrics(logits, labels)
    if "average_precision" not in metrics:
        raise ValueError("a precision-recall curve says nothing where every label is 1")
    _, (misses, hits) = matrix = confusion(logits, labels)
    prevalence = float((misses + hits) / matrix.sum())
    figure, axes = column_figure(3.25)
    axes.axhline(
        prevalence, color=FAINT, linestyle=":", linewidth=1, label=f"Chance (prevalence {prevalence:.3f})"
    )
    _band(axes, band)
    # Between two points the precision is that of the higher recall: what average precision sums up.
    axes.plot(
        curve.recall,
        curve.precision,
        color=BLUE,
        drawstyle="steps-post",
        label=f"AP {_measured(metrics['average_precision'], interval)}\n{_images(labels)}",
    )
    places = {}
    for name, threshold in points.items():
        (_, alarms), (misses, hits) = confusion(logits, labels, logit_threshold=threshold)
        if hits + alarms:
            places[name] = (float(hits / (hits + misses)), float(hits / (hits + alarms)))
    for look, name, (recall, precision) in _together(places):
        _mark(axes, recall, precision, f"{name}: {recall:.3f} / {precision:.3f}", look)
    axes.set_xlabel("Recall (sensitivity)")
    axes.set_ylabel("Precision (positive predictive value)")
    _unit_square(axes)
    # A good curve leaves the lower left free, a poor one for a rare class the upper right.
    free: _Place = "lower left" if metrics["average_precision"] > 0.55 else "upper right"
    _legend(axes, free, "Recall / precision at" if places else "")
    return figure


@styled
def reliability_diagram(
    before: ReliabilityBins, after: ReliabilityBins | None = None, *, positive: str = "", bins: int = 10
) -> Figure:
    """How often images are positive that get a probability, and how many images get it.

    Args:
        before: of the probabilities as the network gives them.
        after: of the same images after calibration.
        positive: name of class 1.
        bins: of equal width, as ``before`` and ``after`` were made with.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    name = shortened(positive, 18) or "positive"
    figure = Figure(figsize=(COLUMN, 3.9))
    axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    axes.plot([0, 1], [0, 1], color=FAINT, linestyle=":", linewidth=1, label="Perfect calibration")
    looks: list[tuple[ReliabilityBins, str, str, str, Any]] = [
        (before, "As the network says" if after else "Predictions", BLUE, "o", "-")
    ]
    if after is not None:
        looks.append((after, "After calibration", VERMILLION, "s", _DASHES))
    width = 0.9 / bins / len(looks)
    for index, (found, label, colour, marker, dashes) in enumerate(looks):
        observed = np.asarray(found.observed)
        axes.errorbar(
            found.predicted,
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
        # A bin's mean lies within the bin, whose place it tells.
        places = np.minimum(np.floor(np.asarray(found.predicted) * bins), bins - 1)
        left = (places + 0.5) / bins + (index - (len(looks) - 1) / 2) * width
        counts.bar(
            left,
            found.count,
            width,
            color=colour,
            hatch="////" if index else "",
            edgecolor="white",
            linewidth=0,
        )
    axes.set_ylabel(f"Share that is {name}")
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    legend_above(axes, columns=2)
    counts.set_ylabel("Images")
    counts.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    counts.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    counts.set_xlabel(f"Predicted probability of {name}")
    counts.grid(False, axis="x")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda value, _: _percent(value))
    return figure


@styled
def predictive_values(
    points: Mapping[str, tuple[float, float]],
    prevalence: float | None = None,
    *,
    classes: tuple[str, str] = ("negative", "positive"),
) -> Figure:
    """What a call is worth where the disease is rarer, or more frequent, than in the images at hand.

    Args:
        points: name to (sensitivity, specificity), each 0 to 1.
        prevalence: share of class 1 in the split that they were measured on, 0 to 1; it is marked.
        classes: names of class 0 and class 1.
    """
    figure, axes = column_figure(3.5)
    # Even steps of the log odds, in which both ends have room.
    low, high = (np.log(share / (1 - share)) for share in _SPAN)
    frequent = 1 / (1 + np.exp(-np.linspace(low, high, 400)))
    for look, name, (sensitivity, specificity) in _together(points):
        found, excluded = values_at(sensitivity, specificity, frequent)
        style: dict[str, Any] = {"color": look.colour, "marker": look.marker, "markersize": 3.5}
        axes.plot(frequent, found, markevery=(20, 72), label=name, **style)
        axes.plot(frequent, excluded, markevery=(56, 72), linestyle=_DASHES, markerfacecolor="white", **style)
    if prevalence is not None and 0 < prevalence < 1:
        place = float(np.clip(prevalence, *_SPAN))
        axes.axvline(
            place, color=INK, linewidth=0.9, linestyle=":", label=f"these images: {_percent(prevalence)}"
        )
    negative, positive = (shortened(name, 14) for name in classes)
    axes.plot([], [], color=INK, label=f"PPV: called {positive}")
    axes.plot([], [], color=INK, linestyle=_DASHES, label=f"NPV: called {negative}")
    axes.set_xscale("logit")
    axes.set_xlim(*_SPAN)
    axes.set_xticks(_PREVALENCES, [_percent(value) for value in _PREVALENCES])
    axes.set_xticks([], minor=True)
    axes.set_ylim(-0.02, 1.02)
    axes.yaxis.set_major_formatter(lambda value, _: _percent(value))
    axes.set_xlabel(f"Prevalence of {positive}")
    axes.set_ylabel("Share of these calls that are right")
    figure.legend(loc="outside upper center", ncols=2, fontsize=7, columnspacing=1.2, borderpad=0.1)
    return figure


def _together(points: Mapping[str, tuple[float, float]]) -> list[tuple[_Look, str, tuple[float, float]]]:
    """A look, a name and the values of each point; points with the same values are one, with all their names."""
    names: dict[tuple[float, float], list[str]] = {}
    for name, values in points.items():
        names.setdefault(values, []).append(name)
    joined = [(shortened(", ".join(several), 24), values) for values, several in names.items()]
    return [(_POINTS[place % len(_POINTS)], name, values) for place, (name, values) in enumerate(joined)]


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _measured(value: float, interval: Ends | None) -> str:
    return (
        f"{value:.3f}" if interval is None else f"{value:.3f} (95 %: {interval[0]:.3f} to {interval[1]:.3f})"
    )


def _images(labels: Values) -> str:
    truth = np.asarray(labels)
    return f"{truth.size:,} images, {int(truth.sum()):,} positive"


def _band(axes: Axes, band: Band | None) -> None:
    if band is not None:
        x, low, high = band
        axes.fill_between(x, low, high, color=BLUE, alpha=0.2, linewidth=0, label="95 % band, point by point")


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


def _legend(axes: Axes, place: _Place, heading: str) -> None:
    """The curve and its band first, then the points below a heading of their own."""
    from matplotlib.lines import Line2D

    handles, labels = axes.get_legend_handles_labels()
    entries = list(zip(handles, labels, strict=True))
    points = [entry for entry in entries if entry[0] in axes.lines and entry[0].get_gid() == _POINT]
    above = [entry for entry in reversed(entries) if entry not in points]
    if heading:
        above.append((Line2D([], [], linestyle="none"), heading))
    shown = above + points
    axes.legend(
        [handle for handle, _ in shown],
        [label for _, label in shown],
        loc=place,
        borderaxespad=0.3,
        labelspacing=0.35,
        fontsize=7,
    )


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.02)
    axes.set_aspect("equal")
