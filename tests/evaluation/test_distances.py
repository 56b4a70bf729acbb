"""Distances between sets of features: equal to their formulas, unbiased, seeded, finite for degenerate sets."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from pneumo_cli.evaluation.generative import distances
from pneumo_cli.evaluation.generative.distances import kid
from pneumo_cli.evaluation.generative.pairs import Compared, compared
from pneumo_cli.runtime.seeding import derive


def frechet(real: Tensor, fake: Tensor) -> float:
    return distances.frechet(compared(real, fake))


def features(n: int, dimension: int, seed: int, shift: float = 0.0) -> Tensor:
    """Correlated features around a mean far from the origin, as those of a network are."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimension, dimension, generator=torch.Generator().manual_seed(7)) / dimension**0.5
    return torch.randn(n, dimension, generator=generator) @ mixing + 3 + shift


def squared_discrepancy(real: np.ndarray, fake: np.ndarray) -> float:
    """The unbiased estimate of the squared maximum mean discrepancy, term by term."""

    def kernel(left: np.ndarray, right: np.ndarray) -> np.ndarray:
        return (left @ right.T / left.shape[1] + 1) ** 3

    n, m = len(real), len(fake)
    xx, yy = kernel(real, real), kernel(fake, fake)
    within_real = (xx.sum() - np.trace(xx)) / (n * (n - 1))
    within_fake = (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within_real + within_fake - 2 * kernel(real, fake).mean())


