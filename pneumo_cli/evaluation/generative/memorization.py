"""Memorization and diversity of generated images, from nearest neighbours and pairwise distances.

A distance between distributions measures neither: copies of training images are the closest to real ones.
Memorization is measured on pixels, independently of any network; diversity, density and coverage on features
(:mod:`pneumo_cli.trainers.feature_extractors`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.evaluation.generative.pairs import Compared, Pairs

_CHUNK = 2**22  # distances in memory at once, 16 MiB
_CANDIDATES = 8  # neighbours whose distance is computed a second time, exactly
_SIDE = 32  # px at which appearances are compared
_QUANTILE = 0.01
_NEXT = 50  # neighbours after the nearest, which its distance is compared with (Carlini et al. 2023)
_ISOLATED = 0.5  # of the median held-out isolation


class Pair(NamedTuple):
    """A generated image and the training image nearest to it.

    Attributes:
        sample, training: their positions.
        distance: see :func:`appearance`, 0 to 2.
    """

    sample: int
    training: int
    distance: float


@dataclass(frozen=True)
class Memorization:
    """Distances of generated images to training images, compared with real images of other patients.

    Attributes:
        distances: float64 [n], each sample's distance to its nearest training image.
        held_out: float64 [m], the same for real images of other patients, not trained on.
        threshold: their 1 % quantile.
        near_copies: share of samples below it, 0 to 1: about 0.01 for a generator that samples from the
            distribution of the training images. Smooth images are near many training images without being
            copies of any: 0.17 for samples of a Gaussian in five principal components.
        copies: share of samples that are also near one training image only: the distance to the nearest, relative
            to the mean of the next 50 (by which Carlini et al. 2023 find the copies of diffusion models), is less
            than half of its value for the median held-out image. 0 without copies.
        ratio: median of ``distances`` over the median of ``held_out``: below 1 for samples that are nearer to
            training images than real ones are, above 1 for samples that resemble none.
        closest: the pairs with the smallest distances, nearest first.
    """

    distances: NDArray[np.float64]
    held_out: NDArray[np.float64]
    threshold: float
    near_copies: float
    copies: float
    ratio: float
    closest: tuple[Pair, ...]


def nearest(queries: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
    """Find each query's nearest reference by Euclidean distance, a chunk at a time.

    Args:
        queries: float [n, D].
        references: float [m, D], m at least 1.

    Returns:
        distances float32 [n], exactly 0 for equal rows, and positions in ``references``, int64 [n].

    Raises:
        ValueError: there is no reference, or the dimensions differ.
    """
    distances, positions = _nearest(queries, references, 1)
    return distances[:, 0], positions


def appearance(images: Tensor) -> Tensor:
    """The representation in which copies are found: 32 px, without brightness and contrast, float32 [N, 1024].

    Each image is averaged over areas, centred, and scaled to length 1. The Euclidean distance of two is then
    ``sqrt(2 - 2 r)`` with their correlation r: 0 for copies, also with another brightness, contrast or size, and
    1.41 for uncorrelated images. Flipped or shifted copies are not near. An image without contrast is all zeros, at
    distance 1 from every other.

    Args:
        images: uint8 [N, S, S].
    """
    small = F.adaptive_avg_pool2d(images.unsqueeze(1).float() / 255, _SIDE).flatten(1)
    return F.normalize(small - small.mean(1, keepdim=True), eps=1e-3)


class NearestTraining:
    """The images that a generator was trained on, and how near to them real images of other patients are.

    Args:
        training: uint8 [N, S, S], what the generator was trained on.
        held_out: uint8 [m, S, S], m at least 1.

    Raises:
        ValueError: one of the sets is empty.
    """

    def __init__(self, training: Tensor, held_out: Tensor) -> None:
        if not len(held_out):
            raise ValueError("memorization needs at least 1 held-out image")
        self._training = appearance(training)
        self._held_out, isolation, _ = _nearest_training(held_out, self._training)
        self._threshold = float(np.quantile(self._held_out, _QUANTILE))
        self._isolated = float(_ISOLATED * np.median(isolation))

    def memorization(self, samples: Tensor, closest: int = 8) -> Memorization:
        """Compare generated images' nearest training images with those of the held-out images.

        Args:
            samples: uint8 [n, S, S], n at least 1.
            closest: number of closest pairs to return.

        Raises:
            ValueError: there is no generated image.
        """
        if not len(samples):
            raise ValueError("memorization needs at least 1 generated image")
        distances, isolation, positions = _nearest_training(samples, self._training)
        near = distances < self._threshold
        order = np.argsort(distances, kind="stable")[:closest]
        return Memorization(
            distances=distances,
            held_out=self._held_out,
            threshold=self._threshold,
            near_copies=float(near.mean()),
            copies=float((near & (isolation < self._isolated)).mean()),
            ratio=_ratio(float(np.median(distances)), float(np.median(self._held_out))),
            closest=tuple(Pair(int(i), int(positions[i]), float(distances[i])) for i in order),
        )


def measure_memorization(
    samples: Tensor, training: Tensor, held_out: Tensor, closest: int = 8
) -> Memorization:
    """Memorization of one set of generated images; see :class:`NearestTraining`."""
    return NearestTraining(training, held_out).memorization(samples, closest)


def diversity(sets: Compared) -> float:
    """Mean distance between two generated images over that between two real ones; 1 for equal diversity.

    Returns:
        at least 0; 0 also where real images do not differ and the ratio is undefined.
    """
    return _ratio(_spread(sets.fake), _spread(sets.real))


class Manifold(NamedTuple):
    """Generated images relative to the neighbourhoods of real ones.

    Attributes:
        density: mean number of real neighbourhoods around a generated image, divided by k: 1 for equal
            distributions, more where generated images concentrate on the modes of the real ones.
        coverage: the share of real neighbourhoods that contain a generated image, 0 to 1.
    """

    density: float
    coverage: float


def density_and_coverage(sets: Compared, k: int = 5) -> Manifold:
    """Density and coverage (Naeem et al. 2020), with balls around real images up to their k-th neighbour.

    The expected coverage is below 1 even for real images: about 1 - 0.5 ** k for equally many of each.

    Raises:
        ValueError: there are not more than k real images.
    """
    distances = sets.real.distances
    if len(distances) <= k:
        raise ValueError(f"neighbourhoods of {k} need more than {k} real images")
    # k + 1, because the smallest is the image's distance to itself.
    radii = distances.kthvalue(k + 1, dim=1).values
    inside = sets.between.distances <= radii.unsqueeze(1)
    density = float(inside.sum()) / (k * inside.shape[1])
    return Manifold(density, float(inside.any(1).double().mean()))


def _nearest_training(
    images: Tensor, references: Tensor
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The nearest training image's distance, its distance relative to the next ones, and its position; each [n]."""
    near, positions = _nearest(appearance(images), references, 1 + _NEXT)
    distances = near.double().numpy()
    smallest = distances[:, 0]
    if distances.shape[1] == 1:
        return smallest, np.ones_like(smallest), positions.numpy()
    next_ones = distances[:, 1:].mean(1)
    isolation = np.divide(smallest, next_ones, out=np.ones_like(smallest), where=next_ones > 0)
    return smallest, isolation, positions.numpy()


