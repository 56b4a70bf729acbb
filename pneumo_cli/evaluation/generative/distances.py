"""Distances between two sets of images as distributions of features: the kernel distance and Fréchet's.

Both take precomputed features (:mod:`pneumo_cli.trainers.feature_extractors`) and use torchmetrics' classes, whose
network is replaced by the identity. Neither can be compared with values from another feature extractor, so reports
name the extractor. Only the Fréchet distance in the features of torchvision's Inception is called FID.

Not here: the baselines of a distance (:mod:`pneumo_cli.evaluation.generative.baselines`), and memorization, which
both distances reward (:mod:`pneumo_cli.evaluation.generative.memorization`).
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

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
    """Kernel distance: the squared maximum mean discrepancy with a cubic kernel (Binkowski et al. 2018).

    Its expectation does not depend on the number of images, so it is meaningful for a few hundred.

    Args:
        real: features [N, D].
        fake: features [M, D].
        seed: for the choice of subsets; torch's global generator stays unchanged.
        subsets: number of subsets.
        subset_size: images in each; by default half of the smaller set, at least 2 and at most 1000. Subsets of
            all images would be identical, and their spread zero.

    Raises:
        ValueError: a set has fewer than 2 images or than ``subset_size``, has NaN or infinite features, or the
            dimensions differ.
    """
    real, fake = _checked(real, fake)
    smaller = min(len(real), len(fake))
    size = max(2, min(_LARGEST_SUBSET, smaller // 2)) if subset_size is None else subset_size
    if not 2 <= size <= smaller:
        raise ValueError(f"subsets of {size} images cannot be drawn from sets of {smaller}; at least 2")
    from torchmetrics.image.kid import KernelInceptionDistance

    with warnings.catch_warnings():
        # Features of a few thousand images take a few MiB.
        warnings.filterwarnings("ignore", message=".*save all extracted features in buffer")
        metric = KernelInceptionDistance(feature=_Given(real.shape[1]), subsets=subsets, subset_size=size)
    metric.update(real, real=True)
    metric.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed: that would seed the accelerators too, which are not forked.
        torch.default_generator.manual_seed(derive(seed, "subsets"))
        mean, spread = metric.compute()
    return Kid(float(mean), float(spread), size)


def frechet(real: Tensor, fake: Tensor) -> float:
    """Fréchet distance between two normal distributions with the sets' means and covariances (Heusel et al. 2017).

    Its expectation grows as the sets get smaller, so only values for equal numbers of images can be compared. With
    fewer images than dimensions the covariances are singular and the value, though finite, is mostly bias.

    Args:
        real: features [N, D].
        fake: features [M, D].

    Returns:
        at least 0: negative values, which rounding gives for equal sets or sets without variance, become 0.

    Raises:
        ValueError: as :func:`kid`.
    """
    real, fake = _checked(real, fake)
    # The distance is invariant to a common shift and rotation. Centred sets lose no digits in the covariances, and
    # in the span of N + M images these are N + M wide instead of D: a hundred times less work for 232 and 232
    # images of 1280 features.
    centre = real.mean(0)
    real, fake = real - centre, fake - centre
    if len(real) + len(fake) < real.shape[1]:
        basis = torch.linalg.qr(torch.cat((real, fake)).T).Q
        real, fake = real @ basis, fake @ basis
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(real.shape[1]))
    metric.update(real, real=True)
    metric.update(fake, real=False)
    return max(0.0, float(metric.compute()))


class _Given(nn.Module):
    """The identity, in place of torchmetrics' network.

    Args:
        num_features: dimension of the features, which torchmetrics reads by this name.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _checked(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """Both in double precision: the distances are small differences of large sums."""
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"the features have the shapes {list(real.shape)} and {list(fake.shape)}, not [N, D] and [M, D]"
        )
    for name, features in (("real", real), ("generated", fake)):
        if len(features) < 2:
            raise ValueError(f"a distance needs at least 2 {name} images, not {len(features)}")
        if not features.isfinite().all():
            raise ValueError(f"the features of the {name} images contain NaN or infinity")
    return real.double(), fake.double()
