"""Calibration, reliability, calibration error and predictive values follow their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression

from pneumo_cli.evaluation.calibration import (
    COLDEST,
    FEWEST,
    HOTTEST,
    UNCALIBRATED,
    Calibration,
    expected_calibration_error,
    fit_calibration,
    log_odds_shift,
    predictive_values,
    reliability,
)
from pneumo_cli.evaluation.confidence.bounds import wilson


def split(
    size: int, temperature: float = 1.0, bias: float = 0.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Logits that temperature and bias calibrate exactly, and labels sampled accordingly."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0.5, 2, size)
    labels = (generator.random(size) < 1 / (1 + np.exp(-logits))).astype(int)
    return (logits - bias) * temperature, labels


def error(logits: np.ndarray, labels: np.ndarray) -> float:
    """The expected calibration error of logits."""
    return expected_calibration_error(1 / (1 + np.exp(-logits)), labels)


@pytest.mark.parametrize(("temperature", "bias"), [(1.0, 0.0), (0.4, -1.0), (1.0, 1.3), (2.5, 1.3)])
def test_the_temperature_and_bias_behind_the_logits_are_recovered(temperature: float, bias: float) -> None:
    found = fit_calibration(*split(20_000, temperature, bias))
    assert found.temperature == pytest.approx(temperature, rel=0.04)
    assert found.bias == pytest.approx(bias, abs=0.06)


def test_the_bias_corrects_the_shift_of_a_weighted_loss_and_a_temperature_cannot() -> None:
    """Trained as if a prevalence of 3/4 were 1/2, a network's logits lack log 3."""
    logits, labels = split(4000, 1.0, np.log(3), seed=1)
    unseen, truth = split(4000, 1.0, np.log(3), seed=2)
    found = fit_calibration(logits, labels)
    best = min(error(unseen / temperature, truth) for temperature in np.geomspace(0.2, 5, 40))
    assert error(found.apply(unseen), truth) < 0.03 < 0.08 < best


def test_calibration_is_the_logistic_regression_for_platts_targets() -> None:
    logits, labels = split(300, 1.7, -0.8, seed=1)
    positives = int(labels.sum())
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (302 - positives))
    theirs = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(logits, 2)[:, None],
        np.repeat([1, 0], 300),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    ours = fit_calibration(logits, labels)
    assert 1 / ours.temperature == pytest.approx(theirs.coef_[0, 0], abs=1e-5)
    assert ours.bias == pytest.approx(theirs.intercept_[0], abs=1e-5)


def test_the_mean_probability_is_the_prevalence() -> None:
    for seed in range(5):
        logits, labels = split(200, 0.3, 2.0, seed=seed)
        calibrated = 1 / (1 + np.exp(-fit_calibration(logits, labels).apply(logits)))
        assert calibrated.mean() == pytest.approx(labels.mean(), abs=0.002)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1e300, 1e300), st.booleans()), min_size=1, max_size=12),
    st.integers(1, FEWEST),
)
def test_for_any_logits_the_fit_is_finite_and_the_temperature_within_its_bounds(
    images: list[tuple[float, bool]], times: int
) -> None:
    images = images * times
    found = fit_calibration([logit for logit, _ in images], [int(label) for _, label in images])
    assert COLDEST <= found.temperature <= HOTTEST
    assert np.isfinite(found.bias)


def test_separated_classes_give_probabilities_limited_by_the_number_of_images() -> None:
    logits = np.repeat([-1.0, 1.0], 100)
    found = fit_calibration(logits, logits > 0)
    probabilities = 1 / (1 + np.exp(-found.apply([-1.0, 1.0])))
    np.testing.assert_allclose(probabilities, [1 / 102, 101 / 102], rtol=1e-6)


def test_logits_worse_than_chance_leave_hardly_more_than_the_prevalence() -> None:
    logits = np.concatenate([np.linspace(1, 2, 30), np.linspace(-2, -1, 90)])
    found = fit_calibration(logits, np.repeat([0, 1], [30, 90]))
    assert found.temperature == HOTTEST
    probabilities = 1 / (1 + np.exp(-found.apply(logits)))
    assert np.abs(probabilities - 0.75).max() < 0.03


def test_few_images_determine_only_the_bias_and_one_class_nothing() -> None:
    logits, labels = split(4000, 3.0, 1.0)
    few = np.concatenate([np.flatnonzero(labels == 0)[: FEWEST - 1], np.flatnonzero(labels == 1)[:60]])
    found = fit_calibration(logits[few], labels[few])
    assert found.temperature == 1
    assert found.bias != 0
    one_more = np.append(few, np.flatnonzero(labels == 0)[FEWEST])
    assert fit_calibration(logits[one_more], labels[one_more]).temperature > 1.5
    assert fit_calibration([-2.0, 3.0], [1, 1]) == UNCALIBRATED
    equal = fit_calibration([7.0] * 400, [1] * 300 + [0] * 100)
    assert equal.temperature == 1
    assert 1 / (1 + np.exp(-equal.apply(7.0))) == pytest.approx(0.75, abs=0.002)
    with pytest.raises(ValueError, match="NaN"):
        fit_calibration([0.0, float("nan")], [0, 1])


