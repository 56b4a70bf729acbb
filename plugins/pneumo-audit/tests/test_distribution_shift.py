"""Test images that differ from training images are distinguished from them; similar ones are not."""

from __future__ import annotations

import numpy as np

from pneumo_audit.distribution_shift import Shift, separability
from pneumo_cli.evaluation.linear_baseline import principal_components


def two_sides(patients: int, difference: float, images: int = 3) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A third of the patients is on side 1; images of one patient are nearly equal."""
    rng = np.random.default_rng(0)
    side = (np.arange(patients) % 3 == 0).astype(float)
    own = rng.normal(size=(patients, 40)) + difference * side[:, None] * np.ones(40)
    features = np.repeat(own, images, axis=0) + rng.normal(scale=0.05, size=(patients * images, 40))
    keys = [f"patient{number}" for number in range(patients) for _ in range(images)]
    return principal_components(features), np.repeat(side, images), keys


def test_sides_that_do_not_differ_give_an_auc_of_chance_although_patients_are_recognizable() -> None:
    features, sides, patients = two_sides(150, 0.0)
    assert abs(separability(features, sides, patients, np.random.default_rng(1)) - 0.5) < 0.12
    # Without keeping patients together, their other images reveal the side.
    one_each = [str(number) for number in range(len(patients))]
    assert separability(features, sides, one_each, np.random.default_rng(1)) > 0.7


def test_the_auc_rises_with_the_difference() -> None:
    areas = [
        separability(*two_sides(150, difference), np.random.default_rng(1)) for difference in (0.0, 0.15, 0.6)
    ]
    assert areas[0] < areas[1] < areas[2]
    assert areas[2] > 0.95


def test_the_same_seed_gives_the_same_auc_and_the_global_generator_is_not_used() -> None:
    given = two_sides(60, 0.3)
    before = np.random.get_state()[1].copy()  # type: ignore[index]
    first = separability(*given, np.random.default_rng(5))
    assert first == separability(*given, np.random.default_rng(5))
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_a_shift_is_none_if_a_random_half_reaches_the_same_auc() -> None:
    assert Shift("A", 100, 50, 0.7, (0.5, 0.72)).strength == "none"
    assert Shift("A", 100, 50, 0.7, (0.5, 0.52)).strength == "slight"
    assert Shift("A", 100, 50, 0.8, (0.5, 0.52)).strength == "clear"
    assert Shift("A", 100, 50, 0.95, (0.5, 0.52)).strength == "strong"
