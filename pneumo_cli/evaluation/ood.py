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
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pneumo_cli.errors import PneumoError, UsageError

if TYPE_CHECKING:
    import torch

    Levels: TypeAlias = NDArray[np.uint8] | torch.Tensor
    """Gray levels as a network receives them, uint8 [N, S, S], S at least 32."""

Floats: TypeAlias = NDArray[np.float64]
Singles: TypeAlias = NDArray[np.float32]

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
_ARRAYS = ("mean", "components", "centre", "whitening")
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

    mean: Singles
    components: Singles
    centre: Floats
    whitening: Floats
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
            squares.append(np.square(centred @ self.whitening).mean(1))
        scores: Floats = np.sqrt(np.concatenate(squares))
        return scores

    def flags(self, levels: Levels) -> NDArray[np.bool_]:
        """Whether each image is out of distribution, [n]; arguments and errors as :meth:`scores`."""
        return np.asarray(self.scores(levels) > self.threshold)

    def state(self) -> dict[str, Any]:
        """Tensors and plain numbers for a checkpoint."""
        import torch

        arrays = {name: torch.from_numpy(getattr(self, name).copy()) for name in _ARRAYS}
        return {**arrays, "size": self.size, "threshold": self.threshold}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> OodDetector:
        """Restore a detector from a checkpoint, or from the arrays of an exported model's description.

        Raises:
            PneumoError: a value is missing, or has an invalid type, shape or range.
        """
        try:
            arrays = {name: np.asarray(state[name]) for name in _ARRAYS}
            detector = cls(**arrays, size=state["size"], threshold=state["threshold"])
            problem = detector._problem()
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            raise PneumoError(f"the OOD detector in the checkpoint is damaged: {problem}")
        return detector

    def _problem(self) -> str:
        """Describes the first invalid value; empty where all are valid."""
        pixels, described = _SIDE**2, len(self.components) + _NUMBERS
        shapes = {
            "mean": ("float32", (pixels,)),
            "components": ("float32", (len(self.components), pixels)),
            "centre": ("float64", (described,)),
            "whitening": ("float64", (described, described)),
        }
        for name, (dtype, shape) in shapes.items():
            array = getattr(self, name)
            if str(array.dtype) != dtype or array.shape != shape:
                return f"{name} is {array.dtype} {list(array.shape)}, not {dtype} {list(shape)}"
            if not np.isfinite(array).all():
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
    thumbnails = np.concatenate([_flat(_pooled(batch, _SIDE)) for batch in batches])
    mean = thumbnails.mean(0)
    components = _principal(thumbnails - mean)
    described = np.concatenate([_described(batch, mean, components) for batch in batches])
    centre = described.mean(0)
    fitted = OodDetector(mean, components, centre, _whitening(described - centre), size, math.inf)
    # One of the scores, with few images the largest, and never an interpolated value.
    threshold = float(np.quantile(fitted.scores(validation), QUANTILE, method="higher"))
    return replace(fitted, threshold=max(threshold, 1e-9))