def test_a_calibration_survives_a_checkpoint_and_an_early_one_has_no_bias() -> None:
    calibration = Calibration(1.7, -0.4)
    assert Calibration.from_plain(calibration.plain()) == calibration
    assert Calibration.from_plain({"temperature": 1.7}) == Calibration(1.7, 0.0)
    for damaged in ({"temperature": 0.0}, {"temperature": float("inf")}, {"temperature": 1, "bias": np.nan}):
        with pytest.raises(ValueError, match=r"temperature is|bias of the calibration is"):
            Calibration.from_plain(damaged)


def test_probabilities_are_adjusted_to_another_prevalence_by_bayes_theorem() -> None:
    # Odds of 3 (750 of 1000 images are positive) times a likelihood ratio of 2.
    logit = np.log(6)
    # Where 50 of 1000 are positive the odds are 2 * 50 / 950.
    shifted = Calibration().shifted(log_odds_shift(0.05, 0.75)).apply(logit)
    assert np.exp(shifted) == pytest.approx(2 * 50 / 950)
    assert log_odds_shift(0.3, 0.3) == pytest.approx(0)
    for bad in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(ValueError, match="prevalence"):
            log_odds_shift(bad, 0.5)
        with pytest.raises(ValueError, match="prevalence"):
            log_odds_shift(0.5, bad)


def test_reliability_has_the_bins_of_scikit_learn_and_wilson_intervals() -> None:
    logits, labels = split(500, seed=2)
    probabilities = 1 / (1 + np.exp(-logits))
    bins = reliability(probabilities, labels)
    observed, predicted = calibration_curve(labels, probabilities, n_bins=10)
    np.testing.assert_allclose(bins.observed, observed)
    np.testing.assert_allclose(bins.predicted, predicted)
    assert bins.count.sum() == 500
    assert (bins.low <= bins.observed).all()
    assert (bins.observed <= bins.high).all()
    assert ((bins.high - bins.low) > 0).all()


def test_empty_bins_are_left_out_and_both_ends_belong_to_a_bin() -> None:
    bins = reliability([0.0, 1.0, 1.0, 0.25], [0, 1, 0, 1], bins=4)
    assert bins.count.tolist() == [1, 1, 2]
    assert bins.observed.tolist() == [0.0, 1.0, 0.5]


def test_wilson_is_the_textbook_interval() -> None:
    low, high = wilson([0.0, 0.9, 1.0], [10.0, 10.0, 10.0])
    # Newcombe 1998; statsmodels gives the same.
    np.testing.assert_allclose(low, [0.0, 0.5958, 0.7225], atol=1e-4)
    np.testing.assert_allclose(high, [0.2775, 0.9821, 1.0], atol=1e-4)


def test_calibration_error_is_the_mean_gap_and_large_for_an_overconfident_model() -> None:
    assert expected_calibration_error([0.8, 0.8, 0.8, 0.8], [1, 1, 1, 1]) == pytest.approx(0.2)
    assert expected_calibration_error([0.1, 0.9], [0, 1]) == pytest.approx(0.1)
    # Gaps of opposite sign cancel within a bin.
    assert expected_calibration_error([0.1, 0.9], [0, 1], bins=1) == pytest.approx(0.0)
    calibrated, labels = split(40_000, seed=3)
    errors = [expected_calibration_error(1 / (1 + np.exp(-calibrated * f)), labels) for f in (1.0, 3.0)]
    assert errors[0] < 0.015 < 0.08 < errors[1]


def test_predictive_values_follow_from_counts() -> None:
    # 1000 images, 100 positive: 90 TP and 10 FN; of 900 negative ones 180 FP and 720 TN.
    positive, negative = predictive_values(0.9, 0.8, [0.1, 0.5])
    assert positive[0] == pytest.approx(90 / 270)
    assert negative[0] == pytest.approx(720 / 730)
    assert positive[1] == pytest.approx(0.9 / 1.1)
    positive, negative = predictive_values(1.0, 1.0, [0.0, 1.0])
    assert np.isnan(positive[0])  # no positive prediction
    assert np.isnan(negative[1])


@pytest.mark.parametrize(
    ("probabilities", "labels", "bins", "message"),
    [
        ([0.5], [0, 1], 10, "shapes"),
        ([], [], 10, "shapes"),
        ([1.5], [1], 10, "between 0 and 1"),
        ([float("nan")], [1], 10, "between 0 and 1"),
        ([0.5], [2], 10, "neither 0 nor 1"),
        ([0.5], [1], 0, "at least 1 bin"),
    ],
)
def test_invalid_input_is_an_error(probabilities, labels, bins, message) -> None:
    for function in (reliability, expected_calibration_error):
        with pytest.raises(ValueError, match=message):
            function(probabilities, labels, bins)


def test_predictive_values_of_shares_out_of_bounds_are_an_error() -> None:
    with pytest.raises(ValueError, match="sensitivity"):
        predictive_values(1.1, 0.5, 0.5)
    with pytest.raises(ValueError, match="prevalence"):
        predictive_values(1.0, 0.5, [0.5, float("nan")])
