"""The lines of a figure as numbers, kept in its PNG file, so that a page can show the values at a place.

Whoever draws a figure does nothing for it: labelled lines, and a line that is alone in its axes, are read from
matplotlib when the figure is rendered. What stands in a file is not trusted: :func:`checked` builds it anew.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

KEY = "pneumo:lines"
"""The keyword of the PNG text chunk."""

_COLOR = re.compile("#[0-9a-f]{6}")
_MOST_AXES, _MOST_SERIES, _MOST_POINTS, _MOST_LETTERS = 16, 12, 500, 120
LONGEST = 400_000
"""Characters of the text, so that a page stays small."""
_DIGITS = 5

_extra: WeakKeyDictionary[Line2D, tuple[str, NDArray[np.float64]]] = WeakKeyDictionary()


def add_values(line: Line2D, name: str, values: ArrayLike) -> None:
    """Show a further number at each point of a line, such as the threshold on a ROC curve.

    Args:
        values: [N], finite, one per point of the line.
    """
    _extra[line] = (name, np.asarray(values, float))


def line_data(figure: Figure) -> str:
    """The lines of a rendered figure as JSON; empty where there is none.

    A list of axes, each with ``box`` (left, bottom, width and height as shares of the figure), ``x`` and ``y``
    (``label``, ``limits``, ``log``) and ``series`` (``label``, ``color``, ``x``, ``y``, and perhaps ``more`` and
    ``values``). Only rectangular axes of numbers are read, linear or logarithmic.
    """
    found = [_of_axes(axes) for axes in figure.axes if axes.get_visible()]
    text = json.dumps([axes for axes in found if axes["series"]][:_MOST_AXES], separators=(",", ":"))
    return text if 2 < len(text) <= LONGEST else ""


def checked(text: Any) -> str:
    """The JSON of :func:`line_data`, built anew from a text that may hold anything; empty if it is not that."""
    if not isinstance(text, str) or len(text) > LONGEST:
        return ""
    try:
        found = json.loads(text)
        axes = [_read_axes(item) for item in found[:_MOST_AXES]]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError, OverflowError):
        return ""
    return json.dumps(axes, separators=(",", ":")) if axes else ""


def _of_axes(axes: Axes) -> dict[str, Any]:
    box = axes.get_position()
    # Numbers alone: no dates, no categories, and no polar or three-dimensional axes.
    known = axes.name == "rectilinear" and not (axes.xaxis.have_units() or axes.yaxis.have_units())
    known = known and {axes.get_xscale(), axes.get_yscale()} <= {"linear", "log"}
    return {
        "box": [round(part, 5) for part in (box.x0, box.y0, box.width, box.height)],
        "x": _of_axis(axes.get_xlabel(), axes.get_xlim(), axes.get_xscale()),
        "y": _of_axis(axes.get_ylabel(), axes.get_ylim(), axes.get_yscale()),
        "series": list(_of_lines(axes))[:_MOST_SERIES] if known else [],
    }


def _of_axis(label: str, limits: Sequence[float], scale: str) -> dict[str, Any]:
    return {
        "label": _shortened(label),
        "limits": [float(f"{end:.9g}") for end in limits],
        "log": scale == "log",
    }


def _of_lines(axes: Axes) -> Iterator[dict[str, Any]]:
    """The lines that show data: labelled, or alone; not those across the axes, such as that of chance."""
    from matplotlib.container import ErrorbarContainer

    names = {line: str(line.get_label()) for line in axes.lines}
    for bars in axes.containers:
        if isinstance(bars, ErrorbarContainer) and bars.lines[0] in names:
            names[bars.lines[0]] = str(bars.get_label())
    plain = [line for line in names if line.get_transform() == axes.transData and line.get_visible()]
    alone = len(plain) == 1
    for line in plain:
        named = bool(names[line]) and not names[line].startswith("_")
        x, y = (np.asarray(part, float).ravel() for part in line.get_data(orig=False))
        reference = x.size == 2 and line.get_marker() in ("None", "", " ", None)
        if not (named or (alone and x.size > 2)) or reference or x.size != y.size:
            continue
        more, values = _extra.get(line, ("", np.empty(0)))
        finite = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
        finite = finite[np.linspace(0, finite.size - 1, min(finite.size, _MOST_POINTS)).round().astype(int)]
        if finite.size:
            yield {
                "label": _shortened(names[line]) if named else "",
                "color": _hex(line.get_color()),
                "x": _rounded(x[finite]),
                "y": _rounded(y[finite]),
                **(
                    {"more": _shortened(more), "values": _rounded(values[finite])}
                    if values.size == x.size and np.isfinite(values).all()
                    else {}
                ),
            }


def _hex(color: Any) -> str:
    from matplotlib.colors import to_hex

    return to_hex(color)


def _rounded(values: NDArray[np.float64]) -> list[float]:
    return [float(f"{value:.{_DIGITS}g}") for value in values.tolist()]


def _shortened(text: str) -> str:
    """The first line."""
    return " ".join(text.partition("\n")[0].split())[:_MOST_LETTERS]


def _read_axes(item: Mapping[str, Any]) -> dict[str, Any]:
    box = _numbers(item["box"], 4)
    if len(box) != 4 or min(box[2:]) <= 0:
        raise ValueError
    series = [_read_series(each) for each in item["series"][:_MOST_SERIES]]
    return {"box": box, "x": _read_axis(item["x"]), "y": _read_axis(item["y"]), "series": series}


def _read_axis(item: Mapping[str, Any]) -> dict[str, Any]:
    first, last = _numbers(item["limits"], 2)
    log = item["log"] is True
    if first == last or (log and min(first, last) <= 0):
        raise ValueError
    return {"label": _shortened(str(item["label"])), "limits": [first, last], "log": log}


def _read_series(item: Mapping[str, Any]) -> dict[str, Any]:
    x, y = _numbers(item["x"], _MOST_POINTS), _numbers(item["y"], _MOST_POINTS)
    color = item["color"]
    if len(x) != len(y) or not x or not _COLOR.fullmatch(str(color)):
        raise ValueError
    read = {"label": _shortened(str(item["label"])), "color": color, "x": x, "y": y}
    values = _numbers(item.get("values", []), _MOST_POINTS)
    if len(values) == len(x):
        read |= {"more": _shortened(str(item["more"])), "values": values}
    return read


def _numbers(values: Sequence[Any], most: int) -> list[float]:
    if not isinstance(values, list):
        raise TypeError
    read = [float(value) for value in values[:most] if not isinstance(value, (bool, str))]
    if len(read) != len(values[:most]) or not all(map(math.isfinite, read)):
        raise ValueError
    return read
