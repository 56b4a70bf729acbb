"""Figures of saliency maps (:mod:`pneumo_cli.evaluation.grad_cam`) over their radiographs.

The colour map is plasma, which is perceptually uniform and readable with colour blindness. Maps are transparent
where they are weak, so the radiograph stays visible and a map without evidence shows no colour. Pure
functions, except :func:`write_overlay`.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.reports.figures.style import FAINT, INK, PAGE, gray_levels, image_figure, shortened, styled
from pneumo_cli.runtime import atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = "plasma"
_OPACITY = 0.6  # at the maximum of a map: the ribs below can still be counted

_GAP, _BETWEEN = 0.05, 0.12  # inches: between images, and between rows
_LABEL = 0.95  # inches of the column of labels
_TITLE, _FOOT = 0.15, 0.2
_LARGEST = 1.2  # inches of an image's side
_NAME_LINES, _NAME_LINE = 2, 0.1  # inches


@dataclass(frozen=True)
class CaseRow:
    """Cases in one row.

    Attributes:
        label: to their left.
        cases: their positions among the images.
    """

    label: str
    cases: tuple[int, ...]


def most_confident(
    logits: NDArray[np.generic],
    labels: NDArray[np.generic],
    classes: Sequence[str],
    *,
    logit_threshold: float = 0.0,
    most: int = 6,
    outcomes: Sequence[bool] = (True, False),
) -> tuple[CaseRow, ...]:
    """The most confident correct and wrong predictions of each class.

    Args:
        logits: of class 1, [N].
        labels: [N] of 0 and 1.
        classes: names of class 0 and class 1.
        logit_threshold: an image with at least this logit is predicted as class 1.
        most: cases per row; the most confident come first.
        outcomes: True for the correct ones, False for the wrong ones.

    Returns:
        the rows correct and wrong of class 0, then those of class 1; a row without cases is left out.
    """
    scores = np.asarray(logits, np.float64)
    truth = np.asarray(labels)
    predicted = scores >= logit_threshold
    order = np.argsort(-np.abs(scores - logit_threshold), kind="stable")
    rows = []
    for label, name in enumerate(classes[:2]):
        for correct in outcomes:
            wanted = (truth == label) & ((predicted == bool(label)) == correct)
            cases = tuple(int(case) for case in order[wanted[order]][:most])
            outcome = "correct" if correct else f"predicted {classes[1 - label]}"
            if cases:
                rows.append(CaseRow(f"{name}, {outcome}", cases))
    return tuple(rows)


@styled
def explained_cases(
    images: NDArray[np.generic],
    maps: NDArray[np.generic] | None,
    titles: Sequence[str],
    rows: Sequence[CaseRow] = (),
    names: Sequence[str] = (),
) -> Figure:
    """Radiographs, each above a copy with its map overlaid.

    Args:
        images: [N, S, S], 0 black to 1 white.
        maps: [N, S, S], 0 no evidence to 1 the most evidence in the image; None: there are none, and each image is
            shown once.
        titles: N short texts above the cases; about 18 characters fit with six in a row.
        rows: the cases of each row; by default all images in rows of six without labels.
        names: N texts below the cases, which may be long, or none.

    Raises:
        ValueError: there is no image, the shapes do not fit, or a row has a position beyond the images.
    """
    images = np.asarray(images, np.float32)
    shape = images.shape if maps is None else np.shape(maps)
    if images.ndim != 3 or len(images) == 0 or images.shape != shape or len(images) != len(titles):
        raise ValueError(
            f"explained_cases takes images and maps [N, S, S] and N titles, not {list(images.shape)}, "
            f"{list(shape)}, {len(titles)}"
        )
    if names and len(names) != len(images):
        raise ValueError(f"{len(names)} names of {len(images)} images")
    given = [row for row in rows if row.cases] or _unlabelled(len(images))
    if any(not 0 <= case < len(images) for row in given for case in row.cases):
        raise ValueError(f"a row names a case that is not among the {len(images)} images")
    columns = max(len(row.cases) for row in given)
    indent = _LABEL if any(row.label for row in given) else 0.0
    cell = min((PAGE - indent - _GAP * (columns + 1)) / columns, _LARGEST)
    tall = cell * images.shape[1] / images.shape[2]
    block = tall if maps is None else 2 * tall + _GAP
    below = _NAME_LINES * _NAME_LINE if names else 0.0
    step = _TITLE + block + below + _BETWEEN
    height = _GAP + step * len(given) + (0.0 if maps is None else _FOOT)
    figure = image_figure(height)
    # One axes, in inches from the upper left corner: dozens of axes take seconds.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for place, row in enumerate(given):
        top = _GAP + place * step + _TITLE
        axes.text(_GAP, top + block / 2, _lines(row.label), va="center", fontsize=8, linespacing=1.2)
        for column, case in enumerate(row.cases):
            left = indent + _GAP + column * (cell + _GAP)
            title = shortened(titles[case], max(3, int(cell * 18)))
            axes.text(left + cell / 2, top - 0.03, title, ha="center", va="bottom", fontsize=6.5, color=FAINT)
            image = gray_levels(images[case])
            _show(axes, image, (left, top), (cell, tall))
            if maps is not None:
                _show(axes, overlay(image, maps[case]), (left, top + tall + _GAP), (cell, tall))
            if names:
                text = _name(names[case], int(cell * 23))
                look: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 5.5, "linespacing": 1.1}
                axes.text(left + cell / 2, top + block + 0.02, text, color=INK, **look)
    if maps is not None:
        _explain_colours(axes, indent + _GAP, height - _FOOT / 2)
    axes.set(xlim=(0, PAGE), ylim=(height, 0))
    return figure


def overlay(image: NDArray[np.uint8], saliency: NDArray[np.generic]) -> NDArray[np.uint8]:
    """A radiograph with a map over it, at the size of the radiograph.

    Args:
        image: uint8 [H, W], of any aspect ratio.
        saliency: [S, T], 0 to 1, of the same image resized to that shape; values outside are clipped, NaN is 0.

    Returns:
        uint8 [H, W, 3]; gray where the map is 0.

    Raises:
        ValueError: an argument has another shape or type.
    """
    from matplotlib import colormaps
    from PIL import Image

    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise ValueError(f"overlay takes an image uint8 [H, W], not {image.dtype} {list(image.shape)}")
    if saliency.ndim != 2 or saliency.size == 0:
        raise ValueError(f"overlay takes a map [S, S], not {list(saliency.shape)}")
    strength = np.clip(np.nan_to_num(np.asarray(saliency, np.float32), nan=0.0), 0, 1)
    if strength.shape != image.shape:
        height, width = image.shape
        enlarged = Image.fromarray(strength).resize((width, height), Image.Resampling.BILINEAR)
        strength = np.clip(np.asarray(enlarged, np.float32), 0, 1)
    # A table of 256 colours saves the memory of a floating-point lookup for large radiographs.
    table = np.asarray(colormaps[COLOURS](np.arange(256)), np.float32)[:, :3] * 255
    level = np.round(strength * 255).astype(np.uint8)
    alpha = _alpha(strength)[..., None]
    blended = image[..., None] * (1 - alpha) + table[level] * alpha
    return np.round(blended).astype(np.uint8)


def write_overlay(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write an overlay, uint8 [H, W, 3], as a PNG, atomically.

    Raises:
        OSError: the folder cannot be made or written to, or the disk is full.
    """
    from PIL import Image

    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    atomic.write_bytes(path, data.getvalue())


