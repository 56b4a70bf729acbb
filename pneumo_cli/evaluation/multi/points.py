"""Operating points of K classes: a threshold per class, each chosen by the rule of the binary ones.

A threshold is one on the class's score against the rest (:func:`pneumo_cli.evaluation.multi.scores.one_vs_rest`),
before calibration. In ``multilabel`` a label is predicted where its score is at least the threshold. In
``multiclass`` the class whose score exceeds its threshold by most is predicted, so there the sensitivity that a
threshold was chosen for is that of the class by itself, and the decision among all classes may differ from it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.multi.scores import OneVsRest
from pneumo_cli.evaluation.operating_points import OperatingPoint, choose_operating_points
from pneumo_cli.runtime.percentages import share

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task

_NOT_CHOSEN = "Probability 0.5, not chosen: the validation images are all with or all without it."


@dataclass(frozen=True)
class MultiPoint:
    """A named set of thresholds, one per class.

    Attributes:
        name: ``default``, ``balanced``, ``screening``, ``cost``, or a third party's own.
        logit_thresholds: finite, on the scores of the K classes before calibration.
        rule: how they were chosen; one sentence for people.
        per_class: how each threshold was chosen, and its results on the validation images; K sentences.
    """

    name: str
    logit_thresholds: tuple[float, ...]
    rule: str
    per_class: tuple[str, ...]

    def plain(self) -> dict[str, Any]:
        """Plain values for a checkpoint, a report and for ``--json``."""
        return {
            "name": self.name,
            "logit_thresholds": list(self.logit_thresholds),
            "rule": self.rule,
            "per_class": list(self.per_class),
        }

    @classmethod
    def from_plain(cls, state: Mapping[str, Any], classes: int) -> MultiPoint:
        """Restore a point of K classes.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        thresholds = tuple(float(threshold) for threshold in state["logit_thresholds"])
        texts = tuple(str(text) for text in state["per_class"])
        point = cls(str(state["name"]), thresholds, str(state["rule"]), texts)
        if len(thresholds) != classes or len(texts) != classes or not all(map(math.isfinite, thresholds)):
            raise ValueError(f"the operating point {point.name!r} has the thresholds {list(thresholds)}")
        return point


def default_point(task: Task, classes: int) -> MultiPoint:
    """The point that no data choose: probability 0.5 of each label, or the most probable class."""
    rule = "Probability 0.5" if task == "multilabel" else "The most probable class"
    text = f"{rule} before calibration; not chosen by the data."
    return MultiPoint("default", (0.0,) * classes, text, (text,) * classes)


def choose_points(
    split: OneVsRest, task: Task, *, sensitivity: float = 0.95, miss_cost: float = 10.0
) -> tuple[MultiPoint, ...]:
    """Choose the thresholds of each class on the validation images where it is known.

    Args:
        split: the validation images.
        task: ``multiclass`` or ``multilabel``.
        sensitivity, miss_cost: as for ``choose_operating_points``.

    Returns:
        ``default``, ``balanced``, ``screening`` and ``cost``; ``default`` alone where no class has images of both
        kinds. A class without them keeps the threshold 0.

    Raises:
        ValueError: an argument is out of bounds.
    """
    chosen: list[dict[str, OperatingPoint]] = []
    for scores, truth in zip(split.scores.T, split.truth.T, strict=True):
        known = truth >= 0
        found: Sequence[OperatingPoint] = ()
        if known.any():
            found = choose_operating_points(
                scores[known], truth[known], sensitivity=sensitivity, miss_cost=miss_cost
            )
        chosen.append({point.name: point for point in found})
    each_one = "For each class" if task == "multiclass" else "For each label"
    rules = {
        "balanced": f"{each_one}, the largest sum of sensitivity and specificity (Youden's J).",
        "screening": f"{each_one}, the highest threshold with a sensitivity of at least {share(sensitivity, 1)}.",
        "cost": f"{each_one}, the lowest cost, where a false negative costs {miss_cost:g} false positives.",
    }
    points = [default_point(task, len(chosen))]
    missing = OperatingPoint("", 0.0, _NOT_CHOSEN)
    for name, rule in rules.items():
        if any(name in each for each in chosen):
            own = [each.get(name, missing) for each in chosen]
            thresholds = tuple(point.logit_threshold for point in own)
            points.append(MultiPoint(name, thresholds, rule, tuple(point.rule for point in own)))
    return tuple(points)
