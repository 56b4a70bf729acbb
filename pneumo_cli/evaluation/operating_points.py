"""Operating points: thresholds on the logit, each chosen by a named rule.

They are chosen on the validation split only, kept in the checkpoint, and used by ``evaluate`` and ``predict``:
sensitivity and specificity at a threshold that was chosen on the evaluated images are too optimistic. Calibration
changes the probability shown for a threshold, not which images are classified as positive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.compat import FormerNames
from pneumo_cli.evaluation.arrays import Floats, Integers, checked
from pneumo_cli.runtime.percentages import share

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values

_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class OperatingPoint(FormerNames, former={"cut": "logit_threshold"}):
    """A named threshold.

    Attributes:
        name: ``default``, ``balanced``, ``screening``, ``cost``, or a third party's own.
        logit_threshold: a finite logit; an image is classified as positive where its logit is at least this.
        rule: how it was chosen, and its results on the validation images; one sentence for people.
    """

    name: str
    logit_threshold: float
    rule: str

    def plain(self) -> dict[str, Any]:
        """Plain values for a report and for ``--json``."""
        return {"name": self.name, "logit_threshold": self.logit_threshold, "rule": self.rule}

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint, under the keys of version 0.1, which reads them too."""
        return {"name": self.name, "cut": self.logit_threshold, "rule": self.rule}

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> OperatingPoint:
        """Restore a point from :meth:`state` or :meth:`plain`.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        threshold = state["logit_threshold"] if "logit_threshold" in state else state["cut"]
        point = cls(str(state["name"]), float(threshold), str(state["rule"]))
        if not math.isfinite(point.logit_threshold):
            raise ValueError(f"the operating point {point.name!r} has the threshold {point.logit_threshold}")
        return point


def choose_operating_points(
    logits: Values, labels: Values, *, sensitivity: float = 0.95, miss_cost: float = 10.0
) -> tuple[OperatingPoint, ...]:
    """Choose the thresholds on the validation images.

    A threshold lies midway between two neighbouring logits of the split, or slightly beyond the first or last one.
    Ties go to the higher sensitivity: a missed pneumonia is the worse error.

    Args:
        logits: of validation images, [N], finite.
        labels: [N], each 0 or 1.
        sensitivity: that ``screening`` has to reach, 0 < sensitivity <= 1.
        miss_cost: cost of a false negative in false positives, > 0, for ``cost``.

    Returns:
        ``default`` (probability 0.5), ``balanced`` (the largest sensitivity + specificity: Youden 1950),
        ``screening`` (the highest threshold that reaches the sensitivity) and ``cost`` (the lowest cost per image
        at this split's prevalence); ``default`` alone where there is only one class.

    Raises:
        ValueError: as :func:`pneumo_cli.evaluation.binary.binary_metrics`, or an argument is out of bounds.
    """
    if not 0 < sensitivity <= 1:
        raise ValueError(f"the wanted sensitivity is {sensitivity}; it must be above 0 and at most 1")
    if not (miss_cost > 0 and math.isfinite(miss_cost)):
        raise ValueError(f"a false negative costs {miss_cost} false positives; it must be finite and above 0")
    scores, truth = checked(logits, labels)
    positives = int(truth.sum())
    negatives = truth.size - positives
    default = OperatingPoint("default", 0.0, "Probability 0.5 before calibration; not chosen by the data.")
    if not positives or not negatives:
        return (default,)
    logit_thresholds, tp, fp = _candidate_thresholds(scores, truth)
    # All in whole numbers or products of them, so that ties are exact.
    youden = tp * negatives - fp * positives
    sensitive = tp >= math.ceil(sensitivity * positives - 1e-9)
    cost = miss_cost * (positives - tp) + fp

    def point(name: str, place: int, rule: str) -> OperatingPoint:
        result = (
            f"on {truth.size:,} validation images sensitivity {tp[place] / positives:.3f}, "
            f"specificity {1 - fp[place] / negatives:.3f}"
        )
        return OperatingPoint(name, float(logit_thresholds[place]), f"{rule}: {result}.")

    youden_rule = "The largest sum of sensitivity and specificity (Youden's J)"
    screening_rule = f"The highest threshold with a sensitivity of at least {share(sensitivity, 1)}"
    cost_rule = (
        f"The lowest cost, where a false negative costs {miss_cost:g} false positives"
        f" ({cost.min() / truth.size:.3f} false positives per image)"
    )
    return (
        default,
        point("balanced", _last(youden == youden.max()), youden_rule),
        point("screening", int(np.flatnonzero(sensitive)[0]), screening_rule),
        point("cost", _last(cost <= cost.min() * (1 + 1e-12)), cost_rule),
    )


def _candidate_thresholds(scores: Floats, truth: Integers) -> tuple[Floats, Integers, Integers]:
    """All thresholds with different predictions, falling, with their true and false positives."""
    distinct, place = np.unique(scores, return_inverse=True)
    with np.errstate(over="ignore"):
        gaps = np.diff(distinct)
    # Beyond the ends by half the median gap: finite and not extreme.
    margin = float(np.median(gaps)) / 2 if gaps.size else 0.5
    margin = max(margin, float(np.spacing(np.abs(distinct).max())))
    between = distinct[:-1] / 2 + distinct[1:] / 2
    # Between two adjacent floats the midpoint is one of them: the upper one keeps the rule "at least".
    between = np.where(between > distinct[:-1], between, distinct[1:])
    logit_thresholds = np.concatenate(([distinct[0] - margin], between, [distinct[-1] + margin]))
    logit_thresholds = np.clip(logit_thresholds, -_LARGEST, _LARGEST)
    positives = np.bincount(place, weights=truth, minlength=distinct.size).astype(np.int64)
    images = np.bincount(place, minlength=distinct.size)
    tp = np.append(np.cumsum(positives[::-1])[::-1], 0)
    predicted = np.append(np.cumsum(images[::-1])[::-1], 0)
    return logit_thresholds[::-1], tp[::-1], (predicted - tp)[::-1]


def _last(where: np.ndarray) -> int:
    """The position of the lowest of these thresholds, which has the highest sensitivity."""
    return int(np.flatnonzero(where)[-1])
