"""The figures of tasks that make images: galleries of what they make, and what tells how good that is.

Pure functions as in :mod:`pneumo_cli.reports.figures.training`, in the same style: galleries are as wide as a
journal's page, plots as wide as its column. Images are [N, H, W], uint8 from 0 to 255 or floating point from 0
to 1; what lies outside is shown as the nearer end. Plain files of pixels without words are written by
:mod:`pneumo_cli.reports.figures.animation`.
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
    legend_above,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Images: TypeAlias = NDArray[np.generic]

_GAP = 0.05  # inches between two images
_LABEL = 0.95  # inches of the column of labels
_LABEL_CHARACTERS = 14  # of its lines, at the size below
_LABEL_LINES = 4
_LABEL_LINE = 0.135  # inches
_SIZE = 8  # points
_LARGEST_IN_GRID, _LARGEST_IN_ROW = 1.2, 1.3  # inches of an image's side
_BINS = 40
_DASHES: tuple[Any, ...] = ("-", (0, (4, 1.6)), (0, (1, 1.2)), (0, (5, 1.4, 1, 1.4)))
_MARKERS = "os^D"


@dataclass(frozen=True)
class Row:
    """One row of :func:`labelled_rows`.

    Attributes:
        label: to its left.
        images: [k, H, W].
        colour: name of a matplotlib colour map; other than grey, a bar below the label shows its two ends.
        highest: the value at the upper end; by default 255 for integers and 1 for floating point. The lower is 0.
    """

    label: str
    images: Images
    colour: str = "gray"
    highest: float | None = None

    @property
    def top(self) -> float:
        """The value at the upper end of the colours."""
        if self.highest is not None:
            return self.highest
        return 1.0 if np.issubdtype(self.images.dtype, np.floating) else 255.0


@styled
def image_grid(images: Images, *, columns: int | None = None) -> Figure:
    """Images without words, in as square a grid as may be (the report's figures 51-53).

    Args:
        images: [N, H, W], N at least 1.
        columns: images per row; by default the root of N, rounded up.

    Raises:
        ValueError: there is no image, or the shape is another.
    """
    from matplotlib.figure import Figure

    row = Row("", np.asarray(images))
    count, tall = _measure("image_grid", row)
    columns = max(1, min(columns or math.ceil(math.sqrt(count)), count))
    rows = -(-count // columns)
    cell = min((PAGE - _GAP * (columns + 1)) / columns, _LARGEST_IN_GRID)
    left = (PAGE - columns * cell - (columns - 1) * _GAP) / 2
    figure = Figure(figsize=(PAGE, rows * (tall * cell + _GAP) + _GAP))
    figure.set_layout_engine("none")  # the places are exact: nothing is to be moved
    for index, image in enumerate(row.images):
        down, across = divmod(index, columns)
        place = (left + across * (cell + _GAP), _GAP + down * (tall * cell + _GAP))
        _show(figure, image, row, place, (cell, tall * cell))
    return figure


@styled
def labelled_rows(rows: Sequence[Row | tuple[str, Images]], *, below: Sequence[str] = ()) -> Figure:
    """Rows of images, named at the left: originals above what was made of them (the report's figure 44).

    Args:
        rows: at least one; a pair of label and images is a grey :class:`Row`. All have the same number of images of
            the same shape.
        below: a text below each column, or nothing.

    Raises:
        ValueError: there is no image, the rows do not fit together, or there are not as many texts as columns.
    """
    from matplotlib.figure import Figure

    given = [row if isinstance(row, Row) else Row(row[0], np.asarray(row[1])) for row in rows]
    found = {_measure("labelled_rows", row) for row in given}
    if len(found) != 1:
        shapes = ", ".join(str(list(row.images.shape)) for row in given) or "none"
        raise ValueError(f"labelled_rows takes rows of equally many images of one shape, not {shapes}")
    ((columns, tall),) = found
    if below and len(below) != columns:
        raise ValueError(f"{len(below)} texts below {columns} columns")
    labels = [_wrapped(row.label) for row in given]
    indent = _LABEL if any(labels) or any(row.colour != "gray" for row in given) else 0.0
    cell = min((PAGE - indent - _GAP * (columns + 1)) / columns, _LARGEST_IN_ROW)
    heights = [
        max(tall * cell, _LABEL_LINE * (len(lines) + (row.colour != "gray") * 2))
        for lines, row in zip(labels, given, strict=True)
    ]
    foot = 0.19 if below else _GAP
    height = sum(heights) + _GAP * len(given) + foot
    figure = Figure(figsize=(PAGE, height))
    figure.set_layout_engine("none")
    top = _GAP
    for row, lines, room in zip(given, labels, heights, strict=True):
        _label(figure, row, lines, top + room / 2)
        for column, image in enumerate(row.images):
            place = (indent + _GAP + column * (cell + _GAP), top + (room - tall * cell) / 2)
            _show(figure, image, row, place, (cell, tall * cell))
        top += room + _GAP
    for column, text in enumerate(below):
        middle = indent + _GAP + column * (cell + _GAP) + cell / 2
        words = shortened(text, max(3, int(cell * 15)))
        figure.text(middle / PAGE, 0.04 / height, words, ha="center", va="bottom", fontsize=7)
    return figure


@styled
def distance_histogram(
    distances: Mapping[str, NDArray[np.generic]], *, threshold: float, label: str
) -> Figure:
    """How distances are distributed in several sets, as shares of each, with a threshold to hold them against.

    Args:
        distances: [n] by name of the set; values that are not finite are left out, and so is a set without any.
        threshold: where a thin dashed line is drawn.
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
    # Above the axes: wherever the threshold lies, its text hides no bar.
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
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
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
    """Several metrics of one side over the epochs in one axes: a GAN's two losses (the report's figure 49).

    Args:
        history: ``report["history"]``; a value that is missing, None or NaN becomes a gap, a metric without any is
            left out.
        names: the title of each metric in the legend, by its name in the history.
        side: ``train`` or ``validation``.
        best: the epoch whose checkpoint was kept, marked by a thin line.
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


def _measure(who: str, row: Row) -> tuple[int, float]:
    """Number of images, and height over width of one."""
    images = row.images
    if images.ndim != 3 or images.size == 0 or images.dtype.kind not in "uif":
        raise ValueError(f"{who} takes images [N, H, W] of numbers, not {images.dtype} {list(images.shape)}")
    return len(images), images.shape[1] / images.shape[2]


def _show(
    figure: Figure, image: Images, row: Row, place: tuple[float, float], size: tuple[float, float]
) -> None:
    """An image, ``place`` inches from the left and the top of the figure."""
    width, height = figure.get_size_inches()
    (x, y), (across, down) = place, size
    axes = figure.add_axes((x / width, 1 - (y + down) / height, across / width, down / height))
    axes.imshow(
        np.asarray(image, np.float32),
        cmap=row.colour,
        vmin=0,
        vmax=row.top,
        interpolation=SMOOTH,
        aspect="auto",
    )
    axes.set_axis_off()


def _wrapped(label: str) -> list[str]:
    return textwrap.wrap(" ".join(label.split()), _LABEL_CHARACTERS, max_lines=_LABEL_LINES, placeholder="…")


def _label(figure: Figure, row: Row, label: Sequence[str], middle: float) -> None:
    """A row's label, and the ends of its colours where they are not black and white."""
    width, height = figure.get_size_inches()
    bar = 2 * _LABEL_LINE if row.colour != "gray" else 0.0
    if label:
        figure.text(
            _GAP / width,
            1 - (middle - bar / 2) / height,
            "\n".join(label),
            ha="left",
            va="center",
            fontsize=_SIZE,
            linespacing=1.15,
        )
    if not bar:
        return
    y = middle - bar / 2 + _LABEL_LINE * len(label) / 2 + 0.06
    axes = figure.add_axes((0.14 / width, 1 - (y + 0.07) / height, 0.45 / width, 0.07 / height))
    axes.imshow(np.linspace(0, 1, 64)[None], cmap=row.colour, aspect="auto")
    axes.set_axis_off()
    for x, alignment, text in ((0.1, "right", "0"), (0.64, "left", f"{row.top:.3g}")):
        figure.text(x / width, 1 - (y + 0.035) / height, text, ha=alignment, va="center", fontsize=6.5)
