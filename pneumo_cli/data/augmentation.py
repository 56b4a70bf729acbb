"""Augmentation and normalisation of cached images, on the training device; masks and boxes move with them.

The parameters of a sample derive from (seed, epoch, index) through :mod:`pneumo_cli.data.sample_rng`, so they do
not depend on its batch or rank, nor on interruptions. torchvision's transforms draw one set of parameters per batch
from the global generator; here each sample has its own, and a batch is still one pass of tensor operations.

Images are not resized here: the decode-once cache holds them at their final size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.resizing import LUMINANCE
from pneumo_cli.data.sample_rng import uniforms
from pneumo_cli.runtime.accelerators import most_exact

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Transform(Protocol):
    """What a :class:`pneumo_cli.data.loader.Loader` applies to each batch of images.

    For datasets with masks or boxes it has a further method, which moves them as it moves the images::

        def targets(self, targets: Mapping[str, Tensor], index: Tensor, epoch: int) -> Mapping[str, Tensor]

    Masks are uint8 [B, S, S], boxes float32 [B, M, 4]. A transform that moves nothing returns ``targets``; for one
    affine map per image there is :func:`moved`.
    """

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Return the network's input.

        Args:
            images: uint8 [B, S, S] on the device of the run; of a dataset of 16 bits uint16, of one of several
                channels [B, C, S, S] (:func:`unit_levels`).
            index: int64 [B], positions in the dataset's records. The loader passes it on the CPU, where random
                numbers are generated: copying it back from an accelerator would stall it.
            epoch: the epoch of the batch.

        Returns:
            float32 [B, C, S, S] on the device of ``images``.
        """
        ...

    def display(self, images: Tensor) -> Tensor:
        """Return the gray images of a batch of this transform's outputs: float32 [B, S, S] in [0, 1]."""
        ...


def unit_levels(images: Tensor, channels: int = 0) -> Tensor:
    """Stored images as floats.

    Args:
        images: uint8 or uint16 [B, S, S], or [B, C, S, S].
        channels: that can be used, if not one; others become gray, as
            :func:`pneumo_cli.data.resizing.gray_in_8_bits` makes them. 0: as they are.

    Returns:
        float32 [B, C, S, S] in [0, 1]; C is 1 for gray images.
    """
    white = 65535 if images.dtype == torch.uint16 else 255
    levels = (images if images.ndim == 4 else images.unsqueeze(1)).float() / white
    if not channels or levels.shape[1] in (1, channels):
        return levels
    if levels.shape[1] != 3:
        return levels.mean(1, keepdim=True)
    return (levels * torch.from_numpy(LUMINANCE).to(levels).view(1, 3, 1, 1)).sum(1, keepdim=True)


class Normalization:
    """Gray levels in [0, 1] to C normalised channels, and back.

    Args:
        channels: C. A gray image is repeated, as the report does for its RGB networks (SOURCE 2); images of C
            channels stay as they are, those of another number become gray.
        mean: C numbers, subtracted per channel.
        std: C positive numbers, divided by per channel.
        standardize: first shift and scale each image to mean 0.5 and standard deviation 0.25 over its pixels, which
            removes the effect of a scanner's exposure and window.
        gray: make images of C channels gray, too.

    Attributes:
        identity: all parameters that the output depends on, for cache keys.
        kept_channels: of the images that do not become gray.

    Raises:
        ValueError: ``mean`` or ``std`` does not have C entries, or a ``std`` is not positive.
    """

    def __init__(
        self,
        channels: int,
        mean: Sequence[float],
        std: Sequence[float],
        standardize: bool = False,
        gray: bool = False,
    ) -> None:
        if len(mean) != channels or len(std) != channels:
            raise ValueError(f"{channels} channels need as many means and stds, not {len(mean)}, {len(std)}")
        if min(std) <= 0:
            raise ValueError(f"standard deviations have to be positive, not {min(std)}")
        self.kept_channels = 1 if gray else channels
        self._mean, self._std = float(mean[0]), float(std[0])
        self._standardize = standardize
        # Tuples of floats, so that a list of the same numbers gives the same identity.
        means, stds = tuple(map(float, mean)), tuple(map(float, std))
        self.identity = self._named(channels=channels, mean=means, std=stds, standardize=standardize)
        self.identity += "gray" * gray
        # (x - mean) / std as one multiplication and one addition, in one pass over the output.
        self._scale = torch.tensor([1 / s for s in std]).view(1, channels, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, channels, 1, 1)

    def normalize(self, gray: Tensor) -> Tensor:
        """Map float32 [B, 1, S, S] or [B, C, S, S] in [0, 1] to float32 [B, C, S, S]."""
        if self._scale.device != gray.device:
            self._scale, self._shift = self._scale.to(gray.device), self._shift.to(gray.device)
        if self._standardize:
            # Not torch.std_mean, which takes several times as long on a CPU.
            gray = gray - gray.mean(dim=(1, 2, 3), keepdim=True)
            std = gray.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            # A flat image has no contrast to standardize.
            gray = gray * (0.25 / std.clamp_min(0.02)) + 0.5
        return torch.addcmul(self._shift, gray, self._scale)

    def _named(self, **parameters: object) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
        return f"{type(self).__name__}({listed})"

    def display(self, images: Tensor) -> Tensor:
        """Map float [B, C, S, S] back to gray levels of the first channel: float32 [B, S, S] in [0, 1]."""
        return (images[:, 0].float() * self._std + self._mean).clamp(0, 1)


