"""Detection of out-of-distribution (OOD) images, such as photographs, noise and other organs.

A classifier predicts a class for any image. :func:`fit_ood_detector` models the gray levels of the training images,
without the network, so it is the same for every classifier and takes seconds. An image is described by

- the distance of its 32-px version from the principal subspace of the training images (the reconstruction error;
  Jackson & Mudholkar 1979) and its position in that subspace (Hotelling 1931);
- the amount of detail at each scale, coarser and finer than 32 px;
- the distribution of its gray levels.

The score is the Mahalanobis distance of this vector from the training images, and the threshold is a quantile of
the scores of validation images. No test image is used.

Not for images that resemble radiographs of the training data: flipped or slightly darker ones, another disease or
another detector with the same gray levels may pass, and so do half of the images that are upside down
(:mod:`pneumo_cli.evaluation.orientation` detects these). For a flagged image the classifier's probability is
meaningless; an image that is not flagged may still be misclassified.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.errors import PneumoError, UsageError

Floats: TypeAlias = NDArray[np.float64]
Levels: TypeAlias = NDArray[np.uint8] | Tensor
"""Gray levels as a network receives them, uint8 [N, S, S] on the CPU, S at least 32."""

QUANTILE = 0.99
"""Share of the validation images that is not flagged; at other hospitals at most 5 % should be flagged."""

_SIDE = 32  # of a thumbnail, pixels: shows lungs and ribs, but no grain
_WORKING_SIDE = 64  # pixels; finer detail is ignored, which bounds the cost for images of any size
_COARSE = (16, 8, 4)  # further sides at which the roughness of the thumbnail is measured
_COMPONENTS = 48  # at most
_IMAGES_PER_COMPONENT = 4
_MOST_FITTED = 4096  # images: a decomposition of about a second
_BATCH = 256
_BRIGHTNESS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # quantiles of the gray levels
_NUMBERS = 4 + len(_COARSE) + len(_BRIGHTNESS)  # in a description, in addition to the components
_FLOOR = 1e-6  # of squared differences of values in [0, 1]: about the error of rounding to 256 levels
_SHRINKAGE = 0.02  # of the covariance to its diagonal, so that no direction gets too much weight


@dataclass(frozen=True)
class OodDetector:
    """Detects out-of-distribution images.

    Attributes:
        mean: of the training thumbnails, float32 [1024].
        components: orthonormal rows, sorted by decreasing variance, float32 [K, 1024].
        centre: mean of the training images' descriptions, float64 [D].
        whitening: maps a centred description to uncorrelated numbers of variance 1, float64 [D, D].
        size: height and width of the images that it was fitted on, pixels; others are resized to it.
        threshold: images with a higher score are flagged.
    """

    mean: Tensor
    components: Tensor
    centre: Tensor
    whitening: Tensor
    size: int
    threshold: float

    def scores(self, levels: Levels) -> Floats:
        """The OOD score of each image, float64 [n], 0 or more.

        The root mean square of the whitened description: about 1 for a training image, higher for less similar
        ones. The scores of an image by itself and in a batch agree to about 6 digits.

        Args:
            levels: uint8 [n, S, S]; n may be 0. Images of another size than those fitted on are resized.

        Raises:
            ValueError: another shape or type, or S below 32.
        """
        squares = [np.empty(0)]
        for batch in _batches(_checked(levels), self.size):
            centred = _described(batch, self.mean, self.components) - self.centre
            squares.append((centred @ self.whitening).square().mean(1).numpy())
        scores: Floats = np.sqrt(np.concatenate(squares))
        return scores

    def flags(self, levels: Levels) -> NDArray[np.bool_]:
        """Whether each image is out of distribution, [n]; arguments and errors as :meth:`scores`."""
        return np.asarray(self.scores(levels) > self.threshold)

    def state(self) -> dict[str, Any]:
        """Tensors and plain numbers for a checkpoint."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> OodDetector:
        """Restore a detector from a checkpoint.

        Raises:
            PneumoError: a value is missing, or has an invalid type, shape or range.
        """
        try:
            detector = cls(**{name: state[name] for name in cls.__dataclass_fields__})
            problem = detector._problem()
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            raise PneumoError(f"the OOD detector in the checkpoint is damaged: {problem}")
        return detector

    def _problem(self) -> str:
        """Describes the first invalid value; empty where all are valid."""
        pixels, described = _SIDE**2, len(self.components) + _NUMBERS
        shapes = {
            "mean": (torch.float32, (pixels,)),
            "components": (torch.float32, (len(self.components), pixels)),
            "centre": (torch.float64, (described,)),
            "whitening": (torch.float64, (described, described)),
        }
        for name, (dtype, shape) in shapes.items():
            tensor = getattr(self, name)
            if tensor.dtype != dtype or tuple(tensor.shape) != shape:
                return f"{name} is {tensor.dtype} {list(tensor.shape)}, not {dtype} {list(shape)}"
            if not bool(torch.isfinite(tensor).all()):
                return f"{name} has values that are not finite"
        if not (isinstance(self.size, int) and self.size >= _SIDE):
            return f"size is {self.size!r}, not a number of pixels of at least {_SIDE}"
        if not (isinstance(self.threshold, float) and math.isfinite(self.threshold) and self.threshold > 0):
            return f"threshold is {self.threshold!r}, not a positive number"
        return ""


