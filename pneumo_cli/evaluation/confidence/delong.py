"""The area under the ROC curve and its standard error (DeLong et al. 1988; midranks: Sun & Xu 2014).

It assumes that images are independent, so several images of one patient make its intervals too narrow. Reports
therefore use the bootstrap over patients (:mod:`pneumo_cli.evaluation.confidence.intervals`); the two agree where
each patient has one image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pneumo_cli.evaluation.arrays import Floats, Integers, checked
from pneumo_cli.evaluation.confidence.bounds import Z

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values


class Area(NamedTuple):
    """An AUC and its 95 % interval, 0 to 1."""

    auc: float
    low: float
    high: float


class Comparison(NamedTuple):
    """The difference of two AUCs on the same images.

    Attributes:
        difference: first minus second.
        z: the difference in standard errors.
        p: two-sided, 0 to 1; exactly 1 where both rank the images identically.
    """

    difference: float
    z: float
    p: float


def delong_interval(logits: Values, labels: Values) -> Area:
    """AUC and 95 % interval, normal on the logit of the AUC, so that it stays within 0 and 1.

    Where the AUC is exactly 0 or 1 DeLong's error is 0; the other end is then Wilson's for a proportion without
    failures among the images of the smaller class.

    Args:
        logits: [N], finite.
        labels: [N], each 0 or 1; both must occur.

    Raises:
        ValueError: one class is missing, or as :func:`pneumo_cli.evaluation.binary.binary_metrics`.
    """
    scores, truth = checked(logits, labels)
    of_positives, of_negatives = _placements(scores, truth)
    area = float(of_positives.mean())
    error = math.sqrt(_variance(of_positives) + _variance(of_negatives))
    if not 0 < area < 1 or error == 0:
        smaller = min(of_positives.size, of_negatives.size)
        bound = smaller / (smaller + Z * Z)
        low = min(area, bound) if area > 0.5 else 0.0
        return Area(area, low, max(area, 1 - bound) if area < 0.5 else 1.0)
    middle, half = math.log(area / (1 - area)), Z * error / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-max(-700.0, end))) for end in (middle - half, middle + half))
    return Area(area, low, high)


def delong_test(first: Values, second: Values, labels: Values) -> Comparison:
    """Test whether two classifiers have the same AUC, on the same images.

    Args:
        first, second: logits of the two for the same images, [N], finite.
        labels: [N], each 0 or 1; both must occur.

    Raises:
        ValueError: as :func:`delong_interval`.
    """
    first_positives, first_negatives = _placements(*checked(first, labels))
    second_positives, second_negatives = _placements(*checked(second, labels))
    positives, negatives = first_positives - second_positives, first_negatives - second_negatives
    difference = float(first_positives.mean() - second_positives.mean())
    error = math.sqrt(_variance(positives) + _variance(negatives))
    if not positives.any() and not negatives.any():
        return Comparison(0.0, 0.0, 1.0)
    if error == 0:
        return Comparison(difference, math.copysign(math.inf, difference), 0.0)
    z = difference / error
    return Comparison(difference, z, math.erfc(abs(z) / math.sqrt(2)))


def _placements(scores: Floats, truth: Integers) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it.

    Equal logits count half. The mean of either array is the AUC.
    """
    positives, negatives = scores[truth == 1], scores[truth == 0]
    if not positives.size or not negatives.size:
        raise ValueError(f"an AUC needs both classes; all {truth.size} labels are {truth[0]}")
    return _below(positives, negatives), 1 - _below(negatives, positives)


def _below(values: Floats, others: Floats) -> Floats:
    ordered = np.sort(others)
    twice = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    return twice / (2 * others.size)


def _variance(values: Floats) -> float:
    """The variance of the mean; 0 for a single value, for which it is undefined."""
    return float(values.var(ddof=1)) / values.size if values.size > 1 else 0.0
