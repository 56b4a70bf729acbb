"""Ensembles of trained classifiers: the mean of their calibrated logits, and one decision rule for it.

Each member's logits are calibrated by its own temperature and bias, and their mean is again a logit, about as well
calibrated. An operating point of the ensemble is the mean of the members' own points on that scale. Nothing is
refitted, so the decisions do not depend on the available images, least of all on test images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.decision_rule import DecisionRule
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
        logits: of class 1, uncalibrated, float64 [N], finite.
        labels: [N] of 0 and 1.
    """

    folder: Path
    epoch: int
    fingerprint: str
    rule: DecisionRule
    index: NDArray[np.int64]
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def calibrated(self) -> NDArray[np.float64]:
        """The calibrated logits, [N], on the scale that all members share."""
        return self.rule.calibrated(self.logits)

    def metrics(self) -> dict[str, float]:
        """The binary metrics of this member alone, at its own operating point."""
        return binary_metrics(self.logits, self.labels, logit_threshold=self.rule.point.logit_threshold)


def ensemble_rule(rules: Sequence[DecisionRule]) -> DecisionRule:
    """The rule for the mean of calibrated logits, without further calibration and with the points of all members.

    The point in use is that of the members where they agree, else ``default``.

    Raises:
        UsageError: their classes differ.
    """
    first = rules[0]
    for rule in rules[1:]:
        if rule.classes != first.classes:
            raise UsageError(
                f"these runs have different classes ({', '.join(first.classes)}; {', '.join(rule.classes)}): "
                "they cannot form an ensemble"
            )
    points = []
    for point in first.points:
        own = [(rule, one) for rule in rules for one in rule.points if one.name == point.name]
        thresholds = [float(rule.calibrated(one.logit_threshold)) for rule, one in own]
        if len(thresholds) == len(rules):
            same = len(set(thresholds)) == 1
            text = point.rule if same else f"The mean of {len(thresholds)} runs' thresholds."
            points.append(OperatingPoint(point.name, float(np.mean(thresholds)), text))
    chosen = {rule.chosen for rule in rules}
    assumed = {rule.assumed for rule in rules}
    images = sum(rule.images for rule in rules)
    return DecisionRule(
        classes=first.classes,
        points=tuple(points),
        chosen=first.chosen if len(chosen) == 1 else "default",
        images=images,
        prevalence=sum(r.images * r.prevalence for r in rules) / images if images else first.prevalence,
        assumed=first.assumed if len(assumed) == 1 else None,
    )


def average(
    members: Sequence[MemberPredictions],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The mean of the calibrated logits per image, over the members with a prediction for it.

    Returns:
        index (rising), logits and labels, [N] each, of the images that any member predicts.

    Raises:
        UsageError: the members were evaluated on different datasets.
    """
    if len({one.fingerprint for one in members}) > 1:
        raise UsageError("these runs were evaluated on different data: they cannot form an ensemble")
    index, place = np.unique(np.concatenate([one.index for one in members]), return_inverse=True)
    sums = np.bincount(place, weights=np.concatenate([one.calibrated for one in members]))
    labels = np.empty(len(index), np.int64)
    labels[place] = np.concatenate([one.labels for one in members])
    return index, sums / np.bincount(place), labels
