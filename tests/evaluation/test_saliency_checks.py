"""The checks pass maps of a model that reads the opacity, and fail others.

Simulated radiographs: noise, with a bright disc or with a marker in a corner in those of class 1. A small network
learns either in a second.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn

from pneumo_cli.evaluation.grad_cam import GradCam
from pneumo_cli.evaluation.saliency_checks import (
    Occlusion,
    border_area,
    border_shares,
    occlude,
    randomised,
    rank_correlation,
    saliency_checks,
)
from pneumo_cli.trainers.targets import positive_logits

SIZE = 32


def simulated(sign: str, count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images [count, 3, SIZE, SIZE] and labels; those of class 1 have a disc inside, or a marker in a corner."""
    rng = np.random.default_rng(seed)
    levels = rng.normal(0.4, 0.02, (count, SIZE, SIZE))
    labels = np.arange(count) % 2
    rows, columns = np.mgrid[:SIZE, :SIZE]
    for image in np.flatnonzero(labels):
        if sign == "disc":
            row, column = rng.integers(11, 21, 2)
            levels[image] += 0.4 * np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 18)
        else:
            levels[image, 1:7, 1:7] = 1
    images = torch.from_numpy(levels).float()[:, None].expand(-1, 3, -1, -1).contiguous()
    return images, torch.from_numpy(labels).float()


def trained(sign: str) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 8, 2), (8, 12, 2), (12, 12, 1)):
            layers += [nn.Conv2d(before, after, 3, stride, 1), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 1))
    images, labels = simulated(sign, 128, seed=1)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(network(images).flatten(), labels).backward()
        optimizer.step()
    for layer in network:
        if isinstance(layer, nn.BatchNorm2d):  # 60 updates are too few for a running mean
            layer.reset_running_stats()
            layer.momentum = None
    network(images)
    network.eval()
    unseen, truth = simulated(sign, 32, seed=2)
    assert torch.equal(network(unseen).flatten() >= 0, truth == 1)
    return network


@pytest.fixture(scope="module")
def disc_model() -> GradCam:
    return GradCam(trained("disc"), positive_logits, torch.zeros(1, 3, SIZE, SIZE))


@pytest.fixture(scope="module")
def marker_model() -> GradCam:
    return GradCam(trained("marker"), positive_logits, torch.zeros(1, 3, SIZE, SIZE))


def test_maps_of_a_model_that_reads_the_opacity_pass(disc_model: GradCam) -> None:
    checks = saliency_checks(disc_model, simulated("disc", 32, seed=3)[0], seed=0)
    assert checks.passed
    assert checks.border[1] < 0.3
    assert checks.correlation_all < 0.5
    # The drop of the logit follows the map.
    highest, elsewhere, lowest = (drops[1::2].mean() for drops in checks.occlusion)
    assert highest > elsewhere > lowest


def test_a_model_that_reads_a_marker_in_the_corner_fails(marker_model: GradCam) -> None:
    checks = saliency_checks(marker_model, simulated("marker", 16, seed=3)[0], seed=0)
    # Without the border there is no marker, and each image is predicted as class 0.
    assert checks.flipped == (0, 1)
    assert not checks.passed
    assert "markers or edges" in checks.results[1]
    # The mass of the maps and the changed predictions are each sufficient.
    assert not replace(checks, border=(0.1, 0.1)).off_border
    assert not replace(checks, border=(0.1, 0.6), flipped=(0, 0)).off_border
    assert replace(checks, border=(float("nan"), 0.1), flipped=(0, 0)).off_border


def test_random_maps_fail_the_occlusion_check(disc_model: GradCam) -> None:
    images, labels = simulated("disc", 32, seed=3)
    images, predicted = images[1::2], labels[1::2].long()
    maps = disc_model.maps(images)
    passed = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        noise = torch.rand((len(images), 1, 8, 8), generator=generator)
        random = F.interpolate(noise, size=(SIZE, SIZE), mode="bilinear")[:, 0]
        passed.append(occlude(disc_model.logits, images, random, predicted, generator=generator).passed)
        assert occlude(disc_model.logits, images, maps, predicted, generator=generator).passed
    assert sum(passed) <= 1  # a random map passes with a probability of 2.5 %


def test_maps_that_do_not_depend_on_the_weights_fail() -> None:
    """A network of constant weights has no deviation, so randomisation does not change it."""
    network = nn.Sequential(nn.Conv2d(3, 2, 3, 2, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1))
    with torch.no_grad():
        for weights in network.parameters():
            weights.fill_(0.1)
    images = simulated("disc", 8, seed=0)[0]
    checks = saliency_checks(GradCam(network.eval(), positive_logits, images[:1]), images, seed=0)
    assert checks.correlation_all == pytest.approx(1)
    assert not checks.passed
    assert "show the image, not the model" in checks.results[0]


def test_results_depend_only_on_the_seed_and_nothing_is_changed(disc_model: GradCam) -> None:
    images = simulated("disc", 8, seed=4)[0]
    before = {name: value.clone() for name, value in disc_model.model.state_dict().items()}
    state = torch.get_rng_state()
    first, again, other = (saliency_checks(disc_model, images, seed=seed) for seed in (5, 5, 6))
    assert first.metrics() == again.metrics()
    assert first.metrics() != other.metrics()
    assert torch.equal(torch.get_rng_state(), state)
    assert not disc_model.model.training
    for name, value in disc_model.model.state_dict().items():
        assert torch.equal(value, before[name])


