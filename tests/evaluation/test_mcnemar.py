"""McNemar's exact test and its mid-p, compared with SciPy's binomial distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom, binomtest

from pneumo_cli.evaluation.confidence.mcnemar import mcnemar_test, of_counts


@pytest.mark.parametrize("counts", [(0, 5), (1, 8), (8, 1), (3, 4), (30, 51), (900, 1000), (0, 1200)])
def test_p_is_that_of_a_coin_toss_for_each_image_that_exactly_one_classifies_correctly(
    counts: tuple[int, int],
) -> None:
    n, least = sum(counts), min(counts)
    found = of_counts(*counts)
    assert found.exact == pytest.approx(binomtest(counts[0], n, 0.5).pvalue, rel=1e-9)
    # The observed outcome counts half.
    assert found.p == pytest.approx(2 * binom.cdf(least, n, 0.5) - binom.pmf(least, n, 0.5), rel=1e-9)
    assert found.p <= found.exact


@pytest.mark.parametrize("both", [0, 1, 7, 2000])
def test_equal_counts_give_a_p_of_one(both: int) -> None:
    assert of_counts(both, both)[2:] == (1.0, 1.0)


def test_the_order_of_the_classifiers_changes_the_counts_and_not_the_p() -> None:
    here, there = of_counts(2, 9), of_counts(9, 2)
    assert (here.first_only, here.second_only) == (there.second_only, there.first_only) == (2, 9)
    assert (here.p, here.exact) == (there.p, there.exact)


def test_classes_are_predicted_at_each_classifier_s_own_threshold() -> None:
    labels = np.array([1, 1, 1, 0, 0])
    first, second = np.array([2.0, 2.0, 2.0, -1.0, -1.0]), np.array([0.5, -2.0, 0.5, -1.0, 0.7])
    assert mcnemar_test(first, second, labels)[:2] == (2, 0)
    assert mcnemar_test(first, second, labels, logit_thresholds=(0.0, 0.6))[:2] == (4, 0)
    at_threshold = mcnemar_test(first, second, labels, logit_thresholds=(2.0, -3.0))
    assert at_threshold[:2] == (2, 0)  # a logit at the threshold is positive


def test_mid_p_is_rarely_too_small_for_equally_good_classifiers() -> None:
    generator = np.random.default_rng(5)
    n = generator.integers(1, 30, 4000)
    first = generator.binomial(n, 0.5)
    found = np.array([of_counts(int(a), int(b - a)).p for a, b in zip(first, n, strict=True)])
    assert 0.02 < (found < 0.05).mean() < 0.052


def test_negative_counts_and_broken_logits_are_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        of_counts(-1, 3)
    with pytest.raises(ValueError, match="NaN or infinite"):
        mcnemar_test([np.nan, 1.0], [0.0, 1.0], [0, 1])
