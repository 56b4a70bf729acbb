"""Augmentation and normalisation of cached gray images, on the training device.

The parameters of a sample derive from (seed, epoch, index) through :mod:`pneumo_cli.data.sample_rng`, so they do
not depend on its batch or rank, nor on interruptions. torchvision's transforms draw one set of parameters per batch
from the global generator; here each sample has its own, and a batch is still one pass of tensor operations.

Images are not resized here: the decode-once cache holds them at their final size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.data.sample_rng import uniforms

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Transform(Protocol):
    """What a :class:`pneumo_cli.data.loader.Loader` applies to each batch of images."""

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Return the network's input.

        Args:
            images: uint8 [B, S, S] on the device of the run.
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


class Normalization:
    """Gray levels in [0, 1] to C normalised channels, and back.

    Args:
        channels: C. The gray image is repeated, as the report does for its RGB networks (SOURCE 2).
        mean: C numbers, subtracted per channel.
        std: C positive numbers, divided by per channel.
        standardize: first shift and scale each image to mean 0.5 and standard deviation 0.25 over its pixels, which
            removes the effect of a scanner's exposure and window.

    Attributes:
        identity: all parameters that the output depends on, for cache keys.

    Raises:
        ValueError: ``mean`` or ``std`` does not have C entries, or a ``std`` is not positive.
    """

    def __init__(
        self, channels: int, mean: Sequence[float], std: Sequence[float], standardize: bool = False
    ) -> None:
        if len(mean) != channels or len(std) != channels:
            raise ValueError(f"{channels} channels need as many means and stds, not {len(mean)}, {len(std)}")
        if min(std) <= 0:
            raise ValueError(f"standard deviations have to be positive, not {min(std)}")
        self._mean, self._std = float(mean[0]), float(std[0])
        self._standardize = standardize
        # Tuples of floats, so that a list of the same numbers gives the same identity.
        means, stds = tuple(map(float, mean)), tuple(map(float, std))
        self.identity = self._named(channels=channels, mean=means, std=stds, standardize=standardize)
        # (x - mean) / std as one multiplication and one addition, in one pass over the output.
        self._scale = torch.tensor([1 / s for s in std]).view(1, channels, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, channels, 1, 1)

    def normalize(self, gray: Tensor) -> Tensor:
        """Map float32 [B, 1, S, S] in [0, 1] to float32 [B, C, S, S]."""
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
        """Map float [B, C, S, S] back to gray levels: float32 [B, S, S] in [0, 1]."""
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
    ) -> None:
        super().__init__(channels, mean, std, standardize)

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        return self.normalize(images.unsqueeze(1).float() / 255)


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
        angle = (2 * draws[:, 0] - 1) * self.rotation
        flipped = draws[:, 1] < self.flip
        gray = images.unsqueeze(1).float() / 255
        gray = rotate_and_flip(gray, torch.from_numpy(angle), torch.from_numpy(flipped))
        return self.normalize(self.exposed(gray, draws[:, 2:5]))

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
        images: float [B, 1, S, S].
        angle: float [B], degrees, on any device.
        flipped: bool [B], on any device.

    Returns:
        float [B, 1, S, S]; bilinear, 0 outside the image.
    """
    radians = np.deg2rad(angle.cpu().numpy().astype(np.float64))
    side = np.where(flipped.cpu().numpy(), -1.0, 1.0)
    # Maps output to input positions: flip first, then rotate back.
    rows = np.stack((np.cos(radians) * side, -np.sin(radians), np.sin(radians) * side, np.cos(radians)))
    return warp(images, rows, None)


def warp(images: Tensor, rows: NDArray[np.float64], shifts: NDArray[np.float64] | None) -> Tensor:
    """Resample each image through its own affine map.

    Args:
        images: float [B, 1, S, S].
        rows: [4, B], the map (xx, xy, yx, yy) from output to input positions, -1 to 1 from edge to edge.
        shifts: [2, B], added to the input position, x and y; None: nothing.

    Returns:
        float [B, 1, S, S]; bilinear, 0 outside the image.
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
    grid = torch.stack((x + maps[1] * down, y + maps[3] * down), dim=-1)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def jitter(images: Tensor, brightness: Tensor, contrast: Tensor, brightness_first: Tensor) -> Tensor:
    """Change brightness and contrast of each image, in its own order; clamps to [0, 1] after each.

    Args:
        images: float [B, 1, S, S] in [0, 1]; not changed.
        brightness: float [B], multiplies.
        contrast: float [B], blends the image with its own mean: 0 leaves the mean, 1 the image.
        brightness_first: bool [B].

    Returns:
        float [B, 1, S, S] in [0, 1].
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
