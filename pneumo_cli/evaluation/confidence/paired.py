"""Paired tests of classifiers on the same images, adjusted for multiple testing.

The difference of each metric is tested by a bootstrap over patients
(:func:`~pneumo_cli.evaluation.confidence.intervals.difference_intervals`), on which alone the results rest.
DeLong's test of the AUC and McNemar's test of the predicted classes, which take images for independent, are
checks.

The ROC AUC, which needs no threshold, is the primary metric; its tests are adjusted (Holm 1979) for the number of
pairs only. All other metrics are a second family, adjusted for all of its tests. A difference with an adjusted p
below 0.05 is significant. Holm's adjustment is valid however the tests depend on one another, as those of all pairs
of some classifiers do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.calibration import UNCALIBRATED, Calibration
from pneumo_cli.evaluation.confidence.bootstrap import Classifier, ResampledMetrics, resampled_metrics
from pneumo_cli.evaluation.confidence.delong import Comparison, delong_test
from pneumo_cli.evaluation.confidence.intervals import Difference, resampled_differences
from pneumo_cli.evaluation.confidence.mcnemar import Discordance, mcnemar_test
from pneumo_cli.evaluation.metric_names import lower_is_better, metric_label

if TYPE_CHECKING:
    from pneumo_cli.evaluation.confidence.intervals import Patients

SIGNIFICANT = 0.05
"""The adjusted p below which a difference is significant."""
PRIMARY = "auc"
RESAMPLES = 2000
_CALIBRATED = ("brier", "ece")
OF_CALLS = frozenset({"accuracy", "precision", "recall", "specificity", "f1", "mcc", "balanced_accuracy"})
"""Metrics that depend on the predicted classes only."""
_OF_ORDER = frozenset({"auc", "average_precision"})
NO_DIFFERENCE = Difference(0.0, 0.0, 0.0, 1.0)
"""The difference where there is nothing to test."""


@dataclass(frozen=True)
class Scored:
    """A classifier's logits, [N], finite, with its decision threshold and its calibration."""

    logits: NDArray[np.float64]
    logit_threshold: float = 0.0
    calibration: Calibration = UNCALIBRATED

    @property
    def calibrated(self) -> Scored:
        """The same predicted classes and probabilities, from calibrated logits."""
        return Scored(
            self.calibration.apply(self.logits), float(self.calibration.apply(self.logit_threshold))
        )


@dataclass(frozen=True)
class Tested:
    """One metric's difference and its significance.

    Attributes:
        difference: the second classifier's value minus the first one's, with its interval and unadjusted p.
        p: adjusted for the other tests of its family.
        better: 1 if the second is significantly better, -1 if the first is, else 0. For a metric without a better
            direction: which one is significantly higher.
    """

    difference: Difference
    p: float
    better: int


@dataclass(frozen=True)
class Pair:
    """How a second classifier differs from a first one.

    Attributes:
        equal: whether all predictions are equal, probabilities and classes.
        equal_calls: whether all predicted classes are equal.
        metrics: name to result; empty if there is only one patient.
        delong: of the ROC AUC, second minus first; None if a class is missing.
        calls: McNemar's tests on all images (``accuracy``), positive ones (``recall``) and negative ones
            (``specificity``); ``first_only`` counts those that only the second classifier classifies correctly.
        classes: of K classes or labels, the ROC AUC of each against the rest.
    """

    equal: bool
    equal_calls: bool
    metrics: Mapping[str, Tested] = field(default_factory=dict)
    delong: Comparison | None = None
    calls: Mapping[str, Discordance] = field(default_factory=dict)
    classes: Mapping[str, Tested] = field(default_factory=dict)

    @property
    def significant(self) -> list[str]:
        """The metrics that differ significantly."""
        return [name for name, tested in self.metrics.items() if tested.better]


