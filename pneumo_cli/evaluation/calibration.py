"""Are the probabilities what they say? Temperature scaling, the reliability diagram, and predictive values.

Calibration is measured on any split and fitted on the validation split alone: a temperature that has seen test
images makes the test's calibration error a number about nothing. Dividing by it changes no order, so no ROC curve,
and no decision at a cut that is a logit.

Not for the choice of a threshold (:mod:`pneumo_cli.evaluation.operating_points`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.evaluation.bounds import wilson

if TYPE_CHECKING:
    from pneumo_cli.evaluation.binary import Values

Floats: TypeAlias = NDArray[np.float64]

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a fitted temperature. Outside of them the data do not say what it is: classes that the logits tell
apart perfectly want 0, logits that tell nothing want infinity."""


@dataclass(frozen=True, eq=False)  # no tuple: those have a method named count
class ReliabilityBins:
    """A reliability diagram: arrays [K], one entry for each bin that has images, from low to high.

    Attributes:
        predicted: mean probability of the positive class, 0 to 1.
        observed: share of positive images, 0 to 1.
        count: images, int64.
        low, high: the 95 % interval of the observed share (Wilson 1927), images taken as independent.
    """

    predicted: Floats
    observed: Floats
    count: NDArray[np.int64]
    low: Floats
    high: Floats


def fit_temperature(logits: Values, labels: Values) -> float:
    """The temperature with the least mean negative log-likelihood (Guo et al. 2017, arXiv 1706.04599).

    The loss is convex in 1 / temperature; its root is found by bisection, whatever the data.

    Args:
        logits: of validation images, [N], finite.
        labels: [N], each 0 or 1.

    Returns:
        ``COLDEST`` to ``HOTTEST``: the former where the logits separate the classes at 0, the latter where they are
        worse than no information. 1.0 where the data say nothing: one class only, or all logits equal 0.

    Raises:
        ValueError: as :func:`pneumo_cli.evaluation.binary.binary_metrics`.
    """
    from pneumo_cli.evaluation.binary import checked, sigmoid  # which imports this module

    scores, truth = checked(logits, labels)
    if not 0 < truth.sum() < truth.size or not scores.any():
        return 1.0

    def slope(inverse: float) -> float:
        """Derivative of the loss by 1 / temperature: rising."""
        return float(np.mean((sigmoid(scores * inverse) - truth) * scores))

    low, high = 1 / HOTTEST, 1 / COLDEST
    if slope(low) >= 0:
        return HOTTEST
    if slope(high) <= 0:
        return COLDEST
    while high - low > 1e-12 * high:
        middle = math.sqrt(low * high)
        if not low < middle < high:
            break
        if slope(middle) < 0:
            low = middle
        else:
            high = middle
    return 2 / (low + high)


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> ReliabilityBins:
    """Compare what was predicted with what was there, in bins of equal width.

    Args:
        probabilities: of the positive class, [N], 0 to 1.
        labels: [N], each 0 or 1.
        bins: at least 1; bin k holds k / bins <= probability < (k + 1) / bins, the last one 1 too.

    Raises:
        ValueError: the shapes differ, there is no image, or a value is out of bounds.
    """
    count, predicted, positive = _binned(probabilities, labels, bins)
    there = count > 0
    count, observed = count[there], positive[there] / count[there]
    low, high = wilson(observed, count.astype(np.float64))
    return ReliabilityBins(predicted[there] / count, observed, count, low, high)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean over images of |mean probability - share of positives| in the image's bin of equal width, 0 to 1.

    It is the error of the positive class's probability (as in Nixon et al. 2019, arXiv 1904.01685), not of the
    confidence in the called class as in Guo et al. 2017. Noise alone makes it larger than 0: for n images of a
    perfectly calibrated model, by about 0.8 sqrt(share of the variance / n) in each bin.

    Args:
        probabilities: of the positive class, [N], 0 to 1.
        labels: [N], each 0 or 1.
        bins: as for :func:`reliability`.

    Raises:
        ValueError: as :func:`reliability`.
    """
    count, predicted, positive = _binned(probabilities, labels, bins)
    return float(np.abs(predicted - positive).sum() / count.sum())


def predictive_values(sensitivity: float, specificity: float, prevalence: ArrayLike) -> tuple[Floats, Floats]:
    """What a call is worth where the disease is as frequent as given (Bayes' theorem).

    Args:
        sensitivity, specificity: 0 to 1, at one cut.
        prevalence: of any shape, 0 to 1.

    Returns:
        positive and negative predictive value, of the prevalence's shape, 0 to 1: the share of sick among those
        called sick, and of healthy among those called healthy; NaN where nobody is called so.

    Raises:
        ValueError: a value is out of bounds.
    """
    frequent = np.asarray(prevalence, dtype=np.float64)
    for name, value in (("sensitivity", sensitivity), ("specificity", specificity), ("prevalence", frequent)):
        if not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)):
            raise ValueError(f"the {name} has to be between 0 and 1, not {value}")
    hits, misses = sensitivity * frequent, (1 - sensitivity) * frequent
    alarms, rest = (1 - specificity) * (1 - frequent), specificity * (1 - frequent)
    with np.errstate(invalid="ignore"):
        return hits / (hits + alarms), rest / (rest + misses)


def bin_of(probabilities: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of equal width that each probability is in, 0 to bins - 1."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def _binned(
    probabilities: ArrayLike, labels: ArrayLike, bins: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Images, sum of probabilities and positives of each bin."""
    p, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if p.ndim != 1 or p.shape != truth.shape or p.size == 0:
        raise ValueError(
            f"probabilities and labels have the shapes {p.shape} and {truth.shape}; both have to be [N]"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a probability is not between 0 and 1")
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("a label is neither 0 nor 1")
    if bins < 1:
        raise ValueError(f"there have to be bins, not {bins}")
    place = bin_of(p, bins)
    return (
        np.bincount(place, minlength=bins).astype(np.int64),
        np.bincount(place, weights=p, minlength=bins).astype(np.float64),
        np.bincount(place, weights=truth, minlength=bins).astype(np.float64),
    )
