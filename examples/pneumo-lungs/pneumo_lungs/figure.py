"""The figure of masks over images. Imports matplotlib only when it is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4


def outlines(
    images: np.ndarray[Any, Any],
    stated: np.ndarray[Any, Any],
    predicted: np.ndarray[Any, Any],
    dice: np.ndarray[Any, Any],
) -> Figure:
    """Images uint8 [N, S, S] with the outlines of two masks each, bool [N, S, S], and their coefficients [N]."""
    from matplotlib.figure import Figure

    rows = -(-len(images) // _COLUMNS)
    figure = Figure(figsize=(2 * _COLUMNS, 2.2 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, true, found, value in zip(grid.flat, images, stated, predicted, dice, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        for mask, color in ((true, "gold"), (found, "red")):
            if mask.any() and not mask.all():
                axes.contour(mask, [0.5], colors=color, linewidths=0.8)
        axes.set_title(f"{value:.3f}", fontsize=8)
    return figure
