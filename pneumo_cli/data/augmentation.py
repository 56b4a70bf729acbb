"""From cached grey images to a network's input, on the device that trains: augmentation and normalisation.

Each sample's parameters come from (seed, epoch, index) through :mod:`pneumo_cli.data.sample_rng`, so a sample
looks the same whichever batch, rank or resumed run it is part of. torchvision's transforms draw one set of
parameters for a whole batch and use the global generator; here every sample has its own set, and a whole
batch is still one pass of tensor operations.

Resizing is not done here: the decode-once cache holds images of the final size.
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
    """What a :class:`pneumo_cli.data.loader.Loader` applies to the images of each batch."""

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        """Return the network's input.

        Args:
            images: uint8 [B, S, S] on the device of the run.
            index: int64 [B], the images' positions in the dataset's records. The loader hands it over on the
                CPU, where the random numbers are made: reading it back from an accelerator would stall it.
            epoch: the epoch that the batch belongs to.

        Returns:
            float32 [B, C, S, S] on the device of ``images``.
        """
        ...

    def display(self, images: Tensor) -> Tensor:
        """Return the grey picture of a batch that this transform made: float32 [B, S, S] in [0, 1]."""
        ...


class Normalization:
    """Grey levels in [0, 1] to C normalised channels, and back.

    Args:
        channels: C. The grey image is repeated, as the report does for its RGB networks (SOURCE 2).
        mean: per-channel mean that is subtracted, C numbers.
        std: per-channel standard deviation that divides, C positive numbers.
        standardize: before that, shift and scale each image to mean 0.5 and standard deviation 0.25 over its own
            pixels, so that exposure and window of a scanner drop out.

    Attributes:
        identity: all parameters that its output depends on, for the key of a cache.

    Raises:
        ValueError: ``mean`` or ``std`` has not C entries, or a ``std`` is not positive.
    """

    def __init__(
        self, channels: int, mean: Sequence[float], std: Sequence[float], standardize: bool = False
    ) -> None:
        if len(mean) != channels or len(std) != channels:
            raise ValueError(
                f"{channels} channels need as many means and stds, not {len(mean)} and {len(std)}"
            )
        if min(std) <= 0:
            raise ValueError(f"standard deviations have to be positive, not {min(std)}")
        self._mean, self._std = float(mean[0]), float(std[0])
        self._standardize = standardize
        # As tuples of floats, so that a list of the same numbers is the same identity.
        self.identity = self._named(
            channels=channels,
            mean=tuple(map(float, mean)),
            std=tuple(map(float, std)),
            standardize=standardize,
        )
        # (x - mean) / std as one multiplication and one addition, in one pass over the output.
        self._scale = torch.tensor([1 / s for s in std]).view(1, channels, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)]).view(1, channels, 1, 1)

    def normalize(self, grey: Tensor) -> Tensor:
        """Map float32 [B, 1, S, S] in [0, 1] to float32 [B, C, S, S]."""
        if self._scale.device != grey.device:
            self._scale, self._shift = self._scale.to(grey.device), self._shift.to(grey.device)
        if self._standardize:
            # By hand: torch.std_mean takes several times as long on a CPU.
            grey = grey - grey.mean(dim=(1, 2, 3), keepdim=True)
            spread = grey.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            # A flat image has no contrast that could be brought to a standard.
            grey = grey * (0.25 / spread.clamp_min(0.02)) + 0.5
        return torch.addcmul(self._shift, grey, self._scale)

    def _named(self, **parameters: object) -> str:
        listed = ", ".join(f"{name}={value!r}" for name, value in parameters.items())
        return f"{type(self).__name__}({listed})"

    def display(self, images: Tensor) -> Tensor:
        """Map float [B, C, S, S] back to grey levels: float32 [B, S, S] in [0, 1]."""
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

    In this order: rotation by an angle uniform in [-rotation, rotation] about the centre (bilinear, black
    outside, size kept); left-right flip; brightness and contrast in random order, each clamped to [0, 1].
    Factors are uniform in [1 - x, 1 + x]: brightness multiplies, contrast blends with the image's mean.

    Args:
        rotation: largest angle in degrees, 0 to 180.
        flip: probability of a flip, 0 to 1.
        brightness: half width of the brightness factor's range, 0 to 1.
        contrast: half width of the contrast factor's range, 0 to 1.
        saturation: part of the report's recipe, checked and otherwise without effect: grey has no saturation.
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
        if not 0 <= rotation <= 180:
            raise ValueError(f"rotation has to be between 0 and 180 degrees, not {rotation}")
        fractions = {"flip": flip, "brightness": brightness, "contrast": contrast, "saturation": saturation}
        for name, value in fractions.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} has to be between 0 and 1, not {value}")
        self.seed = seed
        self.rotation = rotation
        self.flip = flip
        self.brightness = brightness
        self.contrast = contrast
        self.identity += self._named(seed=seed, rotation=rotation, **fractions)

    def __call__(self, images: Tensor, index: Tensor, epoch: int) -> Tensor:
        draws = uniforms(self.seed, epoch, index.cpu().numpy(), 5)
        angle = (2 * draws[:, 0] - 1) * self.rotation
        mirrored = draws[:, 1] < self.flip
        grey = images.unsqueeze(1).float() / 255
        grey = rotate_and_flip(grey, torch.from_numpy(angle), torch.from_numpy(mirrored))
        return self.normalize(self.exposed(grey, draws[:, 2:5]))

    def exposed(self, grey: Tensor, draws: NDArray[np.float32]) -> Tensor:
        """Change brightness and contrast by three random numbers in [0, 1) per image [B, 3]."""
        brightness = 1 + (2 * draws[:, 0] - 1) * self.brightness
        contrast = 1 + (2 * draws[:, 1] - 1) * self.contrast
        brightness_first = draws[:, 2] < 0.5
        return jitter(
            grey, torch.from_numpy(brightness), torch.from_numpy(contrast), torch.from_numpy(brightness_first)
        )


def rotate_and_flip(images: Tensor, angle: Tensor, mirrored: Tensor) -> Tensor:
    """Turn each image counter-clockwise about its centre, then mirror it left to right where asked.

    Both are one affine map per sample, so each image is interpolated once.

    Args:
        images: float [B, 1, S, S].
        angle: float [B], degrees, on any device.
        mirrored: bool [B], on any device.

    Returns:
        float [B, 1, S, S]; bilinear, 0 where nothing of the image comes to lie.
    """
    radians = np.deg2rad(angle.cpu().numpy().astype(np.float64))
    side = np.where(mirrored.cpu().numpy(), -1.0, 1.0)
    # Maps an output position to the input position that it shows: mirror first, then turn back.
    rows = np.stack((np.cos(radians) * side, -np.sin(radians), np.sin(radians) * side, np.cos(radians)))
    return warp(images, rows, None)


def warp(images: Tensor, rows: NDArray[np.float64], shifts: NDArray[np.float64] | None) -> Tensor:
    """Show each image through an affine map of its own.

    Args:
        images: float [B, 1, S, S].
        rows: [4, B], the map (xx, xy, yx, yy) from a position of the output, -1 to 1 from edge to edge, to the
            position of the input that it shows.
        shifts: [2, B], added to that position, x and y; None: nothing.

    Returns:
        float [B, 1, S, S]; bilinear, 0 where nothing of the image comes to lie.
    """
    size = images.shape[-1]
    maps = torch.from_numpy(rows.astype(np.float32)).to(images.device, non_blocking=True).view(4, -1, 1, 1)
    # Centres of pixels in the coordinates of grid_sample, -1 to 1 from edge to edge. By hand, because
    # affine_grid takes several times as long: it is a batched matrix product.
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
    """Change brightness and contrast of each image, in its own order, clamped to [0, 1] after each.

    Args:
        images: float [B, 1, S, S] in [0, 1]; not changed.
        brightness: float [B], multiplies.
        contrast: float [B], blends the image with its own mean: 0 leaves the mean, 1 the image.
        brightness_first: bool [B].

    Returns:
        float [B, 1, S, S] in [0, 1].
    """
    parameters = torch.stack((brightness.float(), contrast.float(), brightness_first.float()))
    brightness, contrast, first = (
        parameters.to(images.device, non_blocking=True).view(3, -1, 1, 1, 1).unbind(0)
    )
    # Either step is clamp(gain * x + (1 - pull) * mean(x)), where pull is 1 for brightness.
    for is_brightness in (first, 1 - first):
        gain = torch.lerp(contrast, brightness, is_brightness)
        pull = torch.lerp(contrast, torch.ones_like(contrast), is_brightness)
        mean = images.mean(dim=(1, 2, 3), keepdim=True)
        images = torch.addcmul((1 - pull) * mean, images, gain).clamp_(0, 1)
    return images
