"""Are the probabilities what they say? Calibration, its carrying over to another prevalence, the reliability
diagram, and predictive values.

Calibration is temperature scaling (Guo et al. 2017, arXiv 1706.04599) with a bias beside the temperature, which
together are Platt's scaling (1999) of one logit. A temperature alone leaves a logit of 0 where it is, and a loss
that weighs the classes moves just that: it trains the network as if both were equally frequent, so that its logits
are off by the log odds of the true share. The bias puts that right.

Calibration is measured on any split and fitted on the validation split alone: what has seen test images makes the
test's calibration error a number about nothing. It changes no order, so no ROC curve, and no decision at a cut that
is a logit. The probabilities hold where the classes are as frequent as among the images that it was fitted on;
:func:`log_odds_shift` carries them over to another prevalence.

Not for the choice of a threshold (:mod:`pneumo_cli.evaluation.operating_points`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.evaluation.confidence.bounds import wilson

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values

Floats: TypeAlias = NDArray[np.float64]

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a fitted temperature. Outside of them the data do not say what it is: classes that the logits tell
apart perfectly want 0, logits that tell nothing want infinity."""

FEWEST = 20
"""Images of the rarer class from which on a temperature is fitted: ten for each of the two numbers (Peduzzi et al.
1996). The temperature is known by the images near the boundary, of which a good classifier has hardly any among so
few, and then it says more of Platt's targets than of the network; the bias alone never does much harm."""

_STEPS = 200
_EXACT = 1e-12  # relative, of what is fitted


@dataclass(frozen=True)
class Calibration:
    """How a network's logit becomes one whose sigmoid is a probability: logit / temperature + bias.

    Attributes:
        temperature: finite, > 0; above 1 it makes probabilities less extreme.
        bias: finite, in log odds; above 0 it makes class 1 more probable.

    Raises:
        ValueError: one of them is out of bounds.
    """

    temperature: float = 1.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise ValueError(f"the temperature is {self.temperature}; it has to be above 0")
        if not math.isfinite(self.bias):
            raise ValueError(f"the bias of the calibration is {self.bias}")

    def apply(self, logits: ArrayLike) -> Floats:
        """Calibrated logits, of the logits' shape. A cut is a logit, too."""
        return np.asarray(np.asarray(logits, dtype=np.float64) / self.temperature + self.bias)

    def shifted(self, log_odds: float) -> Calibration:
        """The same with other odds of class 1, as :func:`log_odds_shift` has them."""
        return replace(self, bias=self.bias + log_odds)

    def plain(self) -> dict[str, float]:
        """Plain values for a checkpoint, a report or a description."""
        return {"temperature": self.temperature, "bias": self.bias}

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> Calibration:
        """Take it back; without a bias, as it was kept before there was one, the bias is 0.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        return cls(float(state["temperature"]), float(state.get("bias", 0.0)))


UNCALIBRATED = Calibration()
"""Logits as the network gives them."""


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


def fit_calibration(logits: Values, labels: Values) -> Calibration:
    """The temperature and the bias with the largest likelihood of Platt's targets (Platt 1999).

    The targets are a little short of 0 and 1, as if one more image of each class had been seen on the wrong side
    (1 / (n + 2) and (n + 1) / (n + 2), of n images of the class): so the fit is defined and finite where the logits
    separate the classes perfectly, and is no surer than the number of images allows. The loss is convex in
    1 / temperature and bias. For each temperature the best bias is found, and of these pairs the best temperature,
    each by Newton's method within a bracket, whatever the data.

    Args:
        logits: of validation images, [N], finite.
        labels: [N], each 0 or 1.

    Returns:
        with a temperature of ``COLDEST`` to ``HOTTEST``: the latter where the logits are worse than no
        information. The bias alone, with temperature 1, where there are fewer than :data:`FEWEST` images of a class
        or all logits are equal; :data:`UNCALIBRATED` where there is one class only.

    Raises:
        ValueError: as :func:`pneumo_cli.evaluation.binary.binary_metrics`.
    """
    from pneumo_cli.evaluation.arrays import checked, sigmoid  # which imports this module

    scores, truth = checked(logits, labels)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if not positives or not negatives:
        return UNCALIBRATED
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    share = float(targets.mean())
    odds = math.log(share) - math.log1p(-share)
    centre = float(np.median(scores))  # no outlier drags it to where the others lose their digits
    centred = scores - centre

    def bias_at(inverse: float) -> float:
        """The best bias of the centred logits times 1 / temperature: their mean probability is the share."""
        scaled = centred * inverse

        def excess(bias: float) -> tuple[float, float]:
            p = sigmoid(scaled + bias)
            return float(p.mean()) - share, float((p * (1 - p)).mean())

        return _root(excess, odds - float(scaled.max()), odds - float(scaled.min()), odds)

    def slope(inverse: float) -> tuple[float, float]:
        """First and second derivative of the loss by 1 / temperature, at the best bias for it."""
        p = sigmoid(centred * inverse + bias_at(inverse))
        weights = p * (1 - p)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            mean = np.sum(weights * centred) / np.sum(weights)
            return float(np.mean((p - targets) * centred)), float(np.mean(weights * (centred - mean) ** 2))

    inverse = 1.0
    if min(positives, negatives) >= FEWEST and centred.any():
        low, high = 1 / HOTTEST, 1 / COLDEST
        if slope(low)[0] >= 0:
            inverse = low
        elif slope(high)[0] <= 0:
            inverse = high
        else:
            inverse = _root(slope, low, high, inverse)
    return Calibration(1 / inverse, bias_at(inverse) - inverse * centre)


def log_odds_shift(prevalence: float, fitted: float) -> float:
    """What a calibrated logit gains where class 1 is of another prevalence (Saerens et al. 2002).

    It is right where the classes look as they did and only their shares differ.

    Args:
        prevalence: share of class 1 for which probabilities are wanted, 0 < prevalence < 1.
        fitted: its share among the images that the calibration was fitted on, 0 < fitted < 1.

    Raises:
        ValueError: a share is out of bounds.
    """
    for share in (prevalence, fitted):
        if not 0 < share < 1:
            raise ValueError(f"the prevalence is {share}; it has to be between 0 and 1, both excluded")
    return math.log(prevalence) - math.log1p(-prevalence) - math.log(fitted) + math.log1p(-fitted)


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


def _root(rising: Callable[[float], tuple[float, float]], low: float, high: float, start: float) -> float:
    """Where a rising function is 0: Newton's steps, and halving the bracket where one leaves it or gains little.

    Args:
        rising: x to the function's value and its derivative.
        low, high: the bracket.
    """
    at = min(max(start, low), high)
    last = math.inf
    for _ in range(_STEPS):
        value, derivative = rising(at)
        if value == 0:
            break
        if value < 0:
            low = at
        else:
            high = at
        newton = at - value / derivative if derivative > 0 else math.nan
        tame = low < newton < high and abs(value) < last / 2
        step = newton if tame else low / 2 + high / 2
        last = abs(value)
        if abs(step - at) <= _EXACT * max(1.0, abs(step)):
            return step
        at = step
    return at