class EvaluationTransform(Normalization):
    """Normalisation only, for validation and test (SOURCE 2). A :class:`Transform`."""

    def __init__(
        self,
        *,
        channels: int = 3,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        standardize: bool = False,
        gray: bool = False,
    ) -> None:
        super().__init__(channels, mean, std, standardize, gray)

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        return self.normalize(unit_levels(images, self.kept_channels))

    def targets(self, targets: Mapping[str, Tensor], index: Tensor, epoch: int) -> Mapping[str, Tensor]:
        """Masks and boxes as they are."""
        return targets


class ReportAugmentation(Normalization):
    """The report's training augmentation (SOURCE 2), per sample. A :class:`Transform`.

    In this order: rotation about the centre by an angle uniform in [-rotation, rotation] (bilinear, black outside,
    same size); horizontal flip; brightness and contrast in random order, each clamped to [0, 1]. Factors are
    uniform in [1 - x, 1 + x]: brightness multiplies, contrast blends with the image's mean.

    Args:
        rotation: maximum angle in degrees, 0 to 180.
        flip: probability of a flip, 0 to 1.
        brightness: half width of the brightness factor's range, 0 to 1.
        contrast: half width of the contrast factor's range, 0 to 1.
        saturation: part of the report's recipe; validated, but without effect on gray images.
        seed: of the run.
        channels, mean, std, standardize: see :class:`Normalization`.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(
        self,
        *,
        seed: int,
        rotation: float = 30.0,
        flip: float = 0.5,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        channels: int = 3,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        standardize: bool = False,
    ) -> None:
        super().__init__(channels, mean, std, standardize)
        fractions = {"flip": flip, "brightness": brightness, "contrast": contrast, "saturation": saturation}
        check_range(180, rotation=rotation)
        check_range(1, **fractions)
        self.seed = seed
        self.rotation = rotation
        self.flip = flip
        self.brightness = brightness
        self.contrast = contrast
        self.identity += self._named(seed=seed, rotation=rotation, **fractions)

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        draws = uniforms(self.seed, epoch, index.cpu().numpy(), 5)
        levels = warp(unit_levels(images, self.kept_channels), self._turns(draws), None)
        return self.normalize(self.exposed(levels, draws[:, 2:5]))

    def targets(self, targets: Mapping[str, Tensor], index: Tensor, epoch: int) -> Mapping[str, Tensor]:
        """Masks and boxes, rotated and flipped as the images."""
        return moved(targets, self._turns(uniforms(self.seed, epoch, index.cpu().numpy(), 2)), None)

    def _turns(self, draws: NDArray[np.float32]) -> NDArray[np.float64]:
        """The maps of rotation and flip, by the first two draws of each image."""
        return turns((2 * draws[:, 0] - 1) * self.rotation, draws[:, 1] < self.flip)

    def exposed(self, gray: Tensor, draws: NDArray[np.float32]) -> Tensor:
        """Change brightness and contrast by three random numbers in [0, 1) per image [B, 3]."""
        brightness = 1 + (2 * draws[:, 0] - 1) * self.brightness
        contrast = 1 + (2 * draws[:, 1] - 1) * self.contrast
        brightness_first = draws[:, 2] < 0.5
        return jitter(gray, *map(torch.from_numpy, (brightness, contrast, brightness_first)))


def check_range(high: float, **values: float) -> None:
    """Raise a ValueError that names a value outside [0, ``high``], if there is one."""
    for name, value in values.items():
        if not 0 <= value <= high:
            raise ValueError(f"{name} has to be between 0 and {high}, not {value}")


def rotate_and_flip(images: Tensor, angle: Tensor, flipped: Tensor) -> Tensor:
    """Rotate each image counter-clockwise about its centre, then flip it horizontally if wanted.

    Both are one affine map per sample, so each image is interpolated once.

    Args:
        images: float [B, C, S, S].
        angle: float [B], degrees, on any device.
        flipped: bool [B], on any device.

    Returns:
        float [B, C, S, S]; bilinear, 0 outside the image.
    """
    return warp(images, turns(angle.cpu().numpy(), flipped.cpu().numpy()), None)


def turns(angle: NDArray[np.floating], flipped: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The maps of :func:`rotate_and_flip`, [4, B], see :func:`warp`."""
    radians = np.deg2rad(angle.astype(np.float64))
    side = np.where(flipped, -1.0, 1.0)
    # Maps output to input positions: flip first, then rotate back.
    return np.stack((np.cos(radians) * side, -np.sin(radians), np.sin(radians) * side, np.cos(radians)))