def frechet_by_definition(real: np.ndarray, fake: np.ndarray) -> float:
    """With the matrix root of a symmetric product."""

    def root(matrix: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(matrix)
        return (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T

    one, other = np.cov(real.T), np.cov(fake.T)
    product = root(root(one) @ other @ root(one))
    shift = real.mean(0) - fake.mean(0)
    return float(shift @ shift + np.trace(one + other - 2 * product))


def test_kid_over_all_images_is_the_unbiased_discrepancy_of_a_cubic_kernel() -> None:
    real, fake = features(40, 12, 1), features(40, 12, 2, shift=0.3)
    found = kid(real, fake, seed=0, subsets=3, subset_size=40)
    expected = squared_discrepancy(real.double().numpy(), fake.double().numpy())
    assert found.mean == pytest.approx(expected, rel=1e-9)
    assert found.spread == pytest.approx(0, abs=1e-9)


def test_kid_of_two_halves_of_one_set_is_zero_on_average() -> None:
    everything = features(64, 8, 3)
    halvings = []
    for seed in range(200):
        order = torch.randperm(64, generator=torch.Generator().manual_seed(seed))
        halvings.append(kid(everything[order[:32]], everything[order[32:]], seed, subsets=4).mean)
    halves = np.array(halvings)
    error = halves.std() / len(halves) ** 0.5
    # The mean over all halvings of a set is exactly zero; a biased estimate would never be below zero.
    assert abs(halves.mean()) < 4 * error
    assert (halves < 0).any()


def test_the_default_subsets_of_kid_have_half_the_size_of_the_smaller_set() -> None:
    real, fake = features(50, 8, 1), features(31, 8, 2, shift=1.0)
    found = kid(real, fake, seed=0)
    assert found.subset_size == 15
    assert found.mean > 3 * found.spread > 0
    assert kid(features(2, 8, 1), features(3, 8, 2), seed=0).subset_size == 2


def test_kid_depends_only_on_its_seed_and_does_not_change_the_global_generator() -> None:
    real, fake = features(40, 8, 1), features(40, 8, 2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = kid(real, fake, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert kid(real, fake, seed=1) == first
    assert kid(real, fake, seed=2) != first


def test_kid_of_each_epoch_computes_no_distances_of_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr(torch, "cdist", lambda *given, **options: calls.append(1))
    assert kid(features(40, 8, 1), features(40, 8, 2), seed=1).subset_size == 20
    assert not calls


class Given(nn.Module):
    """The identity, in place of torchmetrics' network."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.num_features = dimension

    def forward(self, values: Tensor) -> Tensor:
        return values


@pytest.mark.parametrize("dimension", [12, 60])
def test_distances_are_those_of_torchmetrics(dimension: int) -> None:
    real, fake = features(40, dimension, 1).double(), features(31, dimension, 2, shift=0.2).double()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kernel = KernelInceptionDistance(feature=Given(dimension), subsets=20, subset_size=15)
        normal = FrechetInceptionDistance(feature=Given(dimension))
    for metric in (kernel, normal):
        metric.update(real, real=True)
        metric.update(fake, real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(3, "subsets"))
        mean, spread = kernel.compute()
    found = kid(real, fake, 3, 20)
    assert found.mean == pytest.approx(float(mean), rel=1e-9)
    assert found.spread == pytest.approx(float(spread), rel=1e-9)
    assert frechet(real, fake) == pytest.approx(float(normal.compute()), rel=1e-5)


def test_a_part_of_the_pairs_gives_the_distances_of_these_images() -> None:
    real, fake = features(20, 6, 1), features(30, 6, 2)
    rows, columns = torch.arange(3, 15), torch.tensor([1, 28, 5, 7, 9, 11])
    one = compared(real, fake)
    part = Compared(
        one.real.part(rows, rows), one.fake.part(columns, columns), one.between.part(rows, columns)
    )
    assert distances.frechet(part) == pytest.approx(frechet(real[rows], fake[columns]), rel=1e-9)
    assert distances.kernel_distance(part, 0).mean == pytest.approx(
        kid(real[rows], fake[columns], 0).mean, rel=1e-9
    )


@pytest.mark.parametrize(("n", "dimension"), [(60, 6), (20, 19), (12, 48)])
def test_frechet_is_the_distance_of_two_normal_distributions_also_in_more_dimensions_than_images(
    n: int, dimension: int
) -> None:
    real, fake = features(n, dimension, 1), features(n - 3, dimension, 2, shift=0.5)
    expected = frechet_by_definition(real.double().numpy(), fake.double().numpy())
    assert frechet(real, fake) == pytest.approx(expected, rel=1e-4)
    assert frechet(fake, real) == pytest.approx(expected, rel=1e-4)


def test_frechet_of_a_set_with_itself_is_zero_and_never_negative() -> None:
    real = features(30, 10, 1)
    assert 0 <= frechet(real, real) < 1e-3


@pytest.mark.parametrize("dimension", [4, 60])
def test_frechet_of_the_repeated_mean_is_the_variance_of_the_real_set(
    dimension: int,
) -> None:
    real = features(25, dimension, 1)
    repeated = real.mean(0, keepdim=True).repeat(20, 1)
    assert frechet(real, repeated) == pytest.approx(float(real.double().var(0).sum()), rel=1e-3)
    assert frechet(repeated, repeated) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("distance", [frechet, lambda real, fake: kid(real, fake, 0)])
@pytest.mark.parametrize(
    ("real", "fake", "message"),
    [
        (torch.zeros(1, 3), torch.zeros(4, 3), "at least 2 real"),
        (torch.zeros(4, 3), torch.zeros(0, 3), "at least 2 generated"),
        (torch.zeros(4, 3), torch.zeros(4, 2), "shapes"),
        (torch.zeros(4, 3), torch.zeros(4), "shapes"),
        (torch.zeros(4, 3), torch.full((4, 3), float("nan")), "NaN"),
    ],
)
def test_invalid_features_are_an_error(distance, real: Tensor, fake: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        distance(real, fake)


@pytest.mark.parametrize("size", [1, 11])
def test_subsets_that_cannot_be_drawn_are_an_error(size: int) -> None:
    with pytest.raises(ValueError, match=f"subsets of {size}"):
        kid(features(10, 3, 1), features(12, 3, 2), 0, subset_size=size)
