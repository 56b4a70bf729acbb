"""Whether an image is like those that a classifier was trained on; photographs, noise and other organs are not.

A classifier answers for whatever it is shown. :func:`fit_ood_detector` learns what the training images look
like from their grey levels alone, not from the network, so that it is the same for every classifier and takes
seconds. Three things are measured of an image:

- how far its thumbnail is from the subspace of the training thumbnails (the error of reconstruction from principal
  components; Jackson & Mudholkar 1979) and where it lies within that subspace (Hotelling 1931);
- how much detail it has at each scale, beyond the thumbnail and within it;
- how its grey levels are distributed.

Together they are one vector, whose Mahalanobis distance from the training images is the score. The threshold is a
quantile of the scores of validation images. Nothing here sees a test image.

Not for what looks like a radiograph of the training data: one that is mirrored or a little too dark, another
disease, another detector with the same grey levels may pass. Of those upside down half do: what tells how an image
lies is :mod:`pneumo_cli.evaluation.orientation`. A flag says that the classifier's probability
means nothing; no flag does not say that the probability is right.
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
"""Grey levels as a network receives them, uint8 [N, S, S] on the CPU, S at least 32."""

QUANTILE = 0.99
"""Share of the validation images that is not flagged: leaves room for other hospitals under a wanted 5 %."""

_SIDE = 32  # of a thumbnail, pixels: lungs and ribs are seen, grain is not
_WORKING_SIDE = 64  # pixels: finer detail is not looked at, and images of any size cost the same from here on
_COARSE = (16, 8, 4)  # sides at which the roughness of the thumbnail is described too
_COMPONENTS = 48  # at most
_IMAGES_PER_COMPONENT = 4
_MOST_FITTED = 4096  # images: a decomposition of about a second
_BATCH = 256
_BRIGHTNESS = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)  # quantiles of the grey levels that are described
_NUMBERS = 4 + len(_COARSE) + len(_BRIGHTNESS)  # of a description, beyond the components
_FLOOR = 1e-6  # squared differences of levels in [0, 1]: rounding to 256 levels makes as much
_SHRINKAGE = 0.02  # of the covariance to its diagonal: no direction may weigh more than its spread warrants


@dataclass(frozen=True)
class OodDetector:
    """Tells images unlike the training images.

    Attributes:
        mean: of the training thumbnails, float32 [1024].
        components: orthonormal rows, the first of them explaining most, float32 [K, 1024].
        centre: mean of the training images' descriptions, float64 [D].
        whitening: maps a centred description to independent numbers of variance 1, float64 [D, D].
        size: height and width of the images that it was fitted on, pixels; others are resized to it.
        threshold: an image with a higher score is flagged.
    """

    mean: Tensor
    components: Tensor
    centre: Tensor
    whitening: Tensor
    size: int
    threshold: float

    def scores(self, levels: Levels) -> Floats:
        """How unlike the training images each image is, float64 [n], 0 or more.

        The root of the mean square of the whitened description: about 1 for a training image, and the higher the
        more unlike. Of an image that is passed alone and in a batch, the scores agree to about 6 digits.

        Args:
            levels: uint8 [n, S, S]; n may be 0. Images of another size than those fitted on are resized.

        Raises:
            ValueError: another shape or type, or S below 32.
        """
        squares: list[Floats] = [
            (self._centred(batch) @ self.whitening).square().mean(1).numpy()
            for batch in _batches(_checked(levels), self.size)
        ]
        scores: Floats = np.sqrt(np.concatenate([np.empty(0), *squares]))
        return scores

    def flags(self, levels: Levels) -> NDArray[np.bool_]:
        """Whether each image is unlike the training images, [n]; arguments and errors as :meth:`scores`."""
        found: NDArray[np.bool_] = self.scores(levels) > self.threshold
        return found

    def _centred(self, batch: Tensor) -> Tensor:
        return _described(batch, self.mean, self.components) - self.centre

    def state(self) -> dict[str, Any]:
        """Tensors and plain numbers for a checkpoint."""
        return {
            "mean": self.mean,
            "components": self.components,
            "centre": self.centre,
            "whitening": self.whitening,
            "size": self.size,
            "threshold": self.threshold,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> OodDetector:
        """Take a detector back from a checkpoint.

        Raises:
            PneumoError: something is missing, or has another type, shape or range than it was stored with.
        """
        try:
            found = cls(**{name: state[name] for name in cls.__dataclass_fields__})
            problem = found._problem()
        except (KeyError, TypeError, AttributeError, RuntimeError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            raise PneumoError(f"what tells foreign images is damaged in the checkpoint: {problem}")
        return found

    def _problem(self) -> str:
        """What is wrong with the values, in words; empty where nothing is."""
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
            return f"size is {self.size!r}, not a number of pixels from {_SIDE} on"
        if not (isinstance(self.threshold, float) and math.isfinite(self.threshold) and self.threshold > 0):
            return f"threshold is {self.threshold!r}, not a positive number"
        return ""


def fit_ood_detector(levels_train: Levels, levels_validation: Levels, *, seed: int) -> OodDetector:
    """Learn what training images look like, and from validation images how far others of their kind lie.

    Args:
        levels_train: uint8 [N, S, S], N >= 2, S >= 32. Of more than 4096 images that many are drawn.
        levels_validation: uint8 [M, S, S], M >= 1, of other patients: those of the same would set the threshold
            too low.
        seed: of the images that are drawn.

    Raises:
        UsageError: there are too few images of either kind.
        ValueError: another shape or type, or S below 32.
    """
    train, validation = _checked(levels_train), _checked(levels_validation)
    if len(train) < 2 or not len(validation):
        raise UsageError(
            f"telling foreign images needs 2 training images and 1 validation image at least; there are "
            f"{len(train)} and {len(validation)}"
        )
    size = int(train.shape[-1])
    if len(train) > _MOST_FITTED:
        drawn = np.random.default_rng(seed).choice(len(train), _MOST_FITTED, replace=False)
        train = train[np.sort(drawn)]
    batches = list(_batches(train, size))  # at most 64 MiB
    thumbnails = torch.cat([_pooled(batch, _SIDE).flatten(1) for batch in batches])
    mean = thumbnails.mean(0)
    components = _principal(thumbnails - mean)
    described = torch.cat([_described(batch, mean, components) for batch in batches])
    centre = described.mean(0)
    fitted = OodDetector(mean, components, centre, _whitening(described - centre), size, math.inf)
    # With few images the largest score itself, and never a quantile between two that were seen.
    threshold = float(np.quantile(fitted.scores(validation), QUANTILE, method="higher"))
    return replace(fitted, threshold=max(threshold, 1e-9))


def _principal(centred: Tensor) -> Tensor:
    """The directions of most variance, orthonormal rows float32 [K, P], K as many as there are and at most 48."""
    # In double: a covariance has the square of the condition.
    covariance = centred.double().T @ centred.double() / len(centred)
    values, vectors = torch.linalg.eigh(covariance)
    # Of few images, many components would describe these very images and not their kind.
    most = min(_COMPONENTS, len(centred) // _IMAGES_PER_COMPONENT)
    kept = int((values.flip(0)[:most] > _FLOOR).sum())
    components: Tensor = vectors.flip(1)[:, :kept].T.float().contiguous()
    return components


def _whitening(centred: Tensor) -> Tensor:
    """The inverse square root of the descriptions' covariance, shrunk towards its diagonal, [D, D]."""
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
    """Images as float32 [n, W, W] in [0, 1], a few at a time; W is the size of fitting, at most 64."""
    for start in range(0, len(levels), _BATCH):
        scaled = torch.from_numpy(levels[start : start + _BATCH].astype(np.float32)) / 255
        if scaled.shape[-1] != size:
            scaled = F.interpolate(scaled[:, None], (size, size), mode="bilinear", antialias=True)[:, 0]
        yield _pooled(scaled, min(size, _WORKING_SIDE))


