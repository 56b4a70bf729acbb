"""Whether two classifiers are right on the same number of the same images (McNemar 1947), without an approximation.

Only images count on which one is right and the other is not: if both are equally good, each of these is a toss of
a coin. The p is summed from the binomial distribution for any number of them, so no rule has to say from how many
on an approximation will do. The mid-p counts what was observed half: the exact p is too large, the more so the
fewer images there are, and the mid-p hardly ever too small (Fagerland, Lydersen & Laake 2013).

It takes every image for independent and knows nothing of patients: several images of one patient make it too
sure. Comparisons rest on the bootstrap over patients (:mod:`pneumo_cli.evaluation.confidence.intervals`); this
is their check.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pneumo_cli.evaluation.arrays import checked, logit_threshold_of

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values


class Discordance(NamedTuple):
    """Where two classifiers differ in being right.

    Attributes:
        first_only: how many images the first alone called right.
        second_only: how many the second alone called right.
        p: two-sided mid-p, 0 to 1; exactly 1 where both counts are equal.
        exact: the two-sided exact p, never smaller.
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
        first, second: logits of the two for the same images, [N], finite. labels: [N], each 0 or 1. With the
        images of one class alone, it is sensitivity or specificity that is tested. logit_thresholds: the logits
        from which on the first and the second one call an image positive, finite.

    Raises:
        ValueError: there is no image, the shapes differ, a logit is not finite or a label is neither 0 nor 1.
    """
    one, truth = checked(first, labels)
    two, _ = checked(second, labels)
    right = [
        (scores >= logit_threshold_of(0.5, threshold)) == truth
        for scores, threshold in zip((one, two), logit_thresholds, strict=True)
    ]
    return of_counts(int(np.count_nonzero(right[0] & ~right[1])), int(np.count_nonzero(right[1] & ~right[0])))


def of_counts(first_only: int, second_only: int) -> Discordance:
    """The test of the two counts alone.

    Raises:
        ValueError: a count is negative.

    >>> of_counts(1, 8).p < 0.05 < of_counts(2, 8).p
    True
    """
    if min(first_only, second_only) < 0:
        raise ValueError(f"counts of images are not negative: {first_only}, {second_only}")
    if first_only == second_only:
        return Discordance(first_only, second_only, 1.0, 1.0)
    n, least = first_only + second_only, min(first_only, second_only)
    # In logarithms: 2^-n is 0 as a float from n = 1075 on.
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(least + 1)]
    chances = [math.exp(log - n * math.log(2)) for log in logs]
    exact = min(1.0, 2 * math.fsum(chances))
    return Discordance(first_only, second_only, min(1.0, 2 * math.fsum(chances) - chances[-1]), exact)
