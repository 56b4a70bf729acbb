"""All pairs of images of two sets, by their features: what distances, diversity and coverage are computed from.

Each pair is computed once. A division of the held-out patients takes a part of the pairs.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Pairs(NamedTuple):
    """The pairs of two sets of N and M images.

    Attributes:
        products: inner products of the features, float64 [N, M].
        distances: Euclidean distances, float64 [N, M]; exactly 0 for equal features.
        dimension: D, the number of features.
    """

    products: Tensor
    distances: Tensor
    dimension: int

    def part(self, rows: Tensor, columns: Tensor) -> Pairs:
        """The pairs of some images of both sets, int64 [n] and [m]."""
        products, distances = (values[rows][:, columns] for values in (self.products, self.distances))
        return Pairs(products, distances, self.dimension)


class Compared(NamedTuple):
    """The pairs of a set of real and a set of generated images."""

    real: Pairs
    fake: Pairs
    between: Pairs


def pairs(left: Tensor, right: Tensor) -> Pairs:
    """The pairs of two sets of features, float [N, D] and [M, D]."""
    left, right = left.double(), right.double()
    # Not by matrix products, which are inexact for near rows.
    distances = torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
    return Pairs(left @ right.T, distances, left.shape[1])


def compared(real: Tensor, fake: Tensor) -> Compared:
    """The pairs of two sets of features; see :func:`check_features`."""
    check_features(real, fake)
    return Compared(pairs(real, real), pairs(fake, fake), pairs(real, fake))


def check_features(real: Tensor, fake: Tensor) -> None:
    """Check that two sets of features can be compared.

    Args:
        real: float [N, D], of real images, N at least 2.
        fake: float [M, D], of generated images, M at least 2.

    Raises:
        ValueError: a set has fewer than 2 images, or NaN or infinite features, or the dimensions differ.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"the features have the shapes {list(real.shape)} and {list(fake.shape)}, not [N, D] and [M, D]"
        )
    for name, features in (("real", real), ("generated", fake)):
        if len(features) < 2:
            raise ValueError(f"a comparison needs at least 2 {name} images, not {len(features)}")
        if not features.isfinite().all():
            raise ValueError(f"the features of the {name} images contain NaN or infinity")
