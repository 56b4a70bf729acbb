"""Calibration of probabilities, its adjustment to another prevalence, reliability diagrams, predictive values.

Calibration is temperature scaling (Guo et al. 2017, arXiv 1706.04599) with a bias, which is Platt scaling (1999) of
one logit. A temperature alone leaves a logit of 0 unchanged, but a class-weighted loss shifts exactly that: it
trains the network as if both classes were equally frequent, so its logits are off by the log odds of the true
prevalence. The bias corrects this.

Calibration is measured on any split and fitted on the validation split only; fitted on test images, the test
calibration error would mean nothing. It keeps the order of the images, so no ROC curve changes, and no decision at
a logit threshold. The probabilities hold at the prevalence of the images that it was fitted on;
:func:`log_odds_shift` adjusts them to another one.

Not for the choice of a threshold (:mod:`pneumo_cli.evaluation.operating_points`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.evaluation.arrays import Floats, checked, sigmoid
from pneumo_cli.evaluation.confidence.bounds import wilson

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of a fitted temperature. The data do not determine it beyond them: perfectly separated classes drive it to
0, uninformative logits to infinity."""

FEWEST = 20
"""Images of the rarer class needed to fit a temperature: ten for each of the two parameters (Peduzzi et al. 1996).
The images near the boundary determine the temperature, and a good classifier has hardly any among so few; it would
then reflect Platt's targets more than the network. The bias alone does little harm."""

_STEPS = 200
_TOLERANCE = 1e-12  # relative, of the root


