"""Distances between two sets of images as distributions of features: the kernel distance and Fréchet's.

Both are those of torchmetrics, computed from the inner products of all pairs, which are shared by the measures and
the divisions of a report; features come from :mod:`pneumo_cli.trainers.feature_extractors`. Neither can be compared
with values from another feature extractor, so reports name the extractor. Only the Fréchet distance in the features
of torchvision's Inception is called FID.

Not here: the baselines of a distance (:mod:`pneumo_cli.evaluation.generative.baselines`), and memorization, which
both distances reward (:mod:`pneumo_cli.evaluation.generative.memorization`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pneumo_cli.evaluation.generative.pairs import Compared, check_features
from pneumo_cli.runtime.seeding import derive

_LARGEST_SUBSET = 1000  # of Binkowski et al. 2018


class Kid(NamedTuple):
    """A kernel distance.

    Attributes:
        mean: over the subsets; an unbiased estimate, so it may be slightly negative for similar sets.
        spread: standard deviation over the subsets, which overlap: not the standard error of the mean.
        subset_size: images of each set in a subset.
    """

    mean: float
    spread: float
    subset_size: int


def kid(real: Tensor, fake: Tensor, seed: int, subsets: int = 100, subset_size: int | None = None) -> Kid:
    """Kernel distance of two sets of features, float [N, D] and [M, D]; see :func:`kernel_distance`.

    Raises:
        ValueError: a set has fewer than 2 images or than ``subset_size``, has NaN or infinite features, or the
            dimensions differ.
    """
    check_features(real, fake)
    real, fake = real.double(), fake.double()
    # Without the distances of the pairs, which cost twenty times as much: a GAN has its KID after each epoch.
    products = (real @ real.T, fake @ fake.T, real @ fake.T)
    return _kernel_distance(products, real.shape[1], seed, subsets, subset_size)


def kernel_distance(sets: Compared, seed: int, subsets: int = 100, subset_size: int | None = None) -> Kid:
    """Kernel distance: the squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018).

    Its expectation does not depend on the number of images, so it is meaningful for a few hundred.

    Args:
        seed: for the choice of subsets; torch's global generator stays unchanged.
        subsets: number of subsets.
        subset_size: images in each; by default half of the smaller set, at least 2 and at most 1000. Subsets of
            all images would be identical, and their spread zero.

    Raises:
        ValueError: a set has fewer images than ``subset_size``.
    """
    products = [pairs.products for pairs in sets]
    return _kernel_distance(products, sets.between.dimension, seed, subsets, subset_size)


def _kernel_distance(
    products: Sequence[Tensor], dimension: int, seed: int, subsets: int, subset_size: int | None
) -> Kid:
    real, fake, between = ((values / dimension + 1) ** 3 for values in products)
    smaller = min(between.shape)
    size = max(2, min(_LARGEST_SUBSET, smaller // 2)) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ValueError(f"subsets of {size} images cannot be drawn from sets of {smaller}; at least 2")
    generator = torch.Generator().manual_seed(derive(seed, "subsets"))
    values = []
    for _ in range(subsets):
        rows, columns = (torch.randperm(count, generator=generator)[:size] for count in between.shape)
        within = _sum_of_others(real[rows][:, rows]) + _sum_of_others(fake[columns][:, columns])
        values.append(within / (size * (size - 1)) - 2 * between[rows][:, columns].mean())
    distances = torch.stack(values)
    return Kid(float(distances.mean()), float(distances.std(correction=0)), size)


def frechet(sets: Compared) -> float:
    """Fréchet distance between two normal distributions with the sets' means and covariances (Heusel et al. 2017).

    Its expectation grows as the sets get smaller, so only values for equal numbers of images can be compared. With
    fewer images than dimensions the covariances are singular and the value, though finite, is mostly bias.

    Returns:
        at least 0: negative values, which rounding gives for equal sets or sets without variance, become 0.
    """
    real, fake, between = (pairs.products for pairs in sets)
    shift = real.mean() + fake.mean() - 2 * between.mean()
    # With the centred sets as the rows of A and B, the trace of the root of the product of their covariances is the
    # sum of the singular values of A B': a matrix with a row per image instead of one per feature, and no root is
    # taken of what rounding has made negative.
    values = torch.linalg.svdvals(_centred(between))
    n, m = between.shape
    variances = _centred(real).trace() / (n - 1) + _centred(fake).trace() / (m - 1)
    return max(0.0, float(shift + variances - 2 * values.sum() / ((n - 1) * (m - 1)) ** 0.5))


def _sum_of_others(kernel: Tensor) -> Tensor:
    """The sum of a kernel over all pairs of different images."""
    return kernel.sum() - kernel.trace()


def _centred(products: Tensor) -> Tensor:
    """The inner products of features from which each set's mean is subtracted."""
    rows, columns = products.mean(1, keepdim=True), products.mean(0, keepdim=True)
    return products - rows - columns + products.mean()