def _nearest(queries: Tensor, references: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Distances to up to ``count`` nearest references, rising, float32 [n, count], and the nearest one's position.

    The distances after the first few are exact to about 0.001 of the data's spread.
    """
    if not len(references) or queries.shape[1:] != references.shape[1:]:
        raise ValueError(
            f"queries {list(queries.shape)} and references {list(references.shape)} have to be [n, D] and [m, D]"
        )
    centre = references.float().mean(0)
    queries, references = queries.float() - centre, references.float() - centre
    squares = references.square().sum(1)
    count = min(count, len(references))
    kept = min(max(count, _CANDIDATES), len(references))
    distances, positions = [torch.empty(0, count)], [torch.empty(0, dtype=torch.int64)]
    for chunk in queries.split(max(1, _CHUNK // len(references))):
        # A matrix product is fast but inexact for small distances, so it only selects the candidates.
        smallest, candidates = (squares - 2 * (chunk @ references.T)).topk(kept, largest=False)
        near = (smallest + chunk.square().sum(1, keepdim=True)).clamp_(min=0).sqrt_()
        for column in range(min(_CANDIDATES, kept)):
            near[:, column] = torch.linalg.vector_norm(chunk - references[candidates[:, column]], dim=1)
        ranked, order = near.sort(dim=1, stable=True)
        distances.append(ranked[:, :count])
        positions.append(candidates.gather(1, order[:, :1]).squeeze(1))
    return torch.cat(distances), torch.cat(positions)


def _spread(pairs: Pairs) -> float:
    """Mean distance over all pairs of different images of a set."""
    n = len(pairs.distances)
    return float(pairs.distances.sum()) / (n * (n - 1))


def _ratio(value: float, of: float) -> float:
    return value / of if of > 0 else 0.0
