"""Figures of a training run: curves, confusion matrix, class balance, sample images.

Pure functions from data to :class:`matplotlib.figure.Figure`, without pyplot, so no figure stays open. ``curves``
and ``sample_grid`` are as wide as a journal page, all others as wide as its column. The colours are those of Okabe
and Ito; line style, marker, hatching or text show the same information. :mod:`pneumo_cli.reports.figures.style`
defines the style and writes the files, :mod:`pneumo_cli.reports.figures.classification` draws a classifier's
predictions, and metrics are computed in :mod:`pneumo_cli.evaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.evaluation.metric_names import metric_label
from pneumo_cli.reports.figures.epochs import (
    Entry,
    epoch_axis,
    gapped,
    line_width,
    mark_best,
    marker_step,
    say_empty,
    series,
)
from pneumo_cli.reports.figures.style import (
    BLUE,
    CLASS_COLOURS,
    HATCHES,
    INK,
    PAGE,
    SERIES,
    column_figure,
    gray_levels,
    image_figure,
    legend_above,
    line_labels,
    page_figure,
    panels,
    shortened,
    styled,
)
from pneumo_cli.runtime.json_values import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_MOST_IN_COLUMN = 4  # classes in a confusion matrix, and in bars beside each other
_MOST_WITH_COUNTS = 24  # classes whose counts are readable in a confusion matrix


@styled
def curve(
    history: Sequence[Entry], metric: str, *, label: str | None = None, best: int | None = None
) -> Figure:
    """One metric by epoch, training and validation in one axes (SOURCE 4, figures 16-20).

    Args:
        history: ``report["history"]``; values that are missing, None or NaN become gaps, and a side (``train``,
            ``validation``) without a value is left out.
        metric: its name in the history.
        label: of the vertical axis, with the unit; the metric's own label by default.
        best: the selected epoch, marked by a thin line.
    """
    figure, axes = column_figure(2.3)
    _draw_curve(axes, history, metric, label)
    mark_best(axes, history, best)
    legend_above(axes)
    return figure


@styled
def curves(history: Sequence[Entry], metrics: Sequence[str], *, best: int | None = None) -> Figure:
    """Several metrics by epoch, one panel each, on the width of a page.

    Args:
        history, best: as for :func:`curve`.
        metrics: at least one name.

    Raises:
        ValueError: there is no metric.
    """
    if not metrics:
        raise ValueError("curves need at least one metric")
    figure, grid = panels(len(metrics), 0.3)
    for axes, metric in zip(grid, metrics, strict=False):
        _draw_curve(axes, history, metric, None)
        mark_best(axes, history, best)
    # One legend for all: in a free cell if there is one, else above the panels.
    handles = list(line_labels(grid).values())
    if len(metrics) < len(grid):
        grid[-1].legend(handles=handles, loc="center", fontsize=8.5, labelspacing=0.9)
    else:
        figure.legend(handles=handles, loc="outside upper center", ncols=len(handles) or 1)
    return figure


@styled
def learning_rate(history: Sequence[Entry]) -> Figure:
    """The learning rate by epoch, on a logarithmic axis where it spans more than one power of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    figure, axes = column_figure(1.9)
    epochs = [int(entry["epoch"]) for entry in history]
    rates = gapped([entry.get("learning_rate") for entry in history])
    step = marker_step(len(epochs))
    axes.plot(epochs, rates, color=BLUE, drawstyle="steps-mid", marker="o", markevery=step)
    positive = rates[rates > 0]
    if positive.size and positive.max() > 10 * positive.min():
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylabel("Learning rate (per step)")
    epoch_axis(axes, epochs)
    return figure


