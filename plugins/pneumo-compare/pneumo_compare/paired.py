"""Whether classifiers differ that were judged on the same images: paired tests, adjusted for how many there are.

Every metric's difference is tested by the bootstrap over patients
(:func:`~pneumo_cli.evaluation.confidence.intervals. difference_intervals`); DeLong's test of the AUC and
McNemar's of the calls stand beside it as checks, which take every image for independent. Verdicts rest on the
bootstrap alone.

Which difference is asked about is said before anybody looks: the ROC AUC, which needs no threshold, is the primary
metric, and its tests are adjusted (Holm 1979) for the number of classifiers alone. All other metrics are a second
family, adjusted for all of its tests. A p below 0.05 after that is called a significant difference.

Works on arrays; where they come from is :mod:`pneumo_compare.comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.calibration import UNCALIBRATED, Calibration
from pneumo_cli.evaluation.confidence.delong import Comparison, delong_test
from pneumo_cli.evaluation.confidence.intervals import Difference, difference_intervals
from pneumo_cli.evaluation.metric_names import lower_is_better
from pneumo_compare.mcnemar import Discordance, mcnemar_test

if TYPE_CHECKING:
    from pneumo_cli.evaluation.confidence.intervals import Patients

SIGNIFICANT = 0.05
"""The p below which a difference counts, after the adjustment."""
PRIMARY = "auc"
RESAMPLES = 2000
_CALIBRATED = ("brier", "ece")
OF_CALLS = frozenset({"accuracy", "precision", "recall", "specificity", "f1", "mcc", "balanced_accuracy"})
"""Metrics that see who is called positive, and nothing else."""
_OF_ORDER = frozenset({"auc", "average_precision"})
NO_DIFFERENCE = Difference(0.0, 0.0, 0.0, 1.0)
"""What is found where there is nothing to test."""


@dataclass(frozen=True)
class Scored:
    """One classifier's logits, [N], finite, and how it makes calls and probabilities of them."""

    logits: NDArray[np.float64]
    logit_threshold: float = 0.0
    calibration: Calibration = UNCALIBRATED

    @property
    def calibrated(self) -> Scored:
        """The same calls and probabilities, of logits that need no more calibration."""
        return Scored(
            self.calibration.apply(self.logits), float(self.calibration.apply(self.logit_threshold))
        )


@dataclass(frozen=True)
class Tested:
    """One metric's difference and what to think of it.

    Attributes:
        difference: the second classifier's value less the first one's, with its interval and its p alone.
        p: adjusted for the other tests of its family.
        better: 1 where the second one is significantly better, -1 where the first one is, 0 where neither; of a
            metric of which nobody knows which way is better: which one is higher.
    """

    difference: Difference
    p: float
    better: int


@dataclass(frozen=True)
class Pair:
    """How a second classifier differs from a first one.

    Attributes:
        equal: whether both say the same of every image, probabilities and calls.
        equal_calls: whether both call every image the same.
        metrics: name to what was found; empty with a single patient.
        delong: of the ROC AUC, second less first; None where a class is missing.
        calls: McNemar's test of all calls (``accuracy``), of the positive images' (``recall``) and of the negative
            ones' (``specificity``); ``first_only`` are those that the second classifier alone got right.
    """

    equal: bool
    equal_calls: bool
    metrics: Mapping[str, Tested] = field(default_factory=dict)
    delong: Comparison | None = None
    calls: Mapping[str, Discordance] = field(default_factory=dict)

    @property
    def significant(self) -> list[str]:
        """The metrics that differ significantly."""
        return [name for name, tested in self.metrics.items() if tested.better]


