"""The house style of figures: sizes, colours, fonts, and how a figure is saved.

Only what all figures share. What they show is in the other modules of this package.
"""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

from pneumo_cli.reports.figures.line_data import KEY, line_data
from pneumo_cli.runtime import atomic

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from numpy.typing import NDArray
    from PIL.Image import Image as Picture

COLUMN = 3.35
"""Width of a journal column in inches."""
PAGE = 7.0
"""Width of a journal page in inches."""

BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
INK, FAINT = "#222222", "#6b6b6b"

_DPI = 200
_PRINT_DPI = 300
_PRINT = {"PDF": ".pdf", "300 dpi": "-300dpi.png"}
_MOST_PIXELS = 100e6
_EFFORT = 3
"""Of zlib, 1 to 9: the default 6 takes twice the time for 5 % fewer bytes."""
_STYLE: dict[str, Any] = {
    "figure.dpi": _DPI,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "font.size": 8,
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.5,
    "text.color": INK,
    "text.parse_math": False,  # class names are data: a "$" in one starts no formula
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "legend.fontsize": 7.5,
    "legend.edgecolor": "none",
    "legend.facecolor": "white",
    "legend.handlelength": 2.4,
    "hatch.linewidth": 0.5,
}
SERIES: Mapping[str, dict[str, Any]] = {
    "train": {"color": BLUE, "linestyle": "-", "marker": "o", "label": "Training"},
    "validation": {
        "color": VERMILLION,
        "linestyle": (0, (4, 1.6)),
        "marker": "s",
        "markerfacecolor": "white",
        "label": "Validation",
    },
}
CLASS_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY)
HATCHES = ("", "////", "....", "\\\\\\\\", "xxxx", "----")

SMOOTH = "spline36"
"""Interpolation of images. A radiograph of 32 px is recognized as a chest when smoothed, as squares when not; the
files of :mod:`pneumo_cli.reports.figures.animation` show the pixels themselves."""

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in the house style, whatever the user's matplotlib settings are."""

    @functools.wraps(draw)
    def draw_styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        from matplotlib import style

        from pneumo_cli.reports.figures.layout import measure_once

        with style.context(["default", _STYLE]):
            figure = draw(*args, **kwargs)
            for axes in figure.axes:
                # Otherwise the user's font size determines the number of ticks.
                axes.tick_params(labelsize=_STYLE["font.size"])
            measure_once(figure)
            _render(figure)  # ticks take their style when first rendered; once, because rendering is slow
        return figure

    return draw_styled


def save(figure: Figure, path: Path) -> None:
    """Write a PNG at 200 dpi, atomically.

    Raises:
        OSError: the folder cannot be made or written to, or the disk is full.
    """
    write(rendered(figure), path)


def rendered(figure: Figure) -> Picture:
    """The pixels of a figure at 200 dpi, RGB, with the data of its lines. One that pyplot keeps open is closed.

    Raises:
        TypeError: it is no figure.
        ValueError: it is too large.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Drawn

    if not isinstance(figure, Drawn):
        raise TypeError(f"draw() returned {type(figure).__name__}, not a matplotlib Figure")
    try:
        width, height = figure.get_size_inches() * _DPI
        if width * height > _MOST_PIXELS:
            raise ValueError(
                f"{width:,.0f} x {height:,.0f} pixels are too many: a page is {PAGE:g} inches wide"
            )
        canvas = figure.canvas
        if figure.stale or not isinstance(
            canvas, FigureCanvasAgg
        ):  # changed, or not drawn by a styled function
            canvas = _render(figure)
        picture = _pixels(canvas)
        if lines := line_data(figure):
            picture.info[KEY] = lines
        return picture
    finally:
        if pyplot := sys.modules.get("matplotlib.pyplot"):
            pyplot.close(figure)


def write(picture: Picture, path: Path) -> None:
    """Write rendered pixels as :func:`save` does."""
    from PIL.PngImagePlugin import PngInfo

    chunks = PngInfo()
    if KEY in picture.info:
        chunks.add_text(KEY, picture.info[KEY], zip=True)
    with atomic.replace_file(path) as handle:
        picture.save(handle, format="png", dpi=(_DPI, _DPI), pnginfo=chunks, compress_level=_EFFORT)


def print_files(path: Path) -> dict[str, Path]:
    """Where the files of :func:`for_print` lie beside a figure's PNG file, by their kind."""
    return {kind: path.with_name(path.stem + ending) for kind, ending in _PRINT.items()}


