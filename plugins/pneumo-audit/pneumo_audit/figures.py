"""The figures of an audit: pairs of images, the order of patients, and the shift.

Pure functions in the style of :mod:`pneumo_cli.reports.figures.training`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumo_audit.distribution_shift import Shift
from pneumo_audit.patient_blocks import Blocks
from pneumo_cli.reports.figures.style import (
    BLUE,
    COLUMN,
    FAINT,
    PAGE,
    SMOOTH,
    VERMILLION,
    column_figure,
    legend_above,
    shortened,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_GAP = 0.05  # inches
_TITLE = 0.2


@styled
def side_by_side(images: Sequence[NDArray[np.uint8]], titles: Sequence[str]) -> Figure:
    """Two images, uint8 [S, S] each, each with a title, on the width of a column."""
    from matplotlib.figure import Figure

    side = (COLUMN - _GAP) / 2
    height = side + _TITLE
    figure = Figure(figsize=(COLUMN, height))
    figure.set_layout_engine("none")  # keeps the exact positions
    for number, (image, title) in enumerate(zip(images, titles, strict=True)):
        axes = figure.add_axes((number * (side + _GAP) / COLUMN, 0, side / COLUMN, side / height))
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation=SMOOTH, aspect="auto")
        axes.set_axis_off()
        axes.set_title(shortened(title, 24), fontsize=8, pad=3)
    return figure


@styled
def patient_order(blocks: Sequence[Blocks]) -> Figure:
    """A line for each patient in the order of patient numbers, coloured if the patient is in the split.

    Args:
        blocks: at least one; a row each, on the width of a page.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 0.55 * len(blocks) + 0.35))
    rows = figure.subplots(len(blocks), 1, squeeze=False)[:, 0]
    for axes, row in zip(rows, blocks, strict=True):
        axes.imshow(
            row.order[None, :],
            cmap=ListedColormap(["#E8E8E8", VERMILLION if row.split == "test" else BLUE]),
            vmin=0,
            vmax=1,
            aspect="auto",
            interpolation="nearest" if len(row.order) < 1000 else "antialiased",
            interpolation_stage="rgba",
        )
        axes.set_yticks([0], [f"{row.split}\n{shortened(row.title, 14)}"])
        axes.set_xticks([])
        axes.tick_params(length=0)
        axes.grid(False)
        axes.spines[:].set_visible(False)
    rows[-1].set_xlabel("Patients in the order of their numbers")
    return figure


@styled
def shift_card(cards: Sequence[Shift]) -> Figure:
    """The AUC of test against training images, and the range of random halves, a row for each class."""
    figure, axes = column_figure(0.5 * len(cards) + 0.9)
    places = np.arange(len(cards))[::-1]
    for number, (place, card) in enumerate(zip(places, cards, strict=True)):
        axes.plot(
            [min(card.halves), max(card.halves)],
            [place, place],
            color=FAINT,
            linewidth=5,
            alpha=0.45,
            solid_capstyle="butt",
            label="Random halves, range" if number == 0 else None,
        )
        axes.plot(
            [card.auc],
            [place],
            color=VERMILLION,
            marker="D",
            markersize=5,
            linestyle="none",
            label="Test against training" if number == 0 else None,
        )
    axes.axvline(0.5, color=FAINT, linestyle=":", linewidth=1)
    axes.set_xlim(0.35, 1.01)
    axes.set_ylim(-0.6, len(cards) - 0.4)
    axes.set_yticks(places, [shortened(card.title, 16) for card in cards])
    axes.set_xlabel("AUC (0.5: indistinguishable)")
    axes.grid(False, axis="y")
    legend_above(axes)
    return figure
