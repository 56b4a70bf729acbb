"""Figures of several runs at once: their curves, how far their results lie apart, and what they make, side by side.

The figures of one run are :mod:`pneumo_cli.reports.figures.training`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.figures.epochs import Entry, epoch_axis, say_empty, series
from pneumo_cli.reports.figures.style import (
    FAINT,
    INK,
    PAGE,
    SERIES,
    SMOOTH,
    line_labels,
    panels,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS = 3  # of pictures on the width of a page


@styled
def overlaid_curves(histories: Sequence[Sequence[Entry]], metrics: Sequence[str]) -> Figure:
    """Several metrics over the epochs, one panel each: a thin line per run, a thick one for their mean.

    Args:
        histories: ``report["history"]`` of each run, at least one; a side without values is left out.
        metrics: at least one name.

    Raises:
        ValueError: there is no run or no metric.
    """
    if not metrics or not histories:
        raise ValueError("overlaid curves need at least one run and one metric")
    figure, grid = panels(len(metrics), 0.3)
    for axes, metric in zip(grid, metrics, strict=False):
        _draw(axes, histories, metric)
    handles = list(line_labels(grid).values())
    if handles:
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))
    return figure


def _draw(axes: Axes, histories: Sequence[Sequence[Entry]], metric: str) -> None:
    longest = max(len(history) for history in histories)
    epochs = list(range(longest))
    for side, look in SERIES.items():
        values = np.full((len(histories), longest), np.nan)
        for row, history in enumerate(histories):
            values[row, : len(history)] = series(history, side, metric)
        if not np.isfinite(values).any():
            continue
        plain: dict[str, Any] = {"color": look["color"], "linestyle": look["linestyle"]}
        for line in values:
            axes.plot(epochs, line, linewidth=0.5, alpha=0.5, label="_part", **plain)
        there = np.isfinite(values).any(axis=0)
        mean = np.full(longest, np.nan)
        mean[there] = np.nanmean(values[:, there], axis=0)
        axes.plot(epochs, mean, linewidth=1.6, label=f"{look['label']}, mean", **plain)
    if not axes.lines:
        say_empty(axes)
    axes.set_ylabel(metric_label(metric).label)
    epoch_axis(axes, epochs)


@styled
def spread_of(values: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """Where each run's result lies: a row per metric, a dot per run, a bar for mean and standard deviation.

    Args:
        values: by split, then by metric, one number per run: shares between 0 and 1 (others are not drawn).

    Raises:
        ValueError: there is nothing to draw.
    """
    from matplotlib.figure import Figure

    metrics = [
        name
        for name in dict.fromkeys(name for of in values.values() for name in of)
        if metric_label(name).share
    ]
    if not metrics:
        raise ValueError("a figure of the spread needs at least one metric that is a share")
    figure = Figure(figsize=(PAGE, 0.28 * len(metrics) * max(1, len(values) / 1.5) + 0.9))
    axes = figure.subplots()
    looks = {"validation": SERIES["validation"], "test": {"color": INK, "marker": "D"}}
    for number, split in enumerate(values):
        look = looks.get(split, looks["test"])
        shift = 0.34 * (number - (len(values) - 1) / 2)
        label = split.capitalize()
        for row, metric in enumerate(metrics):
            found = np.asarray(values[split].get(metric, ()), dtype=np.float64)
            if not found.size:
                continue
            at = row + shift
            spread = float(found.std(ddof=1)) if found.size > 1 else 0.0
            axes.plot(
                found, np.full(found.size, at), look["marker"], color=look["color"], alpha=0.55,
                markersize=3, linestyle="none", label=label,
            )  # fmt: skip
            axes.errorbar(
                found.mean(), at, xerr=spread, color=look["color"], marker="|", markersize=9, linewidth=1.1,
                capsize=2.5, label="_bar",
            )  # fmt: skip
            label = "_more"
    axes.set_yticks(range(len(metrics)), [shortened(metric_label(name).label, 28) for name in metrics])
    axes.invert_yaxis()
    axes.set_xlabel("Each run (dots), mean and standard deviation (bars)")
    axes.xaxis.label.set_color(FAINT)
    axes.set_xlim(right=min(1.0, axes.get_xlim()[1]) + 0.002)
    if len(values) > 1:
        axes.legend(loc="best")
    return figure


@styled
def side_by_side(pictures: Mapping[str, Path]) -> Figure:
    """Picture files of several runs beside and below one another, each under its title; all drawn equally wide.

    Args:
        pictures: grey image files by title, at least one. Of one that cannot be read the title alone is shown.

    Raises:
        ValueError: there is no picture.
    """
    if not pictures:
        raise ValueError("pictures side by side need at least one")
    from matplotlib.figure import Figure

    found = {title: _levels(file) for title, file in pictures.items()}
    tallest = max(
        (levels.shape[0] / levels.shape[1] for levels in found.values() if levels.size), default=1.0
    )
    columns = min(_COLUMNS, len(found))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(PAGE, rows * (tallest * PAGE / max(columns, 2) + 0.25)))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (title, levels) in zip(grid, found.items(), strict=False):
        axes.set_title(shortened(title, 40), fontsize=8)
        if levels.size:
            axes.imshow(levels, cmap="gray", vmin=0, vmax=255, interpolation=SMOOTH)
        else:
            axes.text(0.5, 0.5, "cannot be read", ha="center", va="center", color=FAINT)
    return figure


def _levels(file: Path) -> NDArray[np.uint8]:
    """Grey levels, uint8 [H, W]; [0, 0] where the file is no picture."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return np.empty((0, 0), np.uint8)
