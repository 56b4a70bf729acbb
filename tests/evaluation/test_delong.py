"""DeLong's standard error of an AUC is that of its definition over all pairs; intervals where it is 0."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pneumo_cli.evaluation.confidence.delong import delong_interval, delong_test


def two_classifiers(
    seed: int, ties: bool = False, size: int = 60
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = (generator.random(size) < 0.4).astype(int)
    shared = generator.normal(0, 1, size) + 1.5 * labels
    first, second = shared + generator.normal(0, 1, size), shared + generator.normal(0, 2, size)
    return (first.round(), second.round(), labels) if ties else (first, second, labels)


def pairs(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """For each positive (row) and negative (column): 1 if in order, 1/2 if equal, else 0."""
    difference = logits[labels == 1][:, None] - logits[labels == 0][None, :]
    return (difference > 0) + 0.5 * (difference == 0)


def covariance(first: np.ndarray, second: np.ndarray) -> float:
    m, n = first.shape
    over_positives = np.cov(first.mean(axis=1), second.mean(axis=1))[0, 1] / m
    return over_positives + np.cov(first.mean(axis=0), second.mean(axis=0))[0, 1] / n


@pytest.mark.parametrize("ties", [False, True])
def test_interval_is_that_of_the_definition_over_all_pairs(ties: bool) -> None:
    logits, _, labels = two_classifiers(1, ties)
    order = pairs(logits, labels)
    area, error = order.mean(), np.sqrt(covariance(order, order))
    middle, half = np.log(area / (1 - area)), 1.959963984540054 * error / (area * (1 - area))
    expected = (area, 1 / (1 + np.exp(half - middle)), 1 / (1 + np.exp(-half - middle)))
    assert delong_interval(logits, labels) == pytest.approx(expected, abs=1e-12)
    assert area == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_comparison_is_that_of_the_definition_over_all_pairs(ties: bool) -> None:
    first, second, labels = two_classifiers(2, ties)
    one, two = pairs(first, labels), pairs(second, labels)
    error = np.sqrt(covariance(one, one) + covariance(two, two) - 2 * covariance(one, two))
    found = delong_test(first, second, labels)
    assert found.difference == pytest.approx(one.mean() - two.mean(), abs=1e-12)
    assert found.z == pytest.approx(found.difference / error, abs=1e-9)
    assert 0 < found.p < 1


def test_p_is_uniform_where_the_classifiers_are_equally_good() -> None:
    found = []
    generator = np.random.default_rng(3)
    for _ in range(400):
        labels = (generator.random(120) < 0.5).astype(int)
        logits = generator.normal(0, 1, (2, 120)) + labels
        found.append(delong_test(logits[0], logits[1], labels).p)
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.09
    assert 0.42 < np.mean(np.array(found) < 0.5) < 0.58


def test_identical_rankings_do_not_differ_and_opposite_ones_do() -> None:
    logits, _, labels = two_classifiers(4)
    assert delong_test(logits, np.exp(logits), labels) == (0.0, 0.0, 1.0)
    assert delong_test(labels, -labels, labels) == (1.0, float("inf"), 0.0)


def test_a_perfect_ranking_of_few_images_is_uncertain() -> None:
    perfect = delong_interval([0.0, 1.0, 2.0, 3.0], [0, 0, 1, 1])
    assert perfect.auc == perfect.high == 1.0
    assert perfect.low < 0.5
    reversed_ = delong_interval([3.0, 2.0, 1.0, 0.0], [0, 0, 1, 1])
    assert (reversed_.auc, reversed_.low) == (0.0, 0.0)
    assert reversed_.high > 0.5
    assert delong_interval([0.0, 0.0], [0, 1]) == (0.5, 0.0, 1.0)
    many = delong_interval(np.arange(2000.0), np.repeat([0, 1], 1000))
    assert 0.99 < many.low < 1


def test_one_class_and_logits_that_are_not_finite_are_errors() -> None:
    with pytest.raises(ValueError, match="needs both classes"):
        delong_interval([0.0, 1.0], [1, 1])
    with pytest.raises(ValueError, match="1 of 2 logits are NaN"):
        delong_test([0.0, 1.0], [0.0, float("nan")], [0, 1])
