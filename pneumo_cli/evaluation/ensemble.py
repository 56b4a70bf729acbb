"""Several trained classifiers that judge as one: the mean of their calibrated logits, and one rule to decide by it.

Each run's logits are calibrated by its own temperature and bias, and the mean of the results is again a logit,
calibrated about as well as they are. An operating point of the whole lies at the mean of the runs' own points on
that scale: nothing is fitted anew, so several runs decide in the same way whether their images are at hand or not,
and the test images choose nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.operating_points import OperatingPoint

if TYPE_CHECKING:
    pass

_log = logging.getLogger("pneumo")


@dataclass(frozen=True)
class MemberPredictions:
    """What one run's checkpoint says of the images of one split.

    Attributes:
        folder: the run's.
        epoch: after which the checkpoint was written.
        fingerprint: of the images' dataset.
        rule: the run's own.
        index: the images' positions in the dataset's records, [N].
        logits: of class 1, as the network gives them, float64 [N], finite.
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
        """The logits on the scale that all members share, [N]."""
        return self.rule.calibrated(self.logits)

    def metrics(self) -> dict[str, float]:
        """The binary metrics of this member alone, at its own operating point."""
        return binary_metrics(self.logits, self.labels, logit_threshold=self.rule.point.logit_threshold)


def ensemble_rule(rules: Sequence[DecisionRule]) -> DecisionRule:
    """The rule for the mean of calibrated logits: which needs no more of it, with the points that all members have.

    The point in use is that of the members, where they agree, and ``default`` where they do not.

    Raises:
        UsageError: they do not tell the same classes apart.
    """
    first = rules[0]
    for rule in rules[1:]:
        if rule.classes != first.classes:
            raise UsageError(
                f"these runs tell different classes apart ({', '.join(first.classes)}; {', '.join(rule.classes)}): "
                "their mean says nothing"
            )
    points = []
    for point in first.points:
        logit_thresholds = [
            float(rule.calibrated(o.logit_threshold))
            for rule in rules
            for o in rule.points
            if o.name == point.name
        ]
        if len(logit_thresholds) == len(rules):
            said = (
                point.rule
                if len(set(logit_thresholds)) == 1
                else f"The mean of {len(logit_thresholds)} runs' thresholds."
            )
            points.append(OperatingPoint(point.name, float(np.mean(logit_thresholds)), said))
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
    """The mean of the calibrated logits per image, over the members that have judged it.

    Returns:
        index (rising), logits and labels, [N] each, of the images that any member has judged.

    Raises:
        UsageError: the members judged images of different datasets.
    """
    if len({one.fingerprint for one in members}) > 1:
        raise UsageError("these runs were not judged on the same data: their mean says nothing")
    index, place = np.unique(np.concatenate([one.index for one in members]), return_inverse=True)
    sums = np.bincount(place, weights=np.concatenate([one.calibrated for one in members]))
    labels = np.empty(len(index), np.int64)
    labels[place] = np.concatenate([one.labels for one in members])
    return index, sums / np.bincount(place), labels