def fit_ood_detector(levels_train: Levels, levels_validation: Levels, *, seed: int) -> OodDetector:
    """Fit the description and its covariance to training images, and the threshold to validation images.

    Args:
        levels_train: uint8 [N, S, S], N >= 2, S >= 32; a random 4096 of them if there are more.
        levels_validation: uint8 [M, S, S], M >= 1, of other patients; with the same patients the threshold would be
            too low.
        seed: of the choice of training images.

    Raises:
        UsageError: there are too few images in either set.
        ValueError: another shape or type, or S below 32.
    """
    train, validation = _checked(levels_train), _checked(levels_validation)
    if len(train) < 2 or not len(validation):
        raise UsageError(
            "an OOD detector needs at least 2 training images and 1 validation image; there are "
            f"{len(train)} and {len(validation)}"
        )
    size = int(train.shape[-1])
    if len(train) > _MOST_FITTED:
        chosen = np.random.default_rng(seed).choice(len(train), _MOST_FITTED, replace=False)
        train = train[np.sort(chosen)]
    batches = list(_batches(train, size))  # at most 64 MiB
    thumbnails = torch.cat([_pooled(batch, _SIDE).flatten(1) for batch in batches])
    mean = thumbnails.mean(0)
    components = _principal(thumbnails - mean)
    described = torch.cat([_described(batch, mean, components) for batch in batches])
    centre = described.mean(0)
    fitted = OodDetector(mean, components, centre, _whitening(described - centre), size, math.inf)
    # One of the scores, with few images the largest, and never an interpolated value.
    threshold = float(np.quantile(fitted.scores(validation), QUANTILE, method="higher"))
    return replace(fitted, threshold=max(threshold, 1e-9))