def _pooled(images: Tensor, side: int) -> Tensor:
    """Means over blocks, [n, side, side]; a pixel on the border of two blocks counts in both by its area."""
    if images.shape[-1] == side:
        return images
    areas = torch.from_numpy(_areas(images.shape[-1], side))
    pooled: Tensor = _across(_across(images, areas), areas)
    return pooled


def _across(images: Tensor, weights: Tensor) -> Tensor:
    """Combine the columns of images [n, H, W] by weights [V, W] and transpose: [n, V, H]."""
    # One large matrix product: a product per image takes three times as long.
    combined: Tensor = F.linear(images, weights)
    return combined.transpose(1, 2)


@functools.cache
def _areas(length: int, side: int) -> NDArray[np.float32]:
    """Which part of each of ``side`` equal intervals each of ``length`` equal intervals covers, [side, length]."""
    inner, outer = np.arange(length + 1) / length, np.arange(side + 1) / side
    upper = np.minimum(inner[None, 1:], outer[1:, None])
    lower = np.maximum(inner[None, :-1], outer[:-1, None])
    covered: NDArray[np.float32] = (np.clip(upper - lower, 0, None) * side).astype(np.float32)
    return covered


def _checked(levels: Levels) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = levels.cpu().numpy() if isinstance(levels, Tensor) else levels
    if found.dtype != np.uint8 or found.ndim != 3 or found.shape[1] != found.shape[2]:
        raise ValueError(f"images are {found.dtype} {list(found.shape)}; uint8 [n, S, S] is wanted")
    if found.shape[1] < _SIDE:
        raise ValueError(f"images are {found.shape[1]} px wide; at least {_SIDE} px are needed")
    return found