def for_print(figure: Figure) -> dict[str, bytes]:
    """A figure that has been rendered as PDF, with its fonts and its text, and as PNG at 300 dpi, by kind."""
    import matplotlib

    vector, raster = io.BytesIO(), io.BytesIO()
    figure.set_layout_engine("none")  # as it was laid out
    with matplotlib.rc_context({"pdf.fonttype": 42}):
        figure.savefig(vector, format="pdf", dpi=_PRINT_DPI, metadata={"CreationDate": None})
    _pixels(_render(figure, _PRINT_DPI)).save(raster, format="png", dpi=(_PRINT_DPI, _PRINT_DPI))
    return dict(zip(_PRINT, (vector.getvalue(), raster.getvalue()), strict=True))


def _pixels(canvas: FigureCanvasAgg) -> Picture:
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")


def _render(figure: Figure, dpi: int | None = None) -> FigureCanvasAgg:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(dpi or _DPI)
    figure.set_facecolor("white")
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def column_figure(height: float) -> tuple[Figure, Axes]:
    """One axes on a figure as wide as a column, ``height`` inches high."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(COLUMN, height))
    return figure, figure.subplots()


def page_figure(height: float, columns: int = 1) -> tuple[Figure, list[Axes]]:
    """Axes beside each other on a figure as wide as a page, with one vertical axis for all."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, height))
    figure.set_layout_engine("constrained", wspace=0.06)  # so that tick labels of neighbours stay apart
    return figure, figure.subplots(1, columns, squeeze=False, sharey=True).ravel().tolist()


def image_figure(height: float) -> Figure:
    """A figure as wide as a page, ``height`` inches high, on which axes keep the exact places they are given."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, height))
    figure.set_layout_engine("none")
    return figure


def panels(count: int, margin: float) -> tuple[Figure, NDArray[np.object_]]:
    """Axes in rows of up to three on the width of a page.

    Args:
        count: at least 1.
        margin: inches of height for a legend.

    Returns:
        the figure and all its axes, flat; those beyond ``count`` are invisible.
    """
    from matplotlib.figure import Figure

    columns = min(3, count)
    rows = -(-count // columns)
    figure = Figure(figsize=(PAGE, 1.75 * rows + margin))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[count:]:
        axes.set_axis_off()
    return figure, grid


def line_labels(grid: Iterable[Axes]) -> dict[str, Artist]:
    """The labelled lines of several axes, by label."""
    lines = {str(line.get_label()): line for axes in grid for line in axes.lines}
    return {label: line for label, line in lines.items() if not label.startswith("_")}


def legend_above(axes: Axes, columns: int = 3) -> None:
    """A legend above the axes, where it covers no data.

    Args:
        columns: as many as there is room for.
    """
    figure = axes.get_figure(root=True)
    handles, labels = axes.get_legend_handles_labels()
    if figure is None or not handles:
        return
    figure.legend(
        handles,
        labels,
        loc="outside upper center",
        ncols=columns,
        fontsize=7,
        borderaxespad=0.1,
        borderpad=0.1,
        columnspacing=1.0,
        handletextpad=0.5,
        handlelength=2.2,
    )


def gray_levels(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    """An image of values from 0 to 1 as gray levels, uint8 of its shape; NaN is 0, values outside are clipped."""
    import numpy as np

    levels: NDArray[np.uint8] = np.round(np.clip(np.nan_to_num(image), 0, 1) * 255).astype(np.uint8)
    return levels


def shortened(text: str, most: int) -> str:
    """One line of at most ``most`` characters."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
