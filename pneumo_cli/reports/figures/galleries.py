"""Figures of tasks that generate images: galleries, and plots of image quality.

Pure functions as in :mod:`pneumo_cli.reports.figures.training`: galleries are as wide as a journal page, plots
as wide as a column. Images are [N, H, W], uint8 from 0 to 255 or floating point from 0 to 1; values outside are
clipped. :mod:`pneumo_cli.reports.figures.animation` writes image files without text.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.reports.figures.epochs import (
    Entry,
    epoch_axis,
    line_width,
    mark_best,
    marker_step,
    say_empty,
    series,
)
from pneumo_cli.reports.figures.style import (
    CLASS_COLOURS,
    FAINT,
    PAGE,
    SMOOTH,
    column_figure,
    image_figure,
    legend_above,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images: TypeAlias = NDArray[np.generic]

_GAP = 0.05  # inches between images
_LABEL = 0.95  # inches of the column of labels
_LABEL_CHARACTERS = 14  # per line, at the size below
_LABEL_LINES = 4
_LABEL_LINE = 0.135  # inches
_SIZE = 8  # points
_LARGEST_IN_GRID, _LARGEST_IN_ROW = 1.2, 1.3  # inches of an image's width
_BINS = 40
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.2)), (0, (5, 1.4, 1, 1.4)))
_MARKERS = "os^D"


@dataclass(frozen=True)
class Row:
    """One row of :func:`labelled_rows`.

    Attributes:
        label: to its left.
        images: [k, H, W].
        colour: name of a matplotlib colour map; unless it is gray, a colour bar below the label shows both ends.
        highest: the value at its upper end, by default 255 for integers and 1 for floating point; the lower is 0.
    """

    label: str
    images: Images
    colour: str = "gray"
    highest: float | None = None

    @property
    def top(self) -> float:
        """The value at the upper end of the colour map."""
        if self.highest is not None:
            return self.highest
        return 1.0 if np.issubdtype(self.images.dtype, np.floating) else 255.0


@styled
def image_grid(images: Images, *, columns: int | None = None) -> Figure:
    """Images without text in a grid, nearly square by default (the report's figures 51-53).

    Args:
        images: [N, H, W], N at least 1.
        columns: images per row; by default the root of N, rounded up.

    Raises:
        ValueError: there is no image, or the shape differs.
    """
    row = Row("", np.asarray(images))
    count, aspect = _measure("image_grid", row)
    columns = max(1, min(columns or math.ceil(math.sqrt(count)), count))
    rows = -(-count // columns)
    cell = min((PAGE - _GAP * (columns + 1)) / columns, _LARGEST_IN_GRID)
    left = (PAGE - columns * cell - (columns - 1) * _GAP) / 2
    figure = image_figure(rows * (aspect * cell + _GAP) + _GAP)
    for index, image in enumerate(row.images):
        down, across = divmod(index, columns)
        place = (left + across * (cell + _GAP), _GAP + down * (aspect * cell + _GAP))
        _show(figure, image, row, place, (cell, aspect * cell))
    return figure


@styled
def labelled_rows(rows: Sequence[Row | tuple[str, Images]], *, below: Sequence[str] = ()) -> Figure:
    """Rows of images with labels at the left: originals above their reconstructions (the report's figure 44).

    Args:
        rows: at least one; a pair of label and images is a gray :class:`Row`. All have equally many images of one
            shape.
        below: a text below each column, or nothing.

    Raises:
        ValueError: there is no image, the rows do not fit together, or the texts do not fit the columns.
    """
    given = [row if isinstance(row, Row) else Row(row[0], np.asarray(row[1])) for row in rows]
    sizes = {_measure("labelled_rows", row) for row in given}
    if len(sizes) != 1:
        shapes = ", ".join(str(list(row.images.shape)) for row in given) or "none"
        raise ValueError(f"labelled_rows takes rows of equally many images of one shape, not {shapes}")
    ((columns, aspect),) = sizes
    if below and len(below) != columns:
        raise ValueError(f"{len(below)} texts below {columns} columns")
    labels = [_wrapped(row.label) for row in given]
    indent = _LABEL if any(labels) or any(row.colour != "gray" for row in given) else 0.0
    cell = min((PAGE - indent - _GAP * (columns + 1)) / columns, _LARGEST_IN_ROW)
    heights = [
        max(aspect * cell, _LABEL_LINE * (len(lines) + (row.colour != "gray") * 2))
        for lines, row in zip(labels, given, strict=True)
    ]
    height = sum(heights) + _GAP * len(given) + (0.19 if below else _GAP)
    figure = image_figure(height)
    lefts = [indent + _GAP + column * (cell + _GAP) for column in range(columns)]
    top = _GAP
    for row, lines, room in zip(given, labels, heights, strict=True):
        _label(figure, row, lines, top + room / 2)
        for left, image in zip(lefts, row.images, strict=True):
            _show(figure, image, row, (left, top + (room - aspect * cell) / 2), (cell, aspect * cell))
        top += room + _GAP
    for left, text in zip(lefts, below, strict=False):
        words = shortened(text, max(3, int(cell * 15)))
        figure.text((left + cell / 2) / PAGE, 0.04 / height, words, ha="center", va="bottom", fontsize=7)
    return figure


@styled
def distance_histogram(
    distances: Mapping[str, NDArray[np.generic]], *, threshold: float, label: str
) -> Figure:
    """Histograms of distances in several sets, as shares of each set, with a threshold.

    Args:
        distances: [n] by name of the set; values that are not finite, and sets without any value, are left out.
        threshold: marked by a thin dashed line.
        label: of the horizontal axis.
    """
    figure, axes = column_figure(2.5)
    sets = {name: np.asarray(values, np.float64).ravel() for name, values in distances.items()}
    sets = {name: values[np.isfinite(values)] for name, values in sets.items()}
    sets = {name: values for name, values in sets.items() if values.size}
    if sets:
        edges = np.histogram_bin_edges(np.concatenate([*sets.values(), [threshold]]), _BINS)
        for index, (name, values) in enumerate(sets.items()):
            counts, _ = np.histogram(values, edges)
            axes.stairs(
                counts / values.size,
                edges,
                color=CLASS_COLOURS[index % len(CLASS_COLOURS)],
                linestyle=_DASHES[index % len(_DASHES)],
                linewidth=1.3,
                label=f"{shortened(name, 24)} (n = {values.size:,})",
            )
        axes.set_ylim(bottom=0)
    else:
        say_empty(axes)
    axes.axvline(threshold, color=FAINT, linestyle=(0, (4, 3)), linewidth=0.9, zorder=0.5)
    # Above the axes, where the text hides no bar.
    axes.annotate(
        f"threshold {threshold:.3g}",
        (threshold, 1),
        (0, 2),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7,
        color=FAINT,
    )
    axes.set_xlabel(label)
    axes.set_ylabel("Share of images per bin")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    legend_above(axes)
    return figure


@styled
def lines(
    history: Sequence[Entry],
    names: Mapping[str, str],
    *,
    side: str = "train",
    best: int | None = None,
    label: str = "Loss",
) -> Figure:
    """Several metrics of one side by epoch in one axes: the two losses of a GAN (the report's figure 49).

    Args:
        history: ``report["history"]``; values that are missing, None or NaN become gaps, metrics without a value
            are left out.
        names: the label of each metric in the legend, by its name in the history.
        side: ``train`` or ``validation``.
        best: the selected epoch, marked by a thin line.
        label: of the vertical axis, with the unit.
    """
    figure, axes = column_figure(2.3)
    epochs = [int(entry["epoch"]) for entry in history]
    for index, (metric, title) in enumerate(names.items()):
        values = series(history, side, metric)
        if not np.isfinite(values).any():
            continue
        axes.plot(
            epochs,
            values,
            color=CLASS_COLOURS[index % len(CLASS_COLOURS)],
            linestyle=_DASHES[index % len(_DASHES)],
            linewidth=line_width(len(epochs)),
            marker=_MARKERS[index % len(_MARKERS)],
            markerfacecolor="white" if index % 2 else None,
            markevery=marker_step(len(epochs)),
            label=shortened(title, 24),
        )
    if not axes.lines:
        say_empty(axes)
    axes.set_ylabel(label)
    epoch_axis(axes, epochs)
    mark_best(axes, history, best)
    legend_above(axes)
    return figure


def _measure(caller: str, row: Row) -> tuple[int, float]:
    """The number of images, and their height divided by their width."""
    images = row.images
    if images.ndim != 3 or images.size == 0 or images.dtype.kind not in "uif":
        raise ValueError(
            f"{caller} takes images [N, H, W] of numbers, not {images.dtype} {list(images.shape)}"
        )
    return len(images), images.shape[1] / images.shape[2]


def _show(
    figure: Figure, image: Images, row: Row, place: tuple[float, float], size: tuple[float, float]
) -> None:
    """An image, ``place`` inches from the left and the top of the figure."""
    width, height = figure.get_size_inches()
    (x, y), (across, down) = place, size
    axes = figure.add_axes((x / width, 1 - (y + down) / height, across / width, down / height))
    look: dict[str, Any] = {"cmap": row.colour, "vmin": 0, "vmax": row.top, "interpolation": SMOOTH}
    axes.imshow(np.asarray(image, np.float32), aspect="auto", **look)
    axes.set_axis_off()


def _wrapped(label: str) -> list[str]:
    return textwrap.wrap(" ".join(label.split()), _LABEL_CHARACTERS, max_lines=_LABEL_LINES, placeholder="…")


def _label(figure: Figure, row: Row, label: Sequence[str], middle: float) -> None:
    """A row's label, and a colour bar unless the row is gray."""
    width, height = figure.get_size_inches()
    bar = 2 * _LABEL_LINE if row.colour != "gray" else 0.0
    if label:
        place = (_GAP / width, 1 - (middle - bar / 2) / height)
        figure.text(*place, "\n".join(label), ha="left", va="center", fontsize=_SIZE, linespacing=1.15)
    if not bar:
        return
    y = middle - bar / 2 + _LABEL_LINE * len(label) / 2 + 0.06
    axes = figure.add_axes((0.14 / width, 1 - (y + 0.07) / height, 0.45 / width, 0.07 / height))
    axes.imshow(np.linspace(0, 1, 64)[None], cmap=row.colour, aspect="auto")
    axes.set_axis_off()
    beyond = "≥ " if float(np.nanmax(row.images, initial=0)) > row.top else ""
    for x, alignment, text in ((0.1, "right", "0"), (0.64, "left", f"{beyond}{row.top:.2g}")):
        figure.text(x / width, 1 - (y + 0.035) / height, text, ha=alignment, va="center", fontsize=6.5)