def compare(
    first: Scored,
    others: Sequence[Scored],
    labels: NDArray[np.int64],
    patients: Patients,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[list[Pair], dict[str, int]]:
    """Compare classifiers with a first one, on the same images.

    Args:
        labels: [N] of 0 and 1.
        patients: whose image each is, [N].
        resamples, seed: of the bootstrap.

    Returns:
        a pair for each of the others, and how many tests each family has: ``primary`` and ``other``. Where two have
        to agree in a metric (they call all images alike, they order all alike) there is nothing to test: they
        differ by :data:`NO_DIFFERENCE`.

    Raises:
        ValueError: as :func:`~pneumo_cli.evaluation.confidence.intervals.difference_intervals`.
    """
    found = [_differences(second, first, labels, patients, resamples, seed) for second in others]
    for second, differences in zip(others, found, strict=True):
        differences |= dict.fromkeys(differences.keys() & _equal_metrics(first, second), NO_DIFFERENCE)
    keys = [
        (i, name)
        for i, differences in enumerate(found)
        for name in differences
        if differences[name] != NO_DIFFERENCE
    ]
    families = {
        "primary": [key for key in keys if key[1] == PRIMARY],
        "other": [key for key in keys if key[1] != PRIMARY],
    }
    adjusted: dict[tuple[int, str], float] = {}
    for family in families.values():
        adjusted |= zip(family, holm([found[i][name].p for i, name in family]), strict=True)
    pairs = []
    for i, (second, differences) in enumerate(zip(others, found, strict=True)):
        metrics = {
            name: _tested(name, difference, adjusted.get((i, name), difference.p))
            for name, difference in differences.items()
        }
        pairs.append(
            Pair(
                _equal(first, second),
                _equal_calls(first, second),
                metrics,
                _delong(second, first, labels),
                _calls(second, first, labels),
            )
        )
    return pairs, {name: len(family) for name, family in families.items()}


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for their number, step down (Holm 1979), in the order that they came in.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(ps, kind="stable").tolist()
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = largest
    return adjusted


def _differences(
    second: Scored,
    first: Scored,
    labels: NDArray[np.int64],
    patients: Patients,
    resamples: int,
    seed: int,
) -> dict[str, Difference]:
    def differ(one: Scored, other: Scored) -> dict[str, Difference]:
        return difference_intervals(
            one.logits,
            other.logits,
            labels,
            patients,
            logit_thresholds=(one.logit_threshold, other.logit_threshold),
            resamples=resamples,
            seed=seed,
        )

    found = differ(second, first)
    if (second.calibration, first.calibration) != (UNCALIBRATED, UNCALIBRATED):
        calibrated = differ(second.calibrated, first.calibrated)
        found |= {f"{name}_calibrated": calibrated[name] for name in _CALIBRATED if name in calibrated}
    return found


def _equal(first: Scored, second: Scored) -> bool:
    return (
        np.array_equal(first.logits, second.logits)
        and first.logit_threshold == second.logit_threshold
        and first.calibration == second.calibration
    )


def _equal_calls(first: Scored, second: Scored) -> bool:
    return np.array_equal(first.logits >= first.logit_threshold, second.logits >= second.logit_threshold)


def _equal_metrics(first: Scored, second: Scored) -> frozenset[str]:
    """The metrics in which two have to agree on any images, since all they are made of is equal."""
    found: frozenset[str] = frozenset()
    if _equal_calls(first, second):
        found |= OF_CALLS
    if np.array_equal(_order(first), _order(second)):
        found |= _OF_ORDER
    if np.array_equal(first.logits, second.logits):
        found |= frozenset(_CALIBRATED)
        if first.calibration == second.calibration:
            found |= {f"{name}_calibrated" for name in _CALIBRATED}
    return found


def _order(scored: Scored) -> NDArray[np.int64]:
    """The place of each image's logit among the distinct ones, [N]."""
    return np.unique(scored.logits, return_inverse=True)[1].astype(np.int64)


def _tested(name: str, difference: Difference, p: float) -> Tested:
    if p >= SIGNIFICANT or not difference.value:
        return Tested(difference, p, 0)
    higher = 1 if difference.value > 0 else -1
    return Tested(difference, p, -higher if lower_is_better(name) else higher)


def _delong(second: Scored, first: Scored, labels: NDArray[np.int64]) -> Comparison | None:
    return delong_test(second.logits, first.logits, labels) if 0 < labels.sum() < labels.size else None


def _calls(second: Scored, first: Scored, labels: NDArray[np.int64]) -> dict[str, Discordance]:
    every = np.ones(labels.size, dtype=bool)
    parts = {"accuracy": every, "recall": labels == 1, "specificity": labels == 0}
    return {
        name: mcnemar_test(
            second.logits[there],
            first.logits[there],
            labels[there],
            logit_thresholds=(second.logit_threshold, first.logit_threshold),
        )
        for name, there in parts.items()
        if there.any()
    }