def moved(
    targets: Mapping[str, Tensor], rows: NDArray[np.float64], shifts: NDArray[np.float64] | None
) -> dict[str, Tensor]:
    """Move masks and boxes through an affine map per image.

    Args:
        targets: by name, masks uint8 [B, S, S] or boxes float [B, M, 4] (left, top, right, bottom, as shares).
        rows, shifts: see :func:`warp`, which moves the images.

    Returns:
        of masks the nearest pixels, 0 outside; of boxes the bounding boxes of their moved corners, cut at the edges
        of the image, NaN where nothing is left.
    """
    return {
        name: _moved_mask(values, rows, shifts)
        if values.dtype == torch.uint8
        else _moved_boxes(values, rows, shifts)
        for name, values in targets.items()
    }


def _moved_mask(mask: Tensor, rows: NDArray[np.float64], shifts: NDArray[np.float64] | None) -> Tensor:
    return warp(mask.unsqueeze(1).float(), rows, shifts, mode="nearest").squeeze(1).to(torch.uint8)


def _moved_boxes(boxes: Tensor, rows: NDArray[np.float64], shifts: NDArray[np.float64] | None) -> Tensor:
    exact = most_exact(boxes.device)
    maps = torch.from_numpy(rows.T.reshape(-1, 1, 2, 2)).to(boxes.device, exact)
    left, top, right, bottom = (2 * boxes.to(exact) - 1).unbind(-1)
    corners = torch.stack((left, right, left, right, top, top, bottom, bottom), -1).unflatten(-1, (2, 4))
    if shifts is not None:
        corners = corners - torch.from_numpy(shifts.T.reshape(-1, 1, 2, 1)).to(boxes.device, exact)
    places = (torch.linalg.inv(maps) @ corners).clamp(-1, 1)  # from input to output positions
    low, high = places.amin(-1), places.amax(-1)
    found = ((torch.cat((low, high), -1) + 1) / 2).to(boxes.dtype)
    gone = (high <= low).any(-1, keepdim=True)
    return found.masked_fill(gone, torch.nan)


def warp(
    images: Tensor,
    rows: NDArray[np.float64],
    shifts: NDArray[np.float64] | None,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Tensor:
    """Resample each image through its own affine map.

    Args:
        images: float [B, C, S, S].
        rows: [4, B], the map (xx, xy, yx, yy) from output to input positions, -1 to 1 from edge to edge.
        shifts: [2, B], added to the input position, x and y; None: nothing.
        mode: how pixels are interpolated.

    Returns:
        float [B, C, S, S]; 0 outside the image.
    """
    size = images.shape[-1]
    maps = torch.from_numpy(rows.astype(np.float32)).to(images.device, non_blocking=True).view(4, -1, 1, 1)
    # Pixel centres in the coordinates of grid_sample. Not affine_grid, a batched matrix product that takes several
    # times as long.
    centres = (torch.arange(size, device=images.device, dtype=torch.float32) * 2 + 1) / size - 1
    across, down = centres.view(1, 1, size), centres.view(1, size, 1)
    x, y = maps[0] * across, maps[2] * across
    if shifts is not None:
        # On the vectors, before they become a grid: a pass over the grid would cost as much as making it.
        moved = torch.from_numpy(shifts.astype(np.float32)).to(images.device, non_blocking=True)
        x, y = x + moved[0].view(-1, 1, 1), y + moved[1].view(-1, 1, 1)
    grid = _pairs(x, y, maps[1] * down, maps[3] * down)
    return F.grid_sample(images, grid, mode=mode, padding_mode="zeros", align_corners=False)


def _pairs(x: Tensor, y: Tensor, x_down: Tensor, y_down: Tensor) -> Tensor:
    """The points (x + x_down, y + y_down), [B, S, S, 2], of vectors [B, 1, S] and [B, S, 1]."""
    if x.device.type != "cpu":
        return torch.stack((x + x_down, y + y_down), dim=-1)
    # The same sums, of complex numbers: one pass, a sixth of the time of interleaving two grids.
    across, down = (torch.view_as_complex(torch.stack(pair, -1)) for pair in ((x, y), (x_down, y_down)))
    return torch.view_as_real(across + down)


def jitter(images: Tensor, brightness: Tensor, contrast: Tensor, brightness_first: Tensor) -> Tensor:
    """Change brightness and contrast of each image, in its own order; clamps to [0, 1] after each.

    Args:
        images: float [B, C, S, S] in [0, 1]; not changed.
        brightness: float [B], multiplies.
        contrast: float [B], blends the image with its own mean: 0 leaves the mean, 1 the image.
        brightness_first: bool [B].

    Returns:
        float [B, C, S, S] in [0, 1].
    """
    stacked = torch.stack((brightness.float(), contrast.float(), brightness_first.float()))
    brightness, contrast, first = stacked.to(images.device, non_blocking=True).view(3, -1, 1, 1, 1).unbind(0)
    # Either step is clamp(gain * x + (1 - pull) * mean(x)), where pull is 1 for brightness.
    for is_brightness in (first, 1 - first):
        gain = torch.lerp(contrast, brightness, is_brightness)
        pull = torch.lerp(contrast, torch.ones_like(contrast), is_brightness)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = torch.addcmul((1 - pull) * mean, images, gain).clamp_(0, 1)
    return images
