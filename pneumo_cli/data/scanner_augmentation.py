"""Augmentation that models another scanner: how it is collimated and positioned, exposed, windowed, and how sharp.

A network that has only seen one hospital's films takes their borders and their grey levels for signs of disease.
Like all augmentation here: parameters per sample from (seed, epoch, index), a whole batch as tensor operations.
Noise, compression and the detector's resolution are not modelled.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.augmentation import ReportAugmentation, warp
from pneumo_cli.data.sample_rng import uniforms

_ASPECT = 0.25  # stretch of width against height, as a share of the change of scale
_BLACK = 0.7  # share of the images with borders whose borders are black; the others have any grey level
_BLUR_AT = 224  # the image size that sigma is stated for


class ScannerAugmentation(ReportAugmentation):
    """The report's augmentation and, in this order, what changes between scanners. A :class:`Transform`.

    Scale and shift join rotation and flip in one affine map, so each image is interpolated once. Then the focus
    (blur), gamma, brightness and contrast, and last the borders of a collimator.

    With every strength 0, the output is that of :class:`~pneumo_cli.data.augmentation.EvaluationTransform` to
    the bit.

    Args:
        zoom: z in [0, 0.9): the scale is uniform in its logarithm between 1 - z and 1 / (1 - z); above 1 the image
            is cropped. Width is multiplied and height divided by a stretch of its own, uniform in its logarithm
            over a quarter of that range.
        shift: largest translation along each axis, as a share of the unscaled image's side, 0 to 0.5; uniform.
        gamma: g >= 0, finite: grey levels are raised to a power whose logarithm is uniform in [-g, g]. Black and
            white stay.
        border: largest width of a border as a share of the side, 0 to 0.5; each side has one with probability
            1/2. All borders of an image are black (70 %) or of one random grey level.
        blur: largest sigma of a Gaussian, finite, in pixels of an image of 224 px; scaled with the image size,
            uniform from 0.
        seed, report: see :class:`~pneumo_cli.data.augmentation.ReportAugmentation`.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        *,
        seed: int,
        zoom: float = 0.0,
        shift: float = 0.0,
        gamma: float = 0.0,
        border: float = 0.0,
        blur: float = 0.0,
        **report: Any,
    ) -> None:
        super().__init__(seed=seed, **report)
        if not 0 <= zoom < 0.9:
            raise ValueError(f"zoom has to be at least 0 and below 0.9, not {zoom}")
        for name, value in {"shift": shift, "border": border}.items():
            if not 0 <= value <= 0.5:
                raise ValueError(f"{name} has to be between 0 and 0.5, not {value}")
        for name, value in {"gamma": gamma, "blur": blur}.items():
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} has to be at least 0 and finite, not {value}")
        self.zoom, self.shift, self.gamma, self.border, self.blur = zoom, shift, gamma, border, blur
        self.identity += self._named(zoom=zoom, shift=shift, gamma=gamma, border=border, blur=blur)

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        draws = uniforms(self.seed, epoch, index.cpu().numpy(), 21)
        grey = images.unsqueeze(1).float() / 255
        grey = self._positioned(grey, draws[:, 0:2], draws[:, 5:9])
        if self.blur:
            largest = self.blur * images.shape[-1] / _BLUR_AT
            grey = blurred(grey, draws[:, 9] * largest, largest)
        if self.gamma:
            power = torch.from_numpy(np.exp((2 * draws[:, 10] - 1) * self.gamma)).to(grey)
            # A third of the time of grey ** power; black, whose logarithm is minus infinity, comes back as 0.
            grey = grey.clamp_min(0).log_().mul_(power.view(-1, 1, 1, 1)).exp_()
        grey = self.exposed(grey, draws[:, 2:5])
        if self.border:
            grey = self._collimated(grey, draws[:, 11:21])
        return self.normalize(grey)

    def _positioned(self, grey: Tensor, turn: NDArray[np.float32], place: NDArray[np.float32]) -> Tensor:
        """Rotate, mirror, scale and shift."""
        if not (self.rotation or self.flip or self.zoom or self.shift):
            return grey  # even the identity map would interpolate, and round
        moves = 2 * place.astype(np.float64) - 1
        radians = np.deg2rad((2 * turn[:, 0].astype(np.float64) - 1) * self.rotation)
        side = np.where(turn[:, 1] < self.flip, -1.0, 1.0)
        widest = -np.log1p(-self.zoom)
        scale, aspect = moves[:, 0] * widest, moves[:, 1] * widest * _ASPECT
        across, down = np.exp(-(scale + aspect)), np.exp(-(scale - aspect))
        cos, sin = np.cos(radians), np.sin(radians)
        rows = np.stack((cos * side * across, -sin * down, sin * side * across, cos * down))
        return warp(grey, rows, 2 * self.shift * moves[:, 2:4].T)

    def _collimated(self, grey: Tensor, draws: NDArray[np.float32]) -> Tensor:
        """Cover the sides; the ten draws are: presence and width of each side, grey level, how black."""
        size = grey.shape[-1]
        widths = np.where(draws[:, 0:4] < 0.5, draws[:, 4:8] * self.border * size, 0.0)
        level = np.where(draws[:, 9] < _BLACK, 0.0, draws[:, 8])
        left, right, top, bottom = (
            torch.from_numpy(widths[:, n].round()).to(grey).view(-1, 1, 1, 1) for n in range(4)
        )
        pixels = torch.arange(size, device=grey.device)
        column, row = pixels.view(1, 1, 1, size), pixels.view(1, 1, size, 1)
        covered = ((column < left) | (column >= size - right)) | ((row < top) | (row >= size - bottom))
        return torch.where(covered, torch.from_numpy(level).to(grey).view(-1, 1, 1, 1), grey)


def blurred(images: Tensor, sigma: NDArray[np.floating], largest: float) -> Tensor:
    """Blur each image with a Gaussian of its own sigma, the outermost pixels repeated beyond the edges.

    A separable kernel per image, as two grouped convolutions over the batch.

    Args:
        images: float [B, 1, S, S].
        sigma: [B], in pixels of these images; below 0.1 nothing is blurred.
        largest: no sigma is above it. All kernels end at 2.5 times this, or at half the image.

    Returns:
        float [B, 1, S, S].
    """
    size = images.shape[-1]
    radius = max(1, min(int(np.ceil(2.5 * largest)), size // 2 - 1))
    offsets = np.arange(-radius, radius + 1)
    kernels = np.exp(-(offsets**2) / (2 * np.maximum(sigma, 0.1)[:, None] ** 2))
    kernels[kernels < 1e-9] = 0  # denormal weights would make the convolution several times slower
    kernels /= kernels.sum(axis=1, keepdims=True)
    weights = torch.from_numpy(kernels).to(images)
    batch = len(images)
    as_channels = images.view(1, batch, size, size)
    rows = F.conv2d(
        F.pad(as_channels, (radius, radius, 0, 0), mode="replicate"),
        weights.view(batch, 1, 1, -1),
        groups=batch,
    )
    both = F.conv2d(
        F.pad(rows, (0, 0, radius, radius), mode="replicate"), weights.view(batch, 1, -1, 1), groups=batch
    )
    return both.view(batch, 1, size, size)
