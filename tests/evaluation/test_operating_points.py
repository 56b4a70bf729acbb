"""Operating points are optimal by their rule on any split; their thresholds are finite and lie between logits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pneumo_cli.evaluation.binary import confusion
from pneumo_cli.evaluation.operating_points import OperatingPoint, choose_operating_points


def rates(logits: np.ndarray, labels: np.ndarray, threshold: float) -> tuple[float, float]:
    """Sensitivity and specificity."""
    (tn, fp), (fn, tp) = confusion(logits, labels, logit_threshold=threshold)
    return tp / (tp + fn), tn / (tn + fp)


def points(logits, labels, **options) -> dict[str, OperatingPoint]:
    return {point.name: point for point in choose_operating_points(logits, labels, **options)}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-6, 6), st.booleans()), min_size=2, max_size=30),
    st.sampled_from([0.5, 0.9, 0.95, 1.0]),
    st.sampled_from([0.1, 1.0, 10.0]),
)
def test_no_threshold_is_better_by_a_rule_than_the_chosen_one(images, sensitivity, miss_cost) -> None:
    logits = np.array([logit for logit, _ in images], dtype=float)
    labels = np.array([label for _, label in images], dtype=int)
    if not 0 < labels.sum() < labels.size:
        return
    found = points(logits, labels, sensitivity=sensitivity, miss_cost=miss_cost)
    assert list(found) == ["default", "balanced", "screening", "cost"]
    every = [rates(logits, labels, threshold) for threshold in np.arange(-7.5, 8)]
    positives, negatives = labels.sum(), (1 - labels).sum()

    def cost(sensitivity: float, specificity: float) -> float:
        return miss_cost * (1 - sensitivity) * positives + (1 - specificity) * negatives

    at = {name: rates(logits, labels, point.logit_threshold) for name, point in found.items()}
    assert sum(at["balanced"]) == pytest.approx(max(sum(each) for each in every))
    assert cost(*at["cost"]) == pytest.approx(min(cost(*each) for each in every))
    assert at["screening"][0] >= sensitivity - 1e-12
    assert at["screening"][1] == pytest.approx(
        max(specificity for found, specificity in every if found >= sensitivity - 1e-12)
    )
    assert found["default"].logit_threshold == 0.0
    assert not set(logits) & {point.logit_threshold for name, point in found.items() if name != "default"}


def test_a_threshold_lies_midway_between_two_logits() -> None:
    found = points([-3.0, -1.0, 2.0, 6.0], [0, 0, 1, 1])
    assert {found[name].logit_threshold for name in ("balanced", "screening", "cost")} == {0.5}


def test_ties_go_to_the_higher_sensitivity() -> None:
    found = points([0.0, 1.0, 2.0, 3.0], [0, 1, 0, 1], miss_cost=1.0)
    assert found["balanced"].logit_threshold == found["cost"].logit_threshold == 0.5


def test_thresholds_beyond_all_logits_are_finite_and_near() -> None:
    useless = points([0.0, 0.0, 0.0], [0, 1, 1])
    assert all(math.isfinite(point.logit_threshold) for point in useless.values())
    assert useless["screening"].logit_threshold == -0.5
    never = points([1.0, 2.0, 3.0], [1, 0, 0], miss_cost=0.1)["cost"]
    assert never.logit_threshold == 3.5
    assert rates(np.array([1.0, 2.0, 3.0]), np.array([1, 0, 0]), never.logit_threshold) == (0.0, 1.0)


def test_adjacent_floats_are_separated() -> None:
    low = 1e9
    high = float(np.nextafter(low, np.inf))
    found = points([low, high], [0, 1])["balanced"]
    assert rates(np.array([low, high]), np.array([0, 1]), found.logit_threshold) == (1.0, 1.0)


def test_the_rule_states_the_validation_result() -> None:
    rule = points([-1.0, -0.5, 1.0, 2.0], [0, 1, 0, 1], sensitivity=0.9)["screening"].rule
    assert rule == (
        "The highest threshold with a sensitivity of at least 90.0 %: on 4 validation images sensitivity 1.000, "
        "specificity 0.500."
    )


def test_with_one_class_there_is_only_the_default() -> None:
    assert list(points([0.0, 1.0], [1, 1])) == ["default"]


def test_a_point_survives_a_checkpoint_and_a_damaged_one_is_an_error() -> None:
    for point in choose_operating_points([-1.0, 1.0], [0, 1]):
        assert OperatingPoint.from_plain(point.plain()) == point
        assert all(isinstance(value, str | float) for value in point.plain().values())
    for damaged in (
        {"name": "x"},
        {"name": "x", "logit_threshold": math.inf, "rule": ""},
        {"name": "x", "cut": "y", "rule": ""},
    ):
        with pytest.raises((KeyError, ValueError)):
            OperatingPoint.from_plain({"name": "x", **damaged})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensitivity": 0.0}, "sensitivity is 0.0"),
        ({"sensitivity": 1.1}, "sensitivity is 1.1"),
        ({"miss_cost": 0.0}, "costs 0.0 false positives"),
        ({"miss_cost": math.inf}, "costs inf false positives"),
    ],
)
def test_options_out_of_bounds_are_errors(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        choose_operating_points([0.0, 1.0], [0, 1], **options)