def _principal(centred: Tensor) -> Tensor:
    """The principal axes of centred thumbnails, orthonormal rows float32 [K, P], K at most 48."""
    # In double precision, because a covariance has the square of the condition number.
    covariance = centred.double().T @ centred.double() / len(centred)
    values, vectors = torch.linalg.eigh(covariance)
    # Limited, because many components would overfit few images.
    most = min(_COMPONENTS, len(centred) // _IMAGES_PER_COMPONENT)
    kept = int((values.flip(0)[:most] > _FLOOR).sum())
    components: Tensor = vectors.flip(1)[:, :kept].T.float().contiguous()
    return components


def _whitening(centred: Tensor) -> Tensor:
    """The inverse square root of the descriptions' covariance, with shrinkage to its diagonal, [D, D]."""
    covariance = centred.T @ centred / len(centred)
    scale = covariance.diagonal().clamp(min=_FLOOR).sqrt()
    correlation = covariance / scale / scale[:, None]
    shrunk = (1 - _SHRINKAGE) * correlation + _SHRINKAGE * torch.eye(len(scale), dtype=torch.float64)
    values, vectors = torch.linalg.eigh(shrunk)
    whitening: Tensor = vectors / values.clamp(min=_SHRINKAGE / 2).sqrt() / scale[:, None]
    return whitening


def _described(batch: Tensor, mean: Tensor, components: Tensor) -> Tensor:
    """Descriptions of images float32 [n, W, W] in [0, 1]: float64 [n, K + _NUMBERS]."""
    thumbnails = _pooled(batch, _SIDE)
    centred = thumbnails.flatten(1) - mean
    within = centred @ components.T
    residual = (centred.square().sum(1) - within.square().sum(1)).clamp(min=0) / _SIDE**2
    beyond = (batch - _pooled(thumbnails, batch.shape[-1])).square().flatten(1).mean(1)
    scales = [_roughness(_pooled(thumbnails, side)) for side in _COARSE]
    detail = torch.stack([residual, beyond, _roughness(batch), _roughness(thumbnails), *scales], 1)
    order = thumbnails.flatten(1).sort(1).values
    places = [round(share * (order.shape[1] - 1)) for share in _BRIGHTNESS]
    return torch.cat((within, (detail + _FLOOR).log(), order[:, places]), 1).double()


def _roughness(images: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels, [n]."""
    down, right = images.diff(dim=1).square(), images.diff(dim=2).square()
    return torch.stack((down.flatten(1).mean(1), right.flatten(1).mean(1))).mean(0)


def _batches(levels: NDArray[np.uint8], size: int) -> Iterator[Tensor]:
    """Images as float32 [n, W, W] in [0, 1], in batches; W is the fitted size, at most 64."""
    for start in range(0, len(levels), _BATCH):
        scaled = torch.from_numpy(levels[start : start + _BATCH].astype(np.float32)) / 255
        if scaled.shape[-1] != size:
            scaled = F.interpolate(scaled[:, None], (size, size), mode="bilinear", antialias=True)[:, 0]
        yield _pooled(scaled, min(size, _WORKING_SIDE))


def _pooled(images: Tensor, side: int) -> Tensor:
    """Means over blocks, [n, side, side]; pixels on the border of two blocks count in both by their area."""
    if images.shape[-1] == side:
        return images
    areas = torch.from_numpy(_areas(images.shape[-1], side))
    pooled: Tensor = _across(_across(images, areas), areas)
    return pooled


def _across(images: Tensor, weights: Tensor) -> Tensor:
    """Combine the columns of images [n, H, W] by weights [V, W] and transpose: [n, V, H]."""
    # One large matrix product; one per image takes three times as long.
    combined: Tensor = F.linear(images, weights)
    return combined.transpose(1, 2)


@functools.cache
def _areas(length: int, side: int) -> NDArray[np.float32]:
    """The share of each of ``side`` equal intervals that each of ``length`` intervals covers, [side, length]."""
    inner, outer = np.arange(length + 1) / length, np.arange(side + 1) / side
    upper = np.minimum(inner[None, 1:], outer[1:, None])
    lower = np.maximum(inner[None, :-1], outer[:-1, None])
    covered: NDArray[np.float32] = (np.clip(upper - lower, 0, None) * side).astype(np.float32)
    return covered


def _checked(levels: Levels) -> NDArray[np.uint8]:
    images: NDArray[np.uint8] = levels.cpu().numpy() if isinstance(levels, Tensor) else levels
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}, not uint8 [n, S, S]")
    if images.shape[1] < _SIDE:
        raise ValueError(f"images are {images.shape[1]} px wide; at least {_SIDE} px are needed")
    return images