@dataclass(frozen=True)
class Calibration:
    """The map from a network's logit to a calibrated logit: logit / temperature + bias.

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
            raise ValueError(f"the temperature is {self.temperature}; it must be finite and above 0")
        if not math.isfinite(self.bias):
            raise ValueError(f"the bias of the calibration is {self.bias}; it must be finite")

    def apply(self, logits: ArrayLike) -> Floats:
        """Calibrated logits (or logit thresholds), of the logits' shape."""
        return np.asarray(np.asarray(logits, dtype=np.float64) / self.temperature + self.bias)

    def shifted(self, log_odds: float) -> Calibration:
        """The calibration with a :func:`log_odds_shift` added."""
        return replace(self, bias=self.bias + log_odds)

    def plain(self) -> dict[str, float]:
        """Plain values for a checkpoint, a report or a description."""
        return {"temperature": self.temperature, "bias": self.bias}

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> Calibration:
        """Restore it; the bias is 0 where it is missing (early checkpoints).

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        return cls(float(state["temperature"]), float(state.get("bias", 0.0)))


UNCALIBRATED = Calibration()
"""Logits as the network gives them."""


@dataclass(frozen=True, eq=False)  # not a NamedTuple: tuples have a method named count
class ReliabilityBins:
    """A reliability diagram: arrays [K], one entry for each bin that has images, from low to high.

    Attributes:
        predicted: mean probability of the positive class, 0 to 1.
        observed: share of positive images, 0 to 1.
        count: number of images, int64.
        low, high: the 95 % interval of the observed share (Wilson 1927), images assumed independent.
    """

    predicted: Floats
    observed: Floats
    count: NDArray[np.int64]
    low: Floats
    high: Floats


def fit_calibration(logits: Values, labels: Values) -> Calibration:
    """The maximum-likelihood temperature and bias for Platt's targets (Platt 1999).

    The targets are 1 / (n + 2) and (n + 1) / (n + 2), for n images of the class, as if one more image of each class
    had been seen on the wrong side. So the fit is finite where the logits separate the classes perfectly, and no
    more confident than the number of images allows. The loss is convex in 1 / temperature and bias. The best bias
    for each temperature, and the best of these pairs, are found by Newton's method within a bracket.

    Args:
        logits: of validation images, [N], finite.
        labels: [N], each 0 or 1.

    Returns:
        with a temperature of ``COLDEST`` to ``HOTTEST``, which is reached where the logits are worse than no
        information. Temperature 1 and a fitted bias where there are fewer than :data:`FEWEST` images of a class
        or all logits are equal; :data:`UNCALIBRATED` where there is only one class.

    Raises:
        ValueError: as :func:`pneumo_cli.evaluation.binary.binary_metrics`.
    """
    scores, truth = checked(logits, labels)
    positives = int(truth.sum())
    negatives = truth.size - positives
    if not positives or not negatives:
        return UNCALIBRATED
    targets = np.where(truth == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    share = float(targets.mean())
    odds = math.log(share) - math.log1p(-share)
    centre = float(np.median(scores))  # robust: an outlier would cost the other logits their digits
    centred = scores - centre

    def bias_at(inverse: float) -> float:
        """The best bias for the centred logits times 1 / temperature: the mean probability equals the share."""
        scaled = centred * inverse

        def excess(bias: float) -> tuple[float, float]:
            p = sigmoid(scaled + bias)
            return float(p.mean()) - share, float((p * (1 - p)).mean())

        return _root(excess, odds - float(scaled.max()), odds - float(scaled.min()), odds)

    def slope(inverse: float) -> tuple[float, float]:
        """First and second derivative of the loss with respect to 1 / temperature, at the best bias for it."""
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
    """What to add to a calibrated logit for another prevalence of class 1 (Saerens et al. 2002).

    Correct where only the prevalence differs, and not the appearance of each class.

    Args:
        prevalence: share of class 1 for which probabilities are wanted, 0 < prevalence < 1.
        fitted: its share among the images that the calibration was fitted on, 0 < fitted < 1.

    Raises:
        ValueError: a share is out of bounds.
    """
    for share in (prevalence, fitted):
        if not 0 < share < 1:
            raise ValueError(f"the prevalence is {share}; it must be between 0 and 1, both excluded")
    return math.log(prevalence) - math.log1p(-prevalence) - math.log(fitted) + math.log1p(-fitted)


def reliability(probabilities: ArrayLike, labels: ArrayLike, bins: int = 10) -> ReliabilityBins:
    """Compare predicted probabilities with observed shares, in bins of equal width.

    Args:
        probabilities: of the positive class, [N], 0 to 1.
        labels: [N], each 0 or 1.
        bins: at least 1; bin k holds k / bins <= probability < (k + 1) / bins, the last one also 1.

    Raises:
        ValueError: the shapes differ, there is no image, or a value is out of bounds.
    """
    count, predicted, positive = _binned(probabilities, labels, bins)
    filled = count > 0
    count, observed = count[filled], positive[filled] / count[filled]
    low, high = wilson(observed, count.astype(np.float64))
    return ReliabilityBins(predicted[filled] / count, observed, count, low, high)


def expected_calibration_error(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Mean over images of |mean probability - share of positives| in the image's bin of equal width, 0 to 1.

    It is the error of the positive class's probability (as in Nixon et al. 2019, arXiv 1904.01685), not of the
    confidence in the predicted class as in Guo et al. 2017. Sampling noise alone makes it larger than 0: for n
    images of a perfectly calibrated model, by about 0.8 sqrt(share of the variance / n) in each bin.

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
    """Positive and negative predictive value (PPV, NPV) at a prevalence (Bayes' theorem).

    Args:
        sensitivity, specificity: 0 to 1, at one threshold.
        prevalence: of any shape, 0 to 1.

    Returns:
        PPV and NPV, of the prevalence's shape, 0 to 1: the share of positives among those predicted positive, and
        of negatives among those predicted negative; NaN where none is predicted so.

    Raises:
        ValueError: a value is out of bounds.
    """
    share = np.asarray(prevalence, dtype=np.float64)
    for name, value in (("sensitivity", sensitivity), ("specificity", specificity), ("prevalence", share)):
        if not np.all((np.asarray(value) >= 0) & (np.asarray(value) <= 1)):
            raise ValueError(f"the {name} must be between 0 and 1, not {value}")
    tp, fn = sensitivity * share, (1 - sensitivity) * share
    fp, tn = (1 - specificity) * (1 - share), specificity * (1 - share)
    with np.errstate(invalid="ignore"):
        return tp / (tp + fp), tn / (tn + fn)


def bin_of(probabilities: Floats, bins: int) -> NDArray[np.int64]:
    """The bin of equal width that each probability is in, 0 to bins - 1."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def _binned(
    probabilities: ArrayLike, labels: ArrayLike, bins: int
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Number of images, sum of probabilities and number of positives of each bin."""
    p, truth = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if p.ndim != 1 or p.shape != truth.shape or p.size == 0:
        raise ValueError(
            f"probabilities and labels have the shapes {p.shape} and {truth.shape}; both must be [N]"
        )
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a probability is not between 0 and 1")
    if not ((truth == 0) | (truth == 1)).all():
        raise ValueError("a label is neither 0 nor 1")
    if bins < 1:
        raise ValueError(f"there must be at least 1 bin, not {bins}")
    place = bin_of(p, bins)
    return (
        np.bincount(place, minlength=bins).astype(np.int64),
        np.bincount(place, weights=p, minlength=bins).astype(np.float64),
        np.bincount(place, weights=truth, minlength=bins).astype(np.float64),
    )


def _root(rising: Callable[[float], tuple[float, float]], low: float, high: float, start: float) -> float:
    """The root of a rising function in a bracket, by Newton's method with bisection where a step gains little.

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
        if abs(step - at) <= _TOLERANCE * max(1.0, abs(step)):
            return step
        at = step
    return at
