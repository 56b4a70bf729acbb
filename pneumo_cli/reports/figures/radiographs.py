"""Images in figures, resized by Pillow: matplotlib's own resampling takes most of the time of a gallery.

Imports matplotlib: only for functions that draw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from PIL import Image

Extent = tuple[float, float, float, float]
"""Left, right, lower and upper end in data coordinates, as ``Axes.imshow`` takes it."""


def show(axes: Axes, image: NDArray[np.uint8], extent: Extent) -> None:
    """Add an image to axes, smoothly enlarged. The limits of the axes stay as they are.

    Args:
        image: uint8 [H, W], or RGB [H, W, 3].
        extent: where it is shown; its first row is at the upper end.
    """
    axes.add_artist(_Smooth(axes, image, extent))


class _Smooth(AxesImage):
    """An image with as many pixels as the figure shows of it, at whatever resolution the figure is written."""

    def __init__(self, axes: Axes, image: NDArray[np.uint8], extent: Extent) -> None:
        super().__init__(axes, interpolation="nearest", extent=extent)
        self._original = Image.fromarray(image).convert("RGB")
        self.set_data(np.asarray(self._original))

    def make_image(self, renderer: Any, magnification: float = 1.0, unsampled: bool = False) -> Any:
        box = self.get_window_extent(renderer)
        size = (
            max(1, round(abs(box.width) * magnification)),
            max(1, round(abs(box.height) * magnification)),
        )
        resized = self._original.resize(size, Image.Resampling.LANCZOS)
        self.set_data(np.asarray(resized))
        made = super().make_image(renderer, magnification, unsampled)
        self.set_data(np.asarray(self._original))
        return made