def compare_pairs(
    classifiers: Sequence[Scored],
    pairs: Sequence[tuple[int, int]],
    labels: NDArray[np.int64],
    patients: Patients,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[list[Pair], dict[str, int]]:
    """Compare pairs of classifiers on the same images.

    Args:
        pairs: (first, second), as places in ``classifiers``; the second one's difference from the first is tested.
        labels: [N] of 0 and 1.
        patients: the patient of each image, [N].
        resamples, seed: of the bootstrap.

    Returns:
        a result for each pair, and the number of tests of each family, ``primary`` and ``other``. A metric in which
        two necessarily agree (equal predicted classes, equal order of the images) is not tested: its difference is
        :data:`NO_DIFFERENCE`.

    Raises:
        ValueError: as :func:`~pneumo_cli.evaluation.confidence.intervals.difference_intervals`.
    """

    @cache  # with all pairs of K classifiers each is in K - 1 of them
    def resampled(place: int, calibrated: bool = False) -> ResampledMetrics:
        scored = classifiers[place].calibrated if calibrated else classifiers[place]
        own = Classifier(scored.logits, scored.logit_threshold)
        return resampled_metrics([own], labels, patients, resamples=resamples, seed=seed)[0].metrics

    differences = [_differences(classifiers, b, a, resampled) for a, b in pairs]
    for (a, b), found in zip(pairs, differences, strict=True):
        found |= dict.fromkeys(found.keys() & _equal_metrics(classifiers[a], classifiers[b]), NO_DIFFERENCE)
    ps, tests = adjusted(differences)
    results = [
        Pair(
            _equal(classifiers[a], classifiers[b]),
            _equal_calls(classifiers[a], classifiers[b]),
            {name: tested(name, one, ps[i].get(name, one.p)) for name, one in differences[i].items()},
            _delong(classifiers[b], classifiers[a], labels),
            _calls(classifiers[b], classifiers[a], labels),
        )
        for i, (a, b) in enumerate(pairs)
    ]
    return results, tests


def adjusted(
    differences: Sequence[Mapping[str, Difference]], primary: str = PRIMARY
) -> tuple[list[dict[str, float]], dict[str, int]]:
    """The p values of several pairs, adjusted within the families of the primary metric and of all others.

    Args:
        differences: of each pair, by metric.
        primary: the metric of the first family.

    Returns:
        adjusted p values of each pair, of the differences that were tested; the number of tests of each family.
    """
    keys = [
        (i, name) for i, found in enumerate(differences) for name in found if found[name] != NO_DIFFERENCE
    ]
    families = {
        "primary": [key for key in keys if key[1] == primary],
        "other": [key for key in keys if key[1] != primary],
    }
    ps: list[dict[str, float]] = [{} for _ in differences]
    for family in families.values():
        for (i, name), p in zip(family, holm([differences[i][name].p for i, name in family]), strict=True):
            ps[i][name] = p
    return ps, {name: len(family) for name, family in families.items()}


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for their number, step down (Holm 1979), in their original order.

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
    classifiers: Sequence[Scored], second: int, first: int, resampled: Callable[..., ResampledMetrics]
) -> dict[str, Difference]:
    """The differences of two classifiers, by their places."""
    differences = resampled_differences(resampled(second), resampled(first))
    if any(classifiers[place].calibration != UNCALIBRATED for place in (second, first)):
        calibrated = resampled_differences(
            resampled(second, calibrated=True), resampled(first, calibrated=True)
        )
        differences |= {f"{name}_calibrated": calibrated[name] for name in _CALIBRATED if name in calibrated}
    return differences


def _equal(first: Scored, second: Scored) -> bool:
    return (
        np.array_equal(first.logits, second.logits)
        and first.logit_threshold == second.logit_threshold
        and first.calibration == second.calibration
    )


def _equal_calls(first: Scored, second: Scored) -> bool:
    return np.array_equal(first.logits >= first.logit_threshold, second.logits >= second.logit_threshold)


def _equal_metrics(first: Scored, second: Scored) -> frozenset[str]:
    """The metrics in which two necessarily agree, since everything that these depend on is equal."""
    metrics: frozenset[str] = frozenset()
    if _equal_calls(first, second):
        metrics |= OF_CALLS
    if np.array_equal(_order(first), _order(second)):
        metrics |= _OF_ORDER
    if np.array_equal(first.logits, second.logits):
        metrics |= frozenset(_CALIBRATED)
        if first.calibration == second.calibration:
            metrics |= {f"{name}_calibrated" for name in _CALIBRATED}
    return metrics


def _order(scored: Scored) -> NDArray[np.int64]:
    """The rank of each image's logit among the distinct ones, [N]."""
    return np.unique(scored.logits, return_inverse=True)[1].astype(np.int64)


def tested(name: str, difference: Difference, p: float) -> Tested:
    """The result of a metric's difference with its adjusted p."""
    if p >= SIGNIFICANT or not difference.value:
        return Tested(difference, p, 0)
    higher = 1 if difference.value > 0 else -1
    return Tested(difference, p, -higher if lower_is_better(name) else higher)


def _delong(second: Scored, first: Scored, labels: NDArray[np.int64]) -> Comparison | None:
    return delong_test(second.logits, first.logits, labels) if 0 < labels.sum() < labels.size else None


def _calls(second: Scored, first: Scored, labels: NDArray[np.int64]) -> dict[str, Discordance]:
    thresholds = second.logit_threshold, first.logit_threshold
    subsets = {"accuracy": labels >= 0, "recall": labels == 1, "specificity": labels == 0}
    return {
        name: mcnemar_test(second.logits[own], first.logits[own], labels[own], logit_thresholds=thresholds)
        for name, own in subsets.items()
        if own.any()
    }


def difference_text(metric: str, difference: Difference) -> str:
    """A difference with its interval, in the digits of its metric.

    >>> difference_text("auc", Difference(0.0121, -0.0004, 0.0199, 0.04))
    '+0.012 (0.000 to +0.020)'
    >>> difference_text("auc", Difference(-0.0121, -0.02, -0.0041, 0.04))
    '-0.012 (-0.020 to -0.004)'
    """
    if difference == NO_DIFFERENCE:
        return "0"
    value, low, high = (_signed(metric, end) for end in difference[:3])
    return f"{value} ({low} to {high})"


def p_text(p: float) -> str:
    """A p in a table.

    >>> p_text(0.0004), p_text(0.0312), p_text(1.0)
    ('< 0.001', '0.031', '1')
    """
    return "< 0.001" if p < 0.001 else "1" if p == 1 else f"{p:.3f}"


def p_clause(p: float) -> str:
    """A p in a sentence, after the letter.

    >>> p_clause(0.0004), p_clause(0.0312)
    ('< 0.001', '= 0.031')
    """
    return p_text(p) if p < 0.001 else f"= {p_text(p)}"


def _signed(metric: str, value: float) -> str:
    digits = metric_label(metric).digits
    rounded = round(value, digits)
    return f"{rounded:+.{digits}f}" if rounded else f"{0:.{digits}f}"
