"""Calibration of K logits: the maximum likelihood, Platt's targets, and what is not fitted from too few images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize

from pneumo_cli.evaluation.calibration import COLDEST, HOTTEST, Calibration, fit_calibration
from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.multi.calibration import ClassCalibration, fit_class_calibration
from pneumo_cli.evaluation.multi.scores import log_softmax, softmax

Make = Callable[..., Predictions]


def test_two_classes_have_the_calibration_of_a_binary_classifier(predictions: Make) -> None:
    found = predictions("multiclass", 300, 2)
    score = 3 * (found.logits[:, 1] - found.logits[:, 0]) + 1
    binary = fit_calibration(score, found.labels)
    several = fit_class_calibration(np.stack([0 * score, score], axis=1), found.labels, "multiclass")
    first, second = several.classes
    assert second.temperature == pytest.approx(binary.temperature, rel=1e-6)
    assert second.bias - first.bias == pytest.approx(binary.bias, abs=1e-6)


def test_the_fit_has_the_lowest_cross_entropy_of_its_targets(predictions: Make) -> None:
    found = predictions("multiclass", 400, 4)
    logits = 2.5 * found.logits + [0, 1, -1, 2]
    images = np.bincount(found.labels)
    targets = np.eye(4)[found.labels] * images[found.labels][:, None] + 1
    targets /= targets.sum(axis=1, keepdims=True)

    def loss(at: np.ndarray) -> float:
        return float(-(targets * log_softmax(logits * at[0] + [0, *at[1:]])).sum(axis=1).mean())

    best = minimize(loss, [0.5, 0, 0, 0], tol=1e-10)
    found_here = fit_class_calibration(logits, found.labels, "multiclass")
    temperatures, biases = found_here.arrays()
    assert np.ptp(temperatures) == 0
    assert biases.mean() == pytest.approx(0, abs=1e-12)
    assert 1 / temperatures[0] == pytest.approx(best.x[0], rel=1e-3)
    np.testing.assert_allclose(biases[1:] - biases[0], best.x[1:], atol=2e-3)
    assert loss(np.array([1 / temperatures[0], *(biases[1:] - biases[0])])) <= best.fun + 1e-10


def test_distorted_logits_get_their_probabilities_back(predictions: Make) -> None:
    found = predictions("multiclass", 6000)
    distorted = 3 * found.logits + [2, -1, 0]
    calibration = fit_class_calibration(distorted, found.labels, "multiclass")
    difference = np.abs(softmax(calibration.apply(distorted)) - softmax(found.logits))
    assert difference.mean() < 0.02


def test_each_label_is_calibrated_alone_on_the_images_where_it_is_known(predictions: Make) -> None:
    found = predictions("multilabel")
    labels = found.labels.copy()
    labels[:, 2] = -1
    fitted = fit_class_calibration(2 * found.logits, labels, "multilabel")
    known = labels[:, 0] >= 0
    assert fitted.classes[0] == fit_calibration(2 * found.logits[known, 0], labels[known, 0])
    assert fitted.classes[2] == Calibration()


def test_few_images_of_a_class_determine_no_temperature_and_none_no_bias(predictions: Make) -> None:
    found = predictions("multiclass")
    few = np.flatnonzero((found.labels < 2) | (np.cumsum(found.labels == 2) <= 5))
    fitted = fit_class_calibration(3 * found.logits[few], found.labels[few], "multiclass")
    temperatures, biases = fitted.arrays()
    assert temperatures.tolist() == [1, 1, 1]
    assert biases[2] < min(biases[:2])
    none = found.labels < 2
    assert fit_class_calibration(found.logits[none], found.labels[none], "multiclass") == (
        ClassCalibration.none(3)
    )
    constant = fit_class_calibration(np.ones((300, 3)), found.labels, "multiclass")
    shares = softmax(constant.apply(np.ones((1, 3))))[0]
    np.testing.assert_allclose(shares, np.bincount(found.labels) / 300, atol=0.01)


@pytest.mark.parametrize("scale", [-1.0, 1e-6, 1e4, 1e6])
def test_extreme_logits_stay_within_the_bounds(predictions: Make, scale: float) -> None:
    found = predictions("multiclass")
    fitted = fit_class_calibration(scale * found.logits, found.labels, "multiclass")
    temperatures, biases = fitted.arrays()
    assert COLDEST - 1e-9 <= temperatures[0] <= HOTTEST + 1e-9
    assert np.isfinite(biases).all()
    separated = fit_class_calibration(scale * np.eye(3)[found.labels], found.labels, "multiclass")
    assert np.isfinite(separated.apply(np.eye(3))).all()


def test_perfectly_separated_classes_are_not_certain(predictions: Make) -> None:
    labels = predictions("multiclass").labels
    logits = 5 * np.eye(3)[labels]
    fitted = fit_class_calibration(logits, labels, "multiclass")
    p = softmax(fitted.apply(logits))[np.arange(300), labels]
    assert 0.95 < p.min() < p.max() < 0.999


def test_plain_values_restore_it_and_damaged_ones_are_refused() -> None:
    calibration = ClassCalibration((Calibration(2.0, 0.5), Calibration(2.0, -0.5)))
    assert ClassCalibration.from_plain(calibration.plain()) == calibration
    for damaged in ({"temperature": [1.0], "bias": []}, {"temperature": [0.0], "bias": [0.0]}):
        with pytest.raises(ValueError, match=r"argument 2 is shorter|the temperature is 0\.0"):
            ClassCalibration.from_plain(damaged)


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="logits of 3 images and labels of 2"):
        fit_class_calibration(np.zeros((3, 2)), [0, 1], "multiclass")
