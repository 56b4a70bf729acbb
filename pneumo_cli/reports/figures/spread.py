"""Figures of several runs: their curves, the spread of their results, and their images side by side.

:mod:`pneumo_cli.reports.figures.training` draws the figures of one run.
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

_COLUMNS = 3  # of images on the width of a page


@styled
def overlaid_curves(histories: Sequence[Sequence[Entry]], metrics: Sequence[str]) -> Figure:
    """Several metrics by epoch, one panel each: a thin line per run, a thick one for their mean.

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
            axes.plot(epochs, line, linewidth=0.5, alpha=0.5, label="_member", **plain)
        filled = np.isfinite(values).any(axis=0)
        mean = np.full(longest, np.nan)
        mean[filled] = np.nanmean(values[:, filled], axis=0)
        axes.plot(epochs, mean, linewidth=1.6, label=f"{look['label']}, mean", **plain)
    if not axes.lines:
        say_empty(axes)
    axes.set_ylabel(metric_label(metric).label)
    epoch_axis(axes, epochs)


@styled
def spread_of(values: Mapping[str, Mapping[str, Sequence[float]]]) -> Figure:
    """The results of each run: a row per metric, a dot per run, a bar for mean and standard deviation.

    Args:
        values: by split, then by metric, one number per run. Only metrics that are shares (0 to 1) are drawn.

    Raises:
        ValueError: there is no such metric.
    """
    from matplotlib.figure import Figure

    names = dict.fromkeys(name for metrics in values.values() for name in metrics)
    metrics = [name for name in names if metric_label(name).share]
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
            results = np.asarray(values[split].get(metric, ()), dtype=np.float64)
            if not results.size:
                continue
            place, deviation = row + shift, float(results.std(ddof=1)) if results.size > 1 else 0.0
            dots = {"color": look["color"], "marker": look["marker"], "markersize": 3, "alpha": 0.55}
            axes.plot(results, np.full(results.size, place), linestyle="none", label=label, **dots)
            bar = {"color": look["color"], "marker": "|", "markersize": 9, "linewidth": 1.1, "capsize": 2.5}
            axes.errorbar(results.mean(), place, xerr=deviation, label="_bar", **bar)
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
    """Image files of several runs in a grid, each below its title and equally wide.

    Args:
        pictures: gray image files by title, at least one; a file that cannot be read is shown as a text.

    Raises:
        ValueError: there is no image.
    """
    if not pictures:
        raise ValueError("images side by side need at least one file")
    from matplotlib.figure import Figure

    images = {title: _gray_levels(file) for title, file in pictures.items()}
    aspect = max((image.shape[0] / image.shape[1] for image in images.values() if image.size), default=1.0)
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(PAGE, rows * (aspect * PAGE / max(columns, 2) + 0.25)))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, (title, image) in zip(grid, images.items(), strict=False):
        axes.set_title(shortened(title, 40), fontsize=8)
        if image.size:
            axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation=SMOOTH)
        else:
            axes.text(0.5, 0.5, "cannot be read", ha="center", va="center", color=FAINT)
    return figure


def _gray_levels(file: Path) -> NDArray[np.uint8]:
    """Gray levels, uint8 [H, W]; [0, 0] where the file is not an image."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            return np.asarray(image.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return np.empty((0, 0), np.uint8)
