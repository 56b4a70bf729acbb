"""What each trial tries."""

from __future__ import annotations

import math

import pytest

from pneumo_sweep.plan import Plan
from pneumo_sweep.space import Choices, Range, Space, dimension, quasi_random
from pneumo_sweep.study import slots_of

LR = Range("lr", 1e-4, 1e-1, log=True)
SPACE = Space((Choices("optimizer", ("sgd", "adamw")),), (LR, Range("lr_step", 1, 5, whole=True)))


def test_a_grid_has_every_combination_once_and_the_last_setting_changes_first() -> None:
    space = Space((Choices("lr", (0.1, 0.01)), Choices("batch_size", (8, 16, 32))))
    points = [space.settings(42, number) for number in range(space.points)]
    assert [tuple(one.values()) for one in points] == [
        *((0.1, 8), (0.1, 16), (0.1, 32)),
        *((0.01, 8), (0.01, 16), (0.01, 32)),
    ]


def test_each_draw_is_tried_with_every_point_of_the_grid() -> None:
    first, second = SPACE.settings(42, 6), SPACE.settings(42, 7)
    assert (first.pop("optimizer"), second.pop("optimizer")) == ("sgd", "adamw")
    assert first == second
    assert SPACE.drawn_settings(42, 8) != SPACE.drawn_settings(42, 6)


def test_a_trial_depends_on_the_seed_and_its_number_alone() -> None:
    plans = [Plan(SPACE, draws, 42, "auc", "max") for draws in (3, 9)]
    few, many = map(slots_of, plans)
    assert many[: len(few)] == few
    assert SPACE.settings(43, 0) != SPACE.settings(42, 0)


def test_draws_lie_within_their_ranges_and_fill_them_evenly() -> None:
    draws = [SPACE.drawn_settings(7, 2 * number) for number in range(200)]
    assert all(1e-4 <= one["lr"] <= 1e-1 and one["lr_step"] in range(1, 6) for one in draws)
    thirds = [int(math.log10(one["lr"] / 1e-4) * 0.999999) for one in draws]
    assert all(60 <= thirds.count(third) <= 74 for third in range(3))
    steps = [one["lr_step"] for one in draws]
    assert all(35 <= steps.count(step) <= 45 for step in range(1, 6))


@pytest.mark.parametrize("dimensions", [1, 2, 7])
def test_the_sequence_comes_near_every_place(dimensions: int) -> None:
    points = [quasi_random(dimensions, 0, number) for number in range(64)]
    for axis in range(dimensions):
        assert {int(8 * point[axis]) for point in points} == set(range(8))


def test_listed_values_are_drawn_without_repetition() -> None:
    space = Space(search=(Choices("batch_size", (8, 16, 32)), Choices("optimizer", ("sgd", "adamw"))))
    draws = [tuple(space.settings(1, number).values()) for number in range(6)]
    assert len(set(draws)) == 6


def test_drawn_numbers_have_few_digits_and_stay_inside() -> None:
    assert Range("lr", 0.12351, 0.2).at(0.0) == 0.12351
    assert Range("lr", 0.0, 1.0).at(0.123456789) == 0.1235
    assert Range("epochs", 5, 20, whole=True).at(0.999999) == 20


def test_dimensions_are_read_from_what_is_recorded() -> None:
    for one in SPACE.dimensions:
        assert dimension(one.to_table()) == one
