"""Augmentation that models another scanner: collimation, positioning, exposure, window and sharpness.

A network trained on images of one hospital takes their borders and gray levels for signs of disease. As for all
augmentation, the parameters of a sample derive from (seed, epoch, index), and a batch is one pass of tensor
operations. Noise, compression and the detector's resolution are not modelled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.augmentation import ReportAugmentation, check_range, moved, turns, unit_levels, warp
from pneumo_cli.data.sample_rng import uniforms

_ASPECT = 0.25  # stretch of width against height, relative to the change of scale
_BLACK = 0.7  # share of bordered images whose borders are black; those of the others have a random gray level
_BLUR_AT = 224  # the image size in pixels that sigma refers to


class ScannerAugmentation(ReportAugmentation):
    """The report's augmentation and what differs between scanners. A :class:`Transform`.

    Scale and shift join rotation and flip in one affine map, so each image is interpolated once. Then, in this
    order: blur, gamma, brightness and contrast, collimation borders.

    With every strength 0, the output equals that of :class:`~pneumo_cli.data.augmentation.EvaluationTransform` to
    the bit.

    Args:
        zoom: z in [0, 0.9): the scale is log-uniform between 1 - z and 1 / (1 - z); above 1 the image is cropped.
            Width is multiplied and height divided by a stretch, log-uniform over a quarter of that range.
        shift: maximum translation along each axis, as a share of the unscaled image's side, 0 to 0.5; uniform.
        gamma: g >= 0, finite: gray levels are raised to a power that is log-uniform with logarithm in [-g, g].
            Black and white do not change.
        border: maximum width of a border, as a share of the side, 0 to 0.5; each side has one with probability 1/2.
            All borders of an image are black (70 %) or of one random gray level.
        blur: maximum sigma of the Gaussian, finite, in pixels at an image size of 224 px; scales with the image
            size, uniform from 0.
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
        check_range(0.5, shift=shift, border=border)
        for name, value, limit in (("zoom", zoom, 0.9), ("gamma", gamma, np.inf), ("blur", blur, np.inf)):
            if not 0 <= value < limit:
                raise ValueError(f"{name} has to be at least 0 and below {limit}, not {value}")
        self.zoom, self.shift, self.gamma, self.border, self.blur = zoom, shift, gamma, border, blur
        self.identity += self._named(zoom=zoom, shift=shift, gamma=gamma, border=border, blur=blur)

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        draws = uniforms(self.seed, epoch, index.cpu().numpy(), 21)
        gray = unit_levels(images, self.kept_channels)
        if place := self._place(draws):
            gray = warp(gray, *place)
        if self.blur:
            largest = self.blur * images.shape[-1] / _BLUR_AT
            gray = blurred(gray, draws[:, 9] * largest, largest)
        if self.gamma:
            power = torch.from_numpy(np.exp((2 * draws[:, 10] - 1) * self.gamma)).to(gray, non_blocking=True)
            # A third of the time of gray ** power; black, with logarithm minus infinity, becomes 0 again.
            gray = gray.clamp_min(0).log_().mul_(power.view(-1, 1, 1, 1)).exp_()
        gray = self.exposed(gray, draws[:, 2:5])
        if self.border:
            gray = self._collimated(gray, draws[:, 11:21])
        return self.normalize(gray)

    def targets(self, targets: Mapping[str, Tensor], index: Tensor, epoch: int) -> Mapping[str, Tensor]:
        """Masks and boxes, moved as the images; borders cover none of them."""
        place = self._place(uniforms(self.seed, epoch, index.cpu().numpy(), 9))
        return moved(targets, *place) if place else targets

    def _place(self, draws: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
        """The maps and shifts of rotation, flip, scale and shift (:func:`warp`); None: of nothing.

        The draws used are: 0 angle, 1 flip, 5 scale, 6 stretch, 7 and 8 shift along x and y.
        """
        if not (self.rotation or self.flip or self.zoom or self.shift):
            return None  # even the identity map would interpolate, and round
        centred = 2 * draws[:, 5:9].astype(np.float64) - 1
        widest = -np.log1p(-self.zoom)
        scale, aspect = centred[:, 0] * widest, centred[:, 1] * widest * _ASPECT
        across, down = np.exp(-(scale + aspect)), np.exp(-(scale - aspect))
        rows = turns((2 * draws[:, 0].astype(np.float64) - 1) * self.rotation, draws[:, 1] < self.flip)
        return rows * np.stack((across, down, across, down)), 2 * self.shift * centred[:, 2:4].T

    def _collimated(self, gray: Tensor, draws: NDArray[np.float32]) -> Tensor:
        """Cover the sides; the ten draws are: presence and width of each border, gray level, black or not."""
        size = gray.shape[-1]
        widths = np.where(draws[:, 0:4] < 0.5, draws[:, 4:8] * self.border * size, 0.0)
        level = np.where(draws[:, 9] < _BLACK, 0.0, draws[:, 8])
        left, right, top, bottom = (
            torch.from_numpy(widths[:, n].round()).to(gray, non_blocking=True).view(-1, 1, 1, 1)
            for n in range(4)
        )
        pixels = torch.arange(size, device=gray.device)
        column, row = pixels.view(1, 1, 1, size), pixels.view(1, 1, size, 1)
        covered = ((column < left) | (column >= size - right)) | ((row < top) | (row >= size - bottom))
        levels = torch.from_numpy(level).to(gray, non_blocking=True).view(-1, 1, 1, 1)
        return torch.where(covered, levels, gray)


def blurred(images: Tensor, sigma: NDArray[np.floating], largest: float) -> Tensor:
    """Blur each image with its own Gaussian; edge pixels are repeated beyond the edges.

    One separable kernel per image, as two grouped convolutions over the batch.

    Args:
        images: float [B, C, S, S].
        sigma: [B], in pixels of these images; no blur below 0.1.
        largest: upper bound of sigma. Kernels are cut off at 2.5 times this, or at half the image.

    Returns:
        float [B, C, S, S].
    """
    size, channels = images.shape[-1], images.shape[1]
    radius = max(1, min(int(np.ceil(2.5 * largest)), size // 2 - 1))
    offsets = np.arange(-radius, radius + 1)
    kernels = np.exp(-(offsets**2) / (2 * np.maximum(sigma, 0.1)[:, None] ** 2))
    kernels[kernels < 1e-9] = 0  # denormal weights make the convolution several times slower
    kernels /= kernels.sum(axis=1, keepdims=True)
    weights = torch.from_numpy(kernels).to(images, non_blocking=True).repeat_interleave(channels, dim=0)
    planes = len(images) * channels
    blurry = images.reshape(1, planes, size, size)
    for padding, shape in (((radius, radius, 0, 0), (1, -1)), ((0, 0, radius, radius), (-1, 1))):
        padded = F.pad(blurry, padding, mode="replicate")
        blurry = F.conv2d(padded, weights.view(planes, 1, *shape), groups=planes)
    return blurry.view(images.shape)
