"""McNemar's test (1947) of whether two classifiers have the same accuracy on the same images, not approximated.

Only images that exactly one of the two classifies correctly count: for equally good classifiers each of them is a
coin toss. The p is summed from the binomial distribution for any number of images. The mid-p counts the observed
outcome half: the exact p is too large, the more so the fewer images there are, and the mid-p hardly ever too small
(Fagerland, Lydersen & Laake 2013).

It takes images for independent, so several images of one patient make its p too small. Comparisons rest on the
bootstrap over patients (:mod:`pneumo_cli.evaluation.confidence.intervals`); this is a check of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pneumo_cli.evaluation.arrays import checked, logit_threshold_of

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values


class Discordance(NamedTuple):
    """The images that exactly one of two classifiers classifies correctly.

    Attributes:
        first_only, second_only: number of images that only the first, or only the second, classifies correctly.
        p: two-sided mid-p, 0 to 1; exactly 1 if both counts are equal.
        exact: two-sided exact p, never smaller.
    """

    first_only: int
    second_only: int
    p: float
    exact: float


def mcnemar_test(
    first: Values, second: Values, labels: Values, *, logit_thresholds: tuple[float, float] = (0.0, 0.0)
) -> Discordance:
    """Test whether two classifiers have the same accuracy on the same images.

    Args:
        first, second: logits of the two for the same images, [N], finite.
        labels: [N], each 0 or 1. With images of one class only, the test is of sensitivity or specificity.
        logit_thresholds: the logits from which on the first and the second predict positive, finite.

    Raises:
        ValueError: there is no image, the shapes differ, a logit is not finite or a label is neither 0 nor 1.
    """
    one, truth = checked(first, labels)
    two, _ = checked(second, labels)
    correct = [
        (scores >= logit_threshold_of(0.5, threshold)) == truth
        for scores, threshold in zip((one, two), logit_thresholds, strict=True)
    ]
    first_only, second_only = correct[0] & ~correct[1], correct[1] & ~correct[0]
    return of_counts(int(np.count_nonzero(first_only)), int(np.count_nonzero(second_only)))


def of_counts(first_only: int, second_only: int) -> Discordance:
    """The test, from the two counts.

    Raises:
        ValueError: a count is negative.

    >>> of_counts(1, 8).p < 0.05 < of_counts(2, 8).p
    True
    """
    if min(first_only, second_only) < 0:
        raise ValueError(f"counts of images must not be negative: {first_only}, {second_only}")
    if first_only == second_only:
        return Discordance(first_only, second_only, 1.0, 1.0)
    n, least = first_only + second_only, min(first_only, second_only)
    # In logarithms: 2^-n is 0 as a float from n = 1075 on.
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(least + 1)]
    chances = [math.exp(log - n * math.log(2)) for log in logs]
    exact = min(1.0, 2 * math.fsum(chances))
    return Discordance(first_only, second_only, min(1.0, 2 * math.fsum(chances) - chances[-1]), exact)
