"""Baselines of generators have the expected moments, and halves share no patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pneumo_cli.evaluation.generative.baselines import (
    mean_image,
    noise,
    patient_halves,
    pca_gaussian,
    pixel_gaussian,
)

SIZE = 12


def training(n: int = 300) -> Tensor:
    """Images of two factors, one of which makes the left and the right half move together."""
    generator = torch.Generator().manual_seed(1)
    shade = torch.linspace(60, 180, SIZE).view(1, 1, SIZE).expand(n, SIZE, SIZE)
    brightness, tilt = torch.randn(2, n, 1, 1, generator=generator)
    ramp = torch.linspace(-1, 1, SIZE).view(1, SIZE, 1)
    return (shade + 15 * brightness + 10 * tilt * ramp).round().clamp(0, 255).to(torch.uint8)


def correlation(images: Tensor) -> float:
    """Of two pixels that are far apart."""
    return float(torch.corrcoef(torch.stack((images[:, 2, 1], images[:, 2, -2])).double())[0, 1])


def test_noise_has_all_gray_levels_equally_often() -> None:
    samples = noise(200, SIZE, seed=1)
    assert samples.dtype == torch.uint8
    assert samples.shape == (200, SIZE, SIZE)
    counts = torch.bincount(samples.flatten().long(), minlength=256)
    assert counts.min() > 0.5 * counts.float().mean()


def test_the_mean_image_is_repeated_and_has_the_mean_of_each_pixel() -> None:
    images = training()
    samples = mean_image(images, 3)
    assert torch.equal(samples[0], samples[2])
    assert (samples[0].float() - images.float().mean(0)).abs().max() <= 0.5


def test_a_pixel_gaussian_has_the_mean_and_deviation_of_each_pixel_and_no_correlation() -> None:
    images = training()
    samples = pixel_gaussian(images, 2000, seed=1)
    assert (samples.float().mean(0) - images.float().mean(0)).abs().max() < 2.5
    assert torch.allclose(samples.float().std(0), images.float().std(0), rtol=0.1)
    assert abs(correlation(samples)) < 0.1 < 0.5 < correlation(images)


@pytest.mark.parametrize("components", [2, 100])
def test_a_pca_gaussian_has_the_training_images_means_and_covariances(components: int) -> None:
    images = training()
    samples = pca_gaussian(images, 2000, seed=1, components=components)
    assert samples.dtype == torch.uint8
    assert (samples.float().mean(0) - images.float().mean(0)).abs().max() < 2.5
    assert torch.allclose(samples.float().std(0), images.float().std(0), rtol=0.12)
    assert correlation(samples) == pytest.approx(correlation(images), abs=0.08)


def test_a_pca_gaussian_varies_in_as_many_directions_as_it_has_components() -> None:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(100, 156, (60, 8, 8), generator=generator, dtype=torch.uint8)
    samples = pca_gaussian(images, 200, seed=1, components=3).flatten(1).float()
    values = torch.linalg.svdvals(samples - samples.mean(0))
    assert values[2] > 5 * values[3]  # beyond the third only rounding to gray levels


def test_a_pca_gaussian_of_two_images_is_on_the_line_between_them() -> None:
    images = torch.stack((torch.full((8, 8), 90), torch.full((8, 8), 110))).to(torch.uint8)
    samples = pca_gaussian(images, 50, seed=1)
    assert torch.equal(samples.amax((1, 2)), samples.amin((1, 2)))
    assert len(samples.unique()) > 10


@pytest.mark.parametrize(
    "sample",
    [
        lambda seed: noise(4, SIZE, seed),
        lambda seed: pixel_gaussian(training(20), 4, seed),
        lambda seed: pca_gaussian(training(20), 4, seed),
    ],
)
def test_samples_depend_only_on_the_seed_and_do_not_change_the_global_generator(sample) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = sample(1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert torch.equal(sample(1), first)
    assert not torch.equal(sample(2), first)


def test_the_training_images_are_not_changed() -> None:
    images = training(20)
    kept = images.clone()
    pca_gaussian(images, 2, 1)
    pixel_gaussian(images, 2, 1)
    mean_image(images, 2)
    assert torch.equal(images, kept)


@pytest.mark.parametrize(
    "sample", [pixel_gaussian, pca_gaussian, lambda images, n, seed: mean_image(images, n)]
)
def test_an_empty_training_set_is_an_error(sample) -> None:
    with pytest.raises(ValueError, match="training image"):
        sample(torch.empty(0, 8, 8, dtype=torch.uint8), 2, 1)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=30), st.integers(0, 99))
def test_halves_hold_every_image_once_share_no_patient_and_are_as_equal_as_possible(
    sizes: list[int], seed: int
) -> None:
    patients = [f"p{number}" for number, count in enumerate(sizes) for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(patients))
    patients = [patients[position] for position in order]
    first, second = patient_halves(patients, seed)
    assert sorted([*first, *second]) == list(range(len(patients)))
    assert not {patients[i] for i in first} & {patients[i] for i in second}
    assert abs(len(first) - len(second)) <= max(sizes)
    if sizes.count(1) >= max(sizes):
        assert abs(len(first) - len(second)) <= 1


def test_halves_depend_only_on_the_seed() -> None:
    patients = [f"p{number}" for number in range(40)]
    assert [list(half) for half in patient_halves(patients, 1)] == [
        list(half) for half in patient_halves(patients, 1)
    ]
    assert list(patient_halves(patients, 1)[0]) != list(patient_halves(patients, 2)[0])


def test_one_patient_cannot_be_halved() -> None:
    with pytest.raises(ValueError, match="two patients; there are 1"):
        patient_halves(["p"] * 9, 1)
