"""Operating points: from which logit on an image is called positive, chosen by a rule that has a name.

They are chosen on the validation split and nowhere else, kept in the checkpoint, and used by ``evaluate`` and
``predict``: sensitivity and specificity of a threshold that was chosen on the images it is judged on are
too good. A threshold is a logit; calibration changes the probability that is shown beside it, not who is
called positive.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pneumo_cli.compat import FormerNames
from pneumo_cli.evaluation.arrays import Floats, Integers, checked

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values


_LARGEST = float(np.finfo(np.float64).max)


@dataclass(frozen=True)
class OperatingPoint(FormerNames, former={"cut": "logit_threshold"}):
    """A named threshold.

    Attributes:
        name: ``default``, ``balanced``, ``screening``, ``cost``, or a third party's own.
        logit_threshold: a finite logit; an image is called positive where its logit is at least this.
        rule: how it was chosen and what was seen on the validation images, one sentence for people.
    """

    name: str
    logit_threshold: float
    rule: str

    def plain(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"name": self.name, "logit_threshold": self.logit_threshold, "rule": self.rule}

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> OperatingPoint:
        """Take a point back; versions before 0.2 wrote its threshold as ``cut``.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        point = cls(
            str(state["name"]),
            float(state["logit_threshold"] if "logit_threshold" in state else state["cut"]),
            str(state["rule"]),
        )
        if not math.isfinite(point.logit_threshold):
            raise ValueError(f"the operating point {point.name!r} has the threshold {point.logit_threshold}")
        return point


def choose_operating_points(
    logits: Values, labels: Values, *, sensitivity: float = 0.95, miss_cost: float = 10.0
) -> tuple[OperatingPoint, ...]:
    """Choose the thresholds on the validation images.

    A threshold lies midway between two neighbouring logits of the split, or a little outside of the first
    or last one. Of thresholds that serve a rule equally well, the one with the higher sensitivity is
    taken: a missed pneumonia is the worse error.

    Args:
        logits: of validation images, [N], finite.
        labels: [N], each 0 or 1.
        sensitivity: that ``screening`` has to reach, 0 < sensitivity <= 1.
        miss_cost: what a missed positive costs in false alarms, > 0, for ``cost``.

    Returns:
        ``default`` (probability 0.5), ``balanced`` (the largest sensitivity + specificity: Youden 1950),
        ``screening`` (the highest threshold that reaches the sensitivity) and ``cost`` (the least cost
        per image at this split's prevalence). With one class only there is nothing to choose by: ``default``
        alone.

    Raises:
        ValueError: as :func:`pneumo_cli.evaluation.binary.binary_metrics`, or an argument is out of bounds.
    """
    if not 0 < sensitivity <= 1:
        raise ValueError(f"the wanted sensitivity is {sensitivity}; it has to be above 0 and at most 1")
    if not (miss_cost > 0 and math.isfinite(miss_cost)):
        raise ValueError(f"a missed positive costs {miss_cost} false alarms; it has to be above 0")
    scores, truth = checked(logits, labels)
    positives = int(truth.sum())
    negatives = truth.size - positives
    default = OperatingPoint("default", 0.0, "Probability 0.5 before calibration; not chosen by the data.")
    if not positives or not negatives:
        return (default,)
    logit_thresholds, hits, alarms = _candidate_thresholds(scores, truth)
    # All in whole numbers or products of them, so that equal is equal.
    youden = hits * negatives - alarms * positives
    wanted = hits >= math.ceil(sensitivity * positives - 1e-9)
    cost = miss_cost * (positives - hits) + alarms

    def point(name: str, place: int, rule: str) -> OperatingPoint:
        seen = (
            f"on {truth.size:,} validation images sensitivity {hits[place] / positives:.3f}, "
            f"specificity {1 - alarms[place] / negatives:.3f}"
        )
        return OperatingPoint(name, float(logit_thresholds[place]), f"{rule}: {seen}.")

    return (
        default,
        point(
            "balanced",
            _last(youden == youden.max()),
            "The largest sum of sensitivity and specificity (Youden's J)",
        ),
        point(
            "screening",
            int(np.flatnonzero(wanted)[0]),
            f"The highest threshold that finds {sensitivity:.1%} or more",
        ),
        point(
            "cost",
            _last(cost <= cost.min() * (1 + 1e-12)),
            f"The least cost where a missed positive costs {miss_cost:g} false alarms"
            f" ({cost.min() / truth.size:.3f} false alarms per image)",
        ),
    )


def _candidate_thresholds(scores: Floats, truth: Integers) -> tuple[Floats, Integers, Integers]:
    """All thresholds that differ in whom they call positive, falling, with the positives and negatives
    called so."""
    distinct, place = np.unique(scores, return_inverse=True)
    with np.errstate(over="ignore"):
        gaps = np.diff(distinct)
    # Beyond the ends as far as the middle half of the neighbours are apart, on average: finite and not extreme.
    margin = float(np.median(gaps)) / 2 if gaps.size else 0.5
    margin = max(margin, float(np.spacing(np.abs(distinct).max())))
    between = distinct[:-1] / 2 + distinct[1:] / 2
    # Where two neighbours are one rounding apart, half way is one of them: the upper one keeps the rule "at least".
    between = np.where(between > distinct[:-1], between, distinct[1:])
    logit_thresholds = np.concatenate(([distinct[0] - margin], between, [distinct[-1] + margin]))
    logit_thresholds = np.clip(logit_thresholds, -_LARGEST, _LARGEST)
    positives = np.bincount(place, weights=truth, minlength=distinct.size).astype(np.int64)
    images = np.bincount(place, minlength=distinct.size)
    hits = np.append(np.cumsum(positives[::-1])[::-1], 0)
    called = np.append(np.cumsum(images[::-1])[::-1], 0)
    return logit_thresholds[::-1], hits[::-1], (called - hits)[::-1]


def _last(where: np.ndarray) -> int:
    """The lowest of the thresholds: the highest sensitivity."""
    return int(np.flatnonzero(where)[-1])