def _alpha(strength: NDArray[np.float32]) -> NDArray[np.float32]:
    """The opacity of a map; superlinear, because weak values would tint black backgrounds."""
    return np.asarray(_OPACITY * strength**1.5, np.float32)


def _show(
    axes: Axes, picture: NDArray[np.uint8], place: tuple[float, float], size: tuple[float, float]
) -> None:
    from pneumo_cli.reports.figures.radiographs import show

    (left, top), (across, down) = place, size
    extent = (left, left + across, top + down, top)
    show(axes, picture, extent)


def _explain_colours(axes: Axes, left: float, middle: float) -> None:
    """A colour bar from no evidence to the most, over a medium gray as in a radiograph."""
    steps = np.linspace(0, 1, 64, dtype=np.float32)[None]
    bar = overlay(np.full((1, 64), 128, np.uint8), steps)
    axes.text(left, middle, "No evidence", va="center", fontsize=7)
    _show(axes, bar, (left + 0.68, middle - 0.05), (1.2, 0.1))
    axes.text(left + 1.95, middle, "Most in the image", va="center", fontsize=7)


def _name(name: str, most: int) -> str:
    """The last part of a path in lines of at most ``most`` characters, broken after ``-`` or ``_``."""
    text = shortened(name.rpartition("/")[2], _NAME_LINES * most)
    lines: list[str] = []
    while len(text) > most and len(lines) < _NAME_LINES - 1:
        end = max(text.rfind(mark, most // 2, most) for mark in "-_") + 1 or most
        lines.append(text[:end])
        text = text[end:]
    return "\n".join([*lines, shortened(text, most)])


def _unlabelled(count: int, columns: int = 6) -> list[CaseRow]:
    starts = range(0, count, columns)
    return [CaseRow("", tuple(range(start, min(start + columns, count)))) for start in starts]


def _lines(label: str) -> str:
    return "\n".join(textwrap.wrap(" ".join(label.split()), 14, max_lines=5, placeholder="…"))
