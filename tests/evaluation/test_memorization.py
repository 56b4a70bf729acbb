"""Copies are detected, also few and altered ones, and nothing else is; mode collapse shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pneumo_cli.evaluation.generative import memorization
from pneumo_cli.evaluation.generative.baselines import mean_image, noise, pca_gaussian
from pneumo_cli.evaluation.generative.memorization import (
    Manifold,
    appearance,
    measure_memorization,
    nearest,
)
from pneumo_cli.evaluation.generative.pairs import compared


def diversity(generated: Tensor, real: Tensor) -> float:
    return memorization.diversity(compared(real, generated))


def density_and_coverage(generated: Tensor, real: Tensor, k: int = 5) -> Manifold:
    return memorization.density_and_coverage(compared(real, generated), k)


def pictures(n: int, seed: int, size: int = 32) -> Tensor:
    """Smooth random pictures around a common one, as radiographs are: uint8 [n, size, size]."""
    common = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    own = torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    smooth = F.interpolate(2 * common + own, size=size, mode="bicubic")[:, 0]
    return (128 + 22 * smooth).round().clamp(0, 255).to(torch.uint8)


TRAINING = pictures(400, 10)
HELD_OUT = pictures(200, 11)
NEW = pictures(100, 12)


def altered(images: Tensor, contrast: float, brightness: float) -> Tensor:
    return (images.float() * contrast + brightness).round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("chunk", [2**22, 900])
def test_the_nearest_reference_is_that_of_all_distances_for_any_chunks(monkeypatch, chunk: int) -> None:
    monkeypatch.setattr(memorization, "_CHUNK", chunk)
    generator = torch.Generator().manual_seed(1)
    queries, references = torch.randn(57, 20, generator=generator), torch.randn(300, 20, generator=generator)
    distances, positions = nearest(queries + 50, references + 50)
    every = torch.cdist(queries.double(), references.double())
    assert torch.equal(positions, every.argmin(1))
    assert torch.allclose(distances.double(), every.amin(1), atol=1e-4)


def test_the_distance_of_a_copy_is_exactly_zero_even_among_near_duplicates() -> None:
    generator = torch.Generator().manual_seed(1)
    # Groups of four near-duplicates, far apart: their differences are below the rounding of a matrix product.
    places = 100 * torch.randn(50, 1, 64, generator=generator)
    references = (places + 1e-3 * torch.randn(50, 4, 64, generator=generator)).flatten(0, 1)
    distances, positions = nearest(references, references)
    assert (distances == 0).all()
    assert torch.equal(positions, torch.arange(200))


def test_no_query_has_no_neighbour_and_references_that_do_not_fit_are_an_error() -> None:
    distances, positions = nearest(torch.empty(0, 3), torch.zeros(4, 3))
    assert len(distances) == len(positions) == 0
    for references in (torch.empty(0, 3), torch.zeros(4, 2)):
        with pytest.raises(ValueError, match=r"have to be \[n, D\] and \[m, D\]"):
            nearest(torch.zeros(2, 3), references)


def test_appearance_ignores_brightness_contrast_and_size_and_takes_images_without_contrast() -> None:
    images = pictures(5, 3, size=64)
    same = appearance(altered(images, 0.6, 30))
    smaller = F.avg_pool2d(images.unsqueeze(1).float(), 2).round().to(torch.uint8)[:, 0]
    for other in (same, appearance(smaller)):
        assert torch.linalg.vector_norm(appearance(images) - other, dim=1).max() < 0.05
    assert torch.equal(appearance(torch.full((1, 8, 8), 77, dtype=torch.uint8)), torch.zeros(1, 1024))


@pytest.mark.parametrize(("contrast", "brightness"), [(1.0, 0.0), (0.8, 20.0), (1.1, -5.0)])
def test_two_copies_among_a_hundred_samples_are_detected_and_listed_first(
    contrast: float, brightness: float
) -> None:
    samples = NEW.clone()
    samples[[17, 60]] = altered(TRAINING[[31, 200]], contrast, brightness)
    found = measure_memorization(samples, TRAINING, HELD_OUT)
    assert {pair[:2] for pair in found.closest[:2]} == {(17, 31), (60, 200)}
    assert found.copies == 0.02
    assert 0.02 <= found.near_copies <= 0.06
    assert found.closest[1].distance < 0.1 * found.closest[2].distance


def test_a_generator_that_copies_everything_is_detected() -> None:
    found = measure_memorization(altered(TRAINING[:80], 0.9, 10), TRAINING, HELD_OUT)
    assert found.near_copies == found.copies == 1
    assert found.ratio < 0.1


def test_new_images_are_as_near_as_held_out_ones_and_one_in_a_hundred_is_below_their_quantile() -> None:
    found = measure_memorization(pictures(1500, 13), TRAINING, HELD_OUT)
    assert 0 < found.near_copies < 0.03
    assert found.copies == 0
    assert found.ratio == pytest.approx(1, abs=0.03)
    again = measure_memorization(HELD_OUT, TRAINING, HELD_OUT)
    assert again.near_copies == pytest.approx(0.01, abs=0.005)
    assert np.array_equal(again.distances, again.held_out)


def test_smooth_images_are_near_to_many_training_images_and_are_not_copies() -> None:
    found = measure_memorization(pca_gaussian(TRAINING, 100, seed=1, components=3), TRAINING, HELD_OUT)
    assert found.near_copies > 0.5
    assert found.copies == 0


def test_noise_is_near_to_nothing() -> None:
    found = measure_memorization(noise(50, 32, seed=1), TRAINING, HELD_OUT)
    assert found.near_copies == 0
    assert found.ratio > 2
    assert len(found.closest) == 8


def test_closest_pairs_are_at_most_as_many_as_there_are_samples_and_rise_in_distance() -> None:
    found = measure_memorization(NEW[:3], TRAINING, HELD_OUT)
    distances = [pair.distance for pair in found.closest]
    assert len(distances) == 3
    assert distances == sorted(distances)


def test_copies_of_a_training_image_with_duplicates_are_detected() -> None:
    training = torch.cat((TRAINING, TRAINING[:1].repeat(5, 1, 1)))
    assert measure_memorization(TRAINING[:1], training, HELD_OUT).copies == 1


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_training_images_give_finite_results(count: int) -> None:
    found = measure_memorization(NEW, TRAINING[:count], HELD_OUT)
    assert np.isfinite([found.near_copies, found.copies, found.ratio, found.threshold]).all()


def test_memorization_without_images_is_an_error() -> None:
    nothing = TRAINING[:0]
    for samples, training, held_out in (
        (nothing, TRAINING, HELD_OUT),
        (NEW, nothing, HELD_OUT),
        (NEW, TRAINING, nothing),
    ):
        with pytest.raises(ValueError, match=r"at least 1 (generated|held-out) image|have to be"):
            measure_memorization(samples, training, held_out)


def test_diversity_is_one_for_similar_sets_and_shows_mode_collapse() -> None:
    real, new = HELD_OUT.flatten(1).float(), NEW.flatten(1).float()
    assert diversity(new, real) == pytest.approx(1, abs=0.05)
    assert diversity(new / 2, real) == pytest.approx(0.5, abs=0.03)
    collapsed = new[:1] + torch.randn(80, 1024, generator=torch.Generator().manual_seed(1))
    assert diversity(collapsed, real) < 0.15
    assert diversity(mean_image(TRAINING, 9).flatten(1).float(), real) == 0
    assert diversity(real, torch.zeros(5, 1024)) == 0


def test_the_mean_distance_is_over_pairs_of_different_images() -> None:
    points = torch.tensor([[0.0], [1.0], [3.0]])  # 1, 2 and 3 apart
    assert diversity(points, torch.tensor([[0.0], [1.0]])) == pytest.approx(2)


def test_density_and_coverage_follow_their_definition() -> None:
    real = torch.tensor([[0.0], [1.0], [3.0], [7.0]])  # distances to the nearest other: 1, 1, 2 and 4
    fake = torch.tensor([[0.5], [2.5]])  # within the balls around 0, 1 and 3, of 3 alone: 2.5 is 1.5 from 1
    found = density_and_coverage(fake, real, k=1)
    assert found.density == (2 + 1) / (1 * 2)  # 0.5 lies in those of 0 and 1, 2.5 in that of 3
    assert found.coverage == 3 / 4


def test_density_and_coverage_are_about_one_for_similar_sets_and_coverage_shows_mode_collapse() -> None:
    real, new = HELD_OUT.flatten(1).float(), pictures(200, 14).flatten(1).float()
    similar = density_and_coverage(new, real)
    assert similar.density == pytest.approx(1, abs=0.2)
    assert similar.coverage > 0.85
    collapsed = new[:1] + torch.randn(200, 1024, generator=torch.Generator().manual_seed(1))
    assert density_and_coverage(collapsed, real).coverage < 0.2


def test_too_few_images_for_diversity_are_an_error() -> None:
    with pytest.raises(ValueError, match="at least 2 generated"):
        diversity(torch.zeros(1, 3), torch.zeros(5, 3))
    with pytest.raises(ValueError, match="more than 5 real"):
        density_and_coverage(torch.zeros(4, 3), torch.zeros(5, 3))
