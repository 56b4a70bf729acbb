"""Ensembles of trained classifiers: the mean of their calibrated logits, and one decision rule for it.

Each member's logits are calibrated by its own temperature and bias, and their mean is again a logit, about as well
calibrated. The softmax of the mean of several classes' logits is the geometric mean of the members' probabilities,
scaled to the sum 1. An operating point of the ensemble is the mean of the members' own points on that scale.
Nothing is refitted, so the decisions do not depend on the available images, least of all on test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.multi.calibration import ClassCalibration
from pneumo_cli.evaluation.multi.metrics import multi_metrics
from pneumo_cli.evaluation.multi.points import MultiPoint
from pneumo_cli.evaluation.multi.rule import MultiRule, Rule
from pneumo_cli.evaluation.operating_points import OperatingPoint


@dataclass(frozen=True)
class MemberPredictions:
    """The predictions of one run's checkpoint on the images of one split.

    Attributes:
        folder: the run's.
        epoch: after which the checkpoint was written.
        fingerprint: of the images' dataset.
        rule: the run's own.
        index: the images' positions in the dataset's records, [N].
        logits: of class 1, uncalibrated, float64 [N], finite; or of K classes, [N, K].
        labels: [N] of 0 and 1, or class indices; or 1, 0 and -1 for unknown, [N, K].
    """

    folder: Path
    epoch: int
    fingerprint: str
    rule: Rule
    index: NDArray[np.int64]
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def calibrated(self) -> NDArray[np.float64]:
        """The calibrated logits, [N] or [N, K], on the scale that all members share."""
        return self.rule.calibrated(self.logits)

    def metrics(self) -> dict[str, float]:
        """The metrics of this member alone, at its own operating point."""
        if isinstance(self.rule, MultiRule):
            thresholds = self.rule.point.logit_thresholds
            return multi_metrics(self.logits, self.labels, self.rule.task, thresholds)
        return binary_metrics(self.logits, self.labels, logit_threshold=self.rule.point.logit_threshold)


@overload
def ensemble_rule(rules: Sequence[DecisionRule]) -> DecisionRule: ...
@overload
def ensemble_rule(rules: Sequence[MultiRule]) -> MultiRule: ...
@overload
def ensemble_rule(rules: Sequence[Rule]) -> Rule: ...


def ensemble_rule(rules: Sequence[Rule]) -> Rule:
    """The rule for the mean of calibrated logits, without further calibration and with the points of all members.

    The point in use is that of the members where they agree, else ``default``.

    Raises:
        UsageError: their classes differ, or whether an image can have several of them.
    """
    first = rules[0]
    for rule in rules[1:]:
        if rule.classes != first.classes:
            raise UsageError(
                f"these runs have different classes ({', '.join(first.classes)}; {', '.join(rule.classes)}): "
                "they cannot form an ensemble"
            )
        if rule.task != first.task:
            raise UsageError(
                f"these runs are of different tasks ({first.task}, {rule.task}): they cannot form an ensemble"
            )
    if isinstance(first, MultiRule):
        return _of_classes([rule for rule in rules if isinstance(rule, MultiRule)])
    return _of_two_classes([rule for rule in rules if isinstance(rule, DecisionRule)])


def _of_two_classes(rules: Sequence[DecisionRule]) -> DecisionRule:
    first = rules[0]
    points = []
    for point in first.points:
        own = [(rule, one) for rule in rules for one in rule.points if one.name == point.name]
        thresholds = [float(rule.calibrated(one.logit_threshold)) for rule, one in own]
        if len(thresholds) == len(rules):
            same = len(set(thresholds)) == 1
            text = point.rule if same else f"The mean of {len(thresholds)} runs' thresholds."
            points.append(OperatingPoint(point.name, float(np.mean(thresholds)), text))
    assumed = {rule.assumed for rule in rules}
    images = sum(rule.images for rule in rules)
    return DecisionRule(
        classes=first.classes,
        points=tuple(points),
        chosen=_chosen(rules),
        images=images,
        prevalence=sum(r.images * r.prevalence for r in rules) / images if images else first.prevalence,
        assumed=first.assumed if len(assumed) == 1 else None,
    )


def _of_classes(rules: Sequence[MultiRule]) -> MultiRule:
    first = rules[0]
    points = []
    for point in first.points:
        own = [(rule, one) for rule in rules for one in rule.points if one.name == point.name]
        if len(own) == len(rules):
            thresholds = np.array([rule.calibrated_thresholds(one) for rule, one in own])
            mean = tuple(thresholds.mean(axis=0).tolist())
            text = f"The mean of {len(own)} runs' thresholds."
            same = (thresholds == thresholds[0]).all()
            texts = (point.rule, point.per_class) if same else (text, (text,) * len(first.classes))
            points.append(MultiPoint(point.name, mean, *texts))
    images = sum(rule.images for rule in rules)
    fitted = [rule for rule in rules if rule.images]
    return MultiRule(
        task=first.task,
        classes=first.classes,
        calibration=ClassCalibration.none(len(first.classes)),
        points=tuple(points),
        chosen=_chosen(rules),
        images=images,
        prevalence=tuple(
            sum(rule.images * rule.prevalence[place] for rule in fitted) / images
            for place in range(len(first.classes))
        )
        if images
        else (),
    )


def _chosen(rules: Sequence[Rule]) -> str:
    return rules[0].chosen if len({rule.chosen for rule in rules}) == 1 else "default"


def average(
    members: Sequence[MemberPredictions],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The mean of the calibrated logits per image, over the members with a prediction for it.

    Returns:
        index (rising), logits and labels of the images that any member predicts; of the members' shapes.

    Raises:
        UsageError: the members were evaluated on different datasets.
    """
    if len({one.fingerprint for one in members}) > 1:
        raise UsageError("these runs were evaluated on different data: they cannot form an ensemble")
    index, place = np.unique(np.concatenate([one.index for one in members]), return_inverse=True)
    calibrated = np.concatenate([one.calibrated for one in members])
    sums = np.zeros((len(index), *calibrated.shape[1:]))
    np.add.at(sums, place, calibrated)
    found = np.concatenate([one.labels for one in members])
    labels = np.empty((len(index), *found.shape[1:]), np.int64)
    labels[place] = found
    counts = np.bincount(place).reshape(-1, *(1,) * (sums.ndim - 1))
    return index, sums / counts, labels
