"""Temperature, reliability diagram, calibration error and predictive values, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from pneumo_cli.evaluation.bounds import wilson
from pneumo_cli.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    expected_calibration_error,
    fit_temperature,
    predictive_values,
    reliability,
)


def split(size: int, temperature: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right after division by the temperature, and labels drawn accordingly."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.5, 2, size)
    return logits * temperature, (generator.random(size) < 1 / (1 + np.exp(-logits))).astype(int)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_that_made_the_logits_is_found_again(temperature: float) -> None:
    assert fit_temperature(*split(40_000, temperature)) == pytest.approx(temperature, rel=0.03)


def test_no_other_temperature_has_less_loss() -> None:
    logits, labels = split(200, 1.7, seed=1)
    best = fit_temperature(logits, labels)
    loss = [log_loss(labels, 1 / (1 + np.exp(-logits / (best * factor)))) for factor in (0.99, 1.0, 1.01)]
    assert loss[1] < loss[0]
    assert loss[1] < loss[2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-1e300, 1e300), st.booleans()), min_size=1, max_size=12))
def test_whatever_the_logits_the_temperature_stays_within_its_bounds(
    images: list[tuple[float, bool]],
) -> None:
    found = fit_temperature([logit for logit, _ in images], [int(label) for _, label in images])
    assert COLDEST <= found <= HOTTEST


def test_data_that_say_nothing_of_the_temperature_give_a_bound_or_one() -> None:
    assert fit_temperature([-2.0, -1.0, 1.0, 2.0], [0, 0, 1, 1]) == COLDEST  # separable: colder is better
    assert fit_temperature([-2.0, -1.0, 1.0, 2.0], [1, 1, 0, 0]) == HOTTEST  # worse than nothing
    assert fit_temperature([-2.0, 3.0], [1, 1]) == 1.0
    assert fit_temperature([0.0, 0.0], [0, 1]) == 1.0
    assert fit_temperature([2.0] * 4, [1, 1, 1, 0]) == pytest.approx(
        2 / np.log(3)
    )  # constant: the prevalence
    with pytest.raises(ValueError, match="NaN"):
        fit_temperature([0.0, float("nan")], [0, 1])


def test_reliability_has_the_bins_of_scikit_learn_and_wilson_intervals() -> None:
    logits, labels = split(500, 1.0, seed=2)
    probabilities = 1 / (1 + np.exp(-logits))
    bins = reliability(probabilities, labels)
    observed, predicted = calibration_curve(labels, probabilities, n_bins=10)
    np.testing.assert_allclose(bins.observed, observed)
    np.testing.assert_allclose(bins.predicted, predicted)
    assert bins.count.sum() == 500
    assert (bins.low <= bins.observed).all()
    assert (bins.observed <= bins.high).all()
    assert ((bins.high - bins.low) > 0).all()


def test_bins_without_images_are_left_out_and_both_ends_belong_to_a_bin() -> None:
    bins = reliability([0.0, 1.0, 1.0, 0.25], [0, 1, 0, 1], bins=4)
    assert bins.count.tolist() == [1, 1, 2]
    assert bins.observed.tolist() == [0.0, 1.0, 0.5]


def test_wilson_is_the_textbook_interval() -> None:
    low, high = wilson([0.0, 0.9, 1.0], [10.0, 10.0, 10.0])
    np.testing.assert_allclose(
        low, [0.0, 0.5958, 0.7225], atol=1e-4
    )  # Newcombe 1998; statsmodels gives the same
    np.testing.assert_allclose(high, [0.2775, 0.9821, 1.0], atol=1e-4)


def test_calibration_error_is_the_mean_gap_of_an_image_and_large_where_the_model_is_too_sure() -> None:
    assert expected_calibration_error([0.8, 0.8, 0.8, 0.8], [1, 1, 1, 1]) == pytest.approx(0.2)
    assert expected_calibration_error([0.1, 0.9], [0, 1]) == pytest.approx(0.1)
    # Within a bin gaps of opposite sign cancel; that is what the number of bins decides.
    assert expected_calibration_error([0.1, 0.9], [0, 1], bins=1) == pytest.approx(0.0)
    calibrated, labels = split(40_000, 1.0, seed=3)
    errors = [expected_calibration_error(1 / (1 + np.exp(-calibrated * f)), labels) for f in (1.0, 3.0)]
    assert errors[0] < 0.015 < 0.08 < errors[1]


def test_predictive_values_are_those_of_counting_people() -> None:
    # 1000 people, 100 sick: 90 found, 10 missed; of 900 healthy 180 called sick, 720 not.
    positive, negative = predictive_values(0.9, 0.8, [0.1, 0.5])
    assert positive[0] == pytest.approx(90 / 270)
    assert negative[0] == pytest.approx(720 / 730)
    assert positive[1] == pytest.approx(0.9 / 1.1)
    positive, negative = predictive_values(1.0, 1.0, [0.0, 1.0])
    assert np.isnan(positive[0])  # nobody is called sick
    assert np.isnan(negative[1])


@pytest.mark.parametrize(
    ("probabilities", "labels", "bins", "message"),
    [
        ([0.5], [0, 1], 10, "shapes"),
        ([], [], 10, "shapes"),
        ([1.5], [1], 10, "between 0 and 1"),
        ([float("nan")], [1], 10, "between 0 and 1"),
        ([0.5], [2], 10, "neither 0 nor 1"),
        ([0.5], [1], 0, "bins"),
    ],
)
def test_bad_input_is_an_error_that_says_so(probabilities, labels, bins, message) -> None:
    for function in (reliability, expected_calibration_error):
        with pytest.raises(ValueError, match=message):
            function(probabilities, labels, bins)


def test_shares_out_of_bounds_have_no_predictive_values() -> None:
    with pytest.raises(ValueError, match="sensitivity"):
        predictive_values(1.1, 0.5, 0.5)
    with pytest.raises(ValueError, match="prevalence"):
        predictive_values(1.0, 0.5, [0.5, float("nan")])