def test_randomised_weights_are_all_new_with_the_same_deviation(disc_model: GradCam) -> None:
    model = disc_model.model
    images = simulated("disc", 16, seed=4)[0]
    random_copy = randomised(model, images, torch.Generator().manual_seed(0), whole=True)
    for (name, old), new in zip(model.named_parameters(), random_copy.parameters(), strict=True):
        assert old.numel() == 1 or not (old == new).any(), name
    assert random_copy[0].weight.std() == pytest.approx(model[0].weight.std().item(), rel=0.2)
    # Activations neither vanish nor explode: in eval mode it uses the batch statistics of these images.
    torch.testing.assert_close(
        random_copy(images), deepcopy(random_copy).train()(images), rtol=0.02, atol=0.02
    )
    assert not any(layer.training for layer in random_copy.modules())
    head = randomised(model, images, torch.Generator().manual_seed(0), whole=False)
    same = [torch.equal(old, new) for old, new in zip(model.parameters(), head.parameters(), strict=True)]
    assert same[:-2] == [True] * (len(same) - 2)
    assert not same[-2]


def test_images_without_evidence_for_their_predicted_class_are_counted(disc_model: GradCam) -> None:
    images, labels = simulated("disc", 8, seed=4)
    # All are predicted as class 0 below an extreme threshold, against the evidence of the discs.
    checks = saliency_checks(disc_model, images[labels == 1], seed=0, logit_threshold=1000)
    empty = (disc_model.maps(images[labels == 1], towards=0).amax((1, 2)) == 0).sum()
    assert checks.empty == empty
    assert np.isnan(checks.border[1])
    assert len(checks.occlusion.highest) == checks.images - checks.empty


def test_without_any_map_there_are_no_results(disc_model: GradCam) -> None:
    class Blind(GradCam):
        def evidence(self, images: Tensor, towards: int | Tensor = 1) -> Tensor:
            return super().evidence(images, towards) * 0

    blind = Blind(disc_model.model, positive_logits, torch.zeros(1, 3, SIZE, SIZE))
    checks = saliency_checks(blind, simulated("disc", 4, seed=0)[0], seed=0)
    assert checks.empty == checks.images == 4
    assert not checks.passed
    assert set(checks.results) == {"There is no map to check."}
    assert all(np.isfinite(value) for value in checks.metrics().values())
    assert "nan" not in str(checks.table(("NORMAL", "PNEUMONIA")))


def test_the_table_has_the_measured_and_the_expected_values(disc_model: GradCam) -> None:
    checks = saliency_checks(disc_model, simulated("disc", 8, seed=4)[0], seed=0)
    table = replace(checks, border=(0.21, 0.64), flipped=(float("nan"), 0.5), empty=1).table(
        ("NORMAL", "PNEUMONIA")
    )
    assert [len(row) for row in table.rows] == [len(table.head)] * 3
    assert table.rows[1][1] == (
        "mass of the maps: NORMAL 21 %, PNEUMONIA 64 %; predictions changed by occluding it: PNEUMONIA 50 %"
    )
    assert table.rows[1][2] == "both below 50 %; evenly spread mass: 36 %"
    assert "On 8 images" in table.note
    assert "1 of them have no map" in table.note


@pytest.mark.parametrize("count", [0, 1, 33])
def test_too_few_or_too_many_images_are_an_error(disc_model: GradCam, count: int) -> None:
    with pytest.raises(ValueError, match=f"take 2 to 32 images, not {count}"):
        saliency_checks(disc_model, torch.zeros(count, 3, SIZE, SIZE), seed=0)


@pytest.mark.parametrize("size", [7, 32, 64, 224])
def test_the_border_is_36_percent_of_the_area_at_any_size(size: int) -> None:
    assert border_area(size, size) == pytest.approx(0.36)
    even = torch.full((2, size, size), 0.3)
    corner, middle = torch.zeros(2, 1, size, size)
    corner[0, 0, 0] = 1
    middle[0, size // 2, size // 2] = 1
    shares = border_shares(torch.cat([even, corner, middle]))
    np.testing.assert_allclose(shares, [0.36, 0.36, 1 if size > 7 else shares[2], 0], atol=1e-6)


def test_rank_correlation_is_that_of_scipy_with_ties() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        first, second = rng.integers(0, 6, (2, 7, 7))
        assert rank_correlation(first, second) == pytest.approx(spearmanr(first, second, axis=None).statistic)
    assert rank_correlation(first, -first) == pytest.approx(-1)
    assert rank_correlation(first, np.zeros((7, 7))) == 0


def test_a_gain_within_two_standard_errors_fails() -> None:
    nothing = np.zeros(4)
    assert Occlusion(np.array([1.0, 1.1, 0.9, 1.0]), nothing, nothing).passed
    assert not Occlusion(np.array([3.0, -2.0, 2.0, -1.0]), nothing, nothing).passed
    assert not Occlusion(np.array([5.0]), np.zeros(1), np.zeros(1)).passed