def _principal(centred: Singles) -> Singles:
    """The principal axes of centred thumbnails, orthonormal rows float32 [K, P], K at most 48."""
    # In double precision, because a covariance has the square of the condition number.
    doubles = centred.astype(np.float64)
    values, vectors = np.linalg.eigh(doubles.T @ doubles / len(doubles))
    # Limited, because many components would overfit few images.
    most = min(_COMPONENTS, len(centred) // _IMAGES_PER_COMPONENT)
    kept = int((values[::-1][:most] > _FLOOR).sum())
    return np.ascontiguousarray(vectors[:, ::-1][:, :kept].T, np.float32)


def _whitening(centred: Floats) -> Floats:
    """The inverse square root of the descriptions' covariance, with shrinkage to its diagonal, [D, D]."""
    covariance = centred.T @ centred / len(centred)
    scale = np.sqrt(np.maximum(covariance.diagonal(), _FLOOR))
    correlation = covariance / scale / scale[:, None]
    values, vectors = np.linalg.eigh((1 - _SHRINKAGE) * correlation + _SHRINKAGE * np.eye(len(scale)))
    return np.asarray(vectors / np.sqrt(np.maximum(values, _SHRINKAGE / 2)) / scale[:, None])


def _described(batch: Singles, mean: Singles, components: Singles) -> Floats:
    """Descriptions of images float32 [n, W, W] in [0, 1]: float64 [n, K + _NUMBERS]."""
    thumbnails = _pooled(batch, _SIDE)
    flat = _flat(thumbnails)
    centred = flat - mean
    within = centred @ components.T
    residual = np.maximum(np.square(centred).sum(1) - np.square(within).sum(1), 0) / np.float32(_SIDE**2)
    beyond = _flat(np.square(batch - _pooled(thumbnails, batch.shape[-1]))).mean(1)
    scales = [_roughness(_pooled(thumbnails, side)) for side in _COARSE]
    detail = np.stack([residual, beyond, _roughness(batch), _roughness(thumbnails), *scales], 1)
    order = np.sort(flat, axis=1)
    places = [round(share * (order.shape[1] - 1)) for share in _BRIGHTNESS]
    details = np.log(detail + np.float32(_FLOOR))
    return np.concatenate((within, details, order[:, places]), 1, dtype=np.float64)


def _flat(images: Singles) -> Singles:
    return images.reshape(len(images), -1)


def _roughness(images: Singles) -> Singles:
    """Mean squared difference of neighbouring pixels, [n]."""
    down, right = (_flat(np.square(np.diff(images, axis=axis))).mean(1) for axis in (1, 2))
    return np.asarray((down + right) / 2)


def _batches(levels: NDArray[np.uint8], size: int) -> Iterator[Singles]:
    """Images as float32 [n, W, W] in [0, 1], in batches; W is the fitted size, at most 64."""
    for start in range(0, len(levels), _BATCH):
        scaled = levels[start : start + _BATCH].astype(np.float32)
        scaled /= 255
        if scaled.shape[-1] != size:
            resized = (Image.fromarray(one).resize((size, size), Image.Resampling.BILINEAR) for one in scaled)
            scaled = np.stack([np.asarray(one) for one in resized])
        yield _pooled(scaled, min(size, _WORKING_SIDE))


def _pooled(images: Singles, side: int) -> Singles:
    """Means over blocks, [n, side, side]; pixels on the border of two blocks count in both by their area."""
    if images.shape[-1] == side:
        return images
    areas = _areas(images.shape[-1], side)
    return _across(_across(images, areas), areas)


def _across(images: Singles, weights: Singles) -> Singles:
    """Combine the columns of images [n, H, W] by weights [V, W] and transpose: [n, V, H]."""
    # One large matrix product; one per image takes three times as long.
    combined = images.reshape(-1, images.shape[-1]) @ weights.T
    return combined.reshape(*images.shape[:2], -1).transpose(0, 2, 1)


@functools.cache
def _areas(length: int, side: int) -> NDArray[np.float32]:
    """The share of each of ``side`` equal intervals that each of ``length`` intervals covers, [side, length]."""
    inner, outer = np.arange(length + 1) / length, np.arange(side + 1) / side
    upper = np.minimum(inner[None, 1:], outer[1:, None])
    lower = np.maximum(inner[None, :-1], outer[:-1, None])
    covered: NDArray[np.float32] = (np.clip(upper - lower, 0, None) * side).astype(np.float32)
    return covered


def _checked(levels: Levels) -> NDArray[np.uint8]:
    torch = sys.modules.get("torch")  # not imported here: a caller with a tensor has imported it already
    is_tensor = torch is not None and isinstance(levels, torch.Tensor)
    images: NDArray[np.uint8] = np.asarray(levels.cpu() if is_tensor else levels)  # type: ignore[union-attr]
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1] != images.shape[2]:
        raise ValueError(f"images are {images.dtype} {list(images.shape)}, not uint8 [n, S, S]")
    if images.shape[1] < _SIDE:
        raise ValueError(f"images are {images.shape[1]} px wide; at least {_SIDE} px are needed")
    return images