@styled
def confusion_matrix(matrix: ArrayLike, classes: Sequence[str]) -> Figure:
    """Counts and percentages of each true class, shaded by the percentage.

    Args:
        matrix: counts [K, K], rows truth, columns prediction.
        classes: K names.

    Raises:
        ValueError: the matrix is not [K, K].
    """
    counts = np.asarray(matrix)
    size = len(classes)
    if counts.shape != (size, size):
        raise ValueError(
            f"a confusion matrix of {size} classes is [{size}, {size}], not {list(counts.shape)}"
        )
    totals = counts.sum(axis=1)
    shares = counts / np.maximum(totals[:, None], 1)
    if size > _MOST_IN_COLUMN:
        return _large_confusion_matrix(counts, shares, classes)
    figure, axes = column_figure(2.75)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        percent = f"{100 * share:.1f} %" if totals[row] else "no image"
        look: dict[str, Any] = {"ha": "center", "va": "center", "color": "white" if share > 0.5 else INK}
        axes.text(column, row, f"{counts[row, column]:,}\n{percent}", fontsize=11 if size == 2 else 7, **look)
    names = [shortened(name, max(6, 40 // size)) for name in classes]
    axes.set_xticks(range(size), names)
    rows = [f"{name}\nn = {total:,}" for name, total in zip(names, totals, strict=True)]
    turned = 90 if size <= 3 else 0
    axes.set_yticks(range(size), rows, rotation=turned, va="center", multialignment="center")
    axes.set_xlabel("Prediction")
    axes.set_ylabel("Truth")
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


def _large_confusion_matrix(
    counts: NDArray[Any], shares: NDArray[np.float64], classes: Sequence[str]
) -> Figure:
    """Of more classes than a column has space for, on the width of a page; cells without images stay empty."""
    size = len(classes)
    figure, (axes,) = page_figure(min(PAGE, 0.5 * size + 1.6))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares if size <= _MOST_WITH_COUNTS else shares[:0]):
        if counts[row, column]:
            look: dict[str, Any] = {"ha": "center", "va": "center", "color": "white" if share > 0.5 else INK}
            text = f"{counts[row, column]:,}\n{100 * share:.0f} %"
            axes.text(column, row, text, fontsize=7 if size <= 10 else 5.5, **look)
    names = [shortened(name, 20) for name in classes]
    axes.set_xticks(range(size), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(
        range(size),
        [f"{name} ({total:,})" for name, total in zip(names, counts.sum(axis=1), strict=True)],
    )
    axes.set_xlabel("Prediction")
    axes.set_ylabel("Truth (images)")
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


@styled
def class_balance(table: Sequence[Mapping[str, Any]]) -> Figure:
    """Images per split and class, with their counts and their ratio (the report's figure 3).

    Args:
        table: ``report["dataset"]["split"]["rows"]``: for each split ``split``, ``counts`` (class to number),
            ``images`` if an image may count for several classes or for none, and ``ratio`` (images of the second
            class for one of the first) where it is known.
    """
    from matplotlib.ticker import MaxNLocator

    # A class without images in any split (in a run on another class only) would leave a gap.
    classes = list(dict.fromkeys(name for row in table for name, count in row["counts"].items() if count))
    if len(classes) > _MOST_IN_COLUMN:
        return _balance_of_many(table, classes)
    figure, axes = column_figure(2.4)
    width = 0.8 / max(len(classes), 1)
    positions = np.arange(len(table))
    for index, name in enumerate(classes):
        counts = [int(row["counts"].get(name, 0)) for row in table]
        bars = axes.bar(
            positions + (index - (len(classes) - 1) / 2) * width,
            counts,
            0.94 * width,
            color=CLASS_COLOURS[index % len(CLASS_COLOURS)],
            hatch=HATCHES[index % len(HATCHES)],
            edgecolor="white",
            linewidth=0,
            label=shortened(name, 24),
        )
        axes.bar_label(bars, [f"{count:,}" for count in counts], padding=1.5, fontsize=7)
    axes.set_xticks(positions, [_split_text(row) for row in table])
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel("Images")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.margins(y=0.12)
    axes.grid(False, axis="x")
    legend_above(axes)
    return figure


def _balance_of_many(table: Sequence[Mapping[str, Any]], classes: Sequence[str]) -> Figure:
    """A panel for each split with a row for each class, on the width of a page."""
    from matplotlib.ticker import MaxNLocator

    figure, grid = page_figure(0.19 * len(classes) + 0.75, len(table))
    places = range(len(classes))
    for index, (axes, row) in enumerate(zip(grid, table, strict=True)):
        counts = [int(row["counts"].get(name, 0)) for name in classes]
        colour = CLASS_COLOURS[index % len(CLASS_COLOURS)]
        bars = axes.barh(places, counts, 0.72, color=colour)
        axes.bar_label(bars, [f"{count:,}" for count in counts], padding=2, fontsize=7)
        axes.set_title(_split_text(row), fontsize=8)
        axes.margins(x=0.22)
        axes.set_xlabel("Images")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.grid(False, axis="y")
        axes.tick_params(axis="y", length=0)
    grid[0].set_yticks(places, [shortened(name, 26) for name in classes])
    grid[0].set_ylim(len(classes) - 0.4, -0.6)
    return figure


@styled
def sample_grid(
    images: NDArray[np.generic], titles: Sequence[str], *, columns: int = 8, caption: str = ""
) -> Figure:
    """Images with a title above each, on the width of a page (the report's figures 5-7).

    Args:
        images: [N, H, W], 0 black to 1 white; values outside are clipped.
        titles: N names, usually classes; equal names get the same colour.
        columns: images per row.
        caption: one line below the grid.

    Raises:
        ValueError: there is no image, or the shapes do not fit.
    """
    images = np.asarray(images)
    if images.ndim != 3 or len(images) == 0 or len(images) != len(titles):
        raise ValueError(
            f"sample_grid takes images [N, H, W] and N titles, not {images.shape}, {len(titles)}"
        )
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    gap, title, foot = 0.05, 0.17, 0.24 if caption else 0.04  # inches
    cell = min((PAGE - gap * (columns + 1)) / columns, 1.6)
    tall = cell * images.shape[1] / images.shape[2]
    left = (PAGE - columns * cell - (columns - 1) * gap) / 2
    height = rows * (tall + title) + gap + foot
    from pneumo_cli.reports.figures.radiographs import show

    figure = image_figure(height)
    # One axes for all images: one for each takes many times as long.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    names = sorted(set(titles))
    for index, (image, name) in enumerate(zip(images, titles, strict=True)):
        row, column = divmod(index, columns)
        x, y = left + column * (cell + gap), height - (row + 1) * (tall + title)
        place = (x, x + cell, y, y + tall)
        show(axes, gray_levels(image), place)
        colour = CLASS_COLOURS[names.index(name)] if len(names) <= len(CLASS_COLOURS) else INK
        look: dict[str, Any] = {"ha": "center", "va": "baseline", "fontweight": "bold", "color": colour}
        axes.text(x + cell / 2, y + tall + 2 / 72, shortened(name, int(cell * 14)), fontsize=7, **look)
    axes.set_xlim(0, PAGE)
    axes.set_ylim(0, height)
    if caption:
        figure.text(0.5, 0.05 / height, shortened(caption, 110), ha="center", va="bottom", fontsize=8)
    return figure


def _draw_curve(axes: Axes, history: Sequence[Entry], metric: str, label: str | None) -> None:
    epochs = [int(entry["epoch"]) for entry in history]
    for side, look in SERIES.items():
        values = series(history, side, metric)
        if np.isfinite(values).any():
            width, step = line_width(len(epochs)), marker_step(len(epochs))
            axes.plot(epochs, values, linewidth=width, markevery=step, **look)
    if not axes.lines:
        say_empty(axes)
    axes.set_ylabel(label or metric_label(metric).label)
    if metric_label(metric).share:
        low, high = axes.get_ylim()
        axes.set_ylim(max(low, -0.02), min(high, 1.02))
    epoch_axis(axes, epochs)


def _split_text(row: Mapping[str, Any]) -> str:
    images = row.get("images", sum(int(count) for count in row["counts"].values()))
    lines = [shortened(str(row["split"]), 16), f"n = {images:,}"]
    ratio = number(row.get("ratio"))
    if ratio is not None:
        lines.append(f"1 : {ratio:.2f}")
    return "\n".join(lines)
