"""What a report says of one split's predictions beside the plain metrics: how sure they are, what they are worth.

Intervals over patients, every operating point, each subtype alone, a classifier without a network beside it, and
the images that were called wrong. Computed once per report, from logits; what is measured in every epoch is
:meth:`pneumo_cli.trainers.classification.ClassificationTrainer.evaluate`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.binary import binary_metrics, confusion
from pneumo_cli.evaluation.confidence.delong import delong_interval
from pneumo_cli.evaluation.confidence.intervals import (
    Interval,
    difference_intervals,
    metric_intervals,
    share_interval,
)
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.evaluation.result import Evaluation, NamedTable

_LISTED = 200  # wrong images in a report; the predictions' file has all
BASELINE = "a logistic regression on 32-px thumbnails"
_COMPARED = ("accuracy", "auc")
_OF_PROBABILITIES = ("brier", "ece")


@dataclass(frozen=True)
class Predictions:
    """One split's predictions, and whose images they are of.

    Attributes:
        logits: of class 1, [N], finite.
        labels: [N] of 0 and 1.
        names, patients, subtypes: [N]; a subtype is empty where there is none.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: Sequence[str]
    patients: Sequence[str]
    subtypes: Sequence[str]

    def where(self, wanted: NDArray[np.bool_]) -> Predictions:
        """Return those of some images."""
        places = np.flatnonzero(wanted).tolist()
        return Predictions(
            self.logits[places],
            self.labels[places],
            [self.names[i] for i in places],
            [self.patients[i] for i in places],
            [self.subtypes[i] for i in places],
        )


def classification_report(
    evaluation: Evaluation,
    found: Predictions,
    rule: DecisionRule,
    baseline: NDArray[np.float64] | None,
    seed: int,
) -> Evaluation:
    """Add to an evaluation what a report says of it, but for its figures.

    These are :func:`pneumo_cli.reports.figures.classification_report.classification_figures`.

    Args:
        evaluation: with the metrics at the threshold 0.5; those that depend on a threshold are replaced by those at
            the rule's operating point.
        baseline: logits of the classifier without a network for the same images, [N]; None where there is none.
        seed: of the bootstrap.
    """
    logit_threshold = rule.point.logit_threshold
    metrics = {
        **evaluation.metrics,
        **binary_metrics(found.logits, found.labels, logit_threshold=logit_threshold),
    }
    intervals = _intervals(found, logit_threshold, seed)
    points = {
        point.name: _at(
            point,
            found,
            rule,
            intervals
            if point.logit_threshold == logit_threshold
            else _intervals(found, point.logit_threshold, seed),
            seed,
        )
        for point in rule.points
    }
    if rule.is_calibrated:
        calibrated = replace(found, logits=rule.calibrated(found.logits))
        after = binary_metrics(calibrated.logits, found.labels)
        sure = _intervals(calibrated, float(rule.calibrated(logit_threshold)), seed)
        metrics |= {f"{name}_calibrated": after[name] for name in _OF_PROBABILITIES}
        intervals |= {f"{name}_calibrated": sure[name] for name in _OF_PROBABILITIES if name in sure}
    details: dict[str, Any] = {
        **rule.calibration.plain(),
        "split_prevalence": float(found.labels.mean()),
        **({"validation_prevalence": rule.prevalence} if rule.is_calibrated else {}),
        "operating_point": rule.chosen,
        "operating_points": {name: at.plain() for name, at in points.items()},
        "errors": _errors(found, rule),
    }
    tables = [_points_table(points, rule)]
    if rule.images:
        tables.append(_rules_table(rule))
    both = 0 < found.labels.sum() < found.labels.size
    if both:
        area, low, high = delong_interval(found.logits, found.labels)
        details["delong"] = {"auc": area, "low": low, "high": high}
    subtypes = _subtypes(found, rule, seed)
    if subtypes:
        details["subtypes"] = {name: values.plain() for name, values in subtypes.items()}
        tables.append(_subtype_table(subtypes, rule))
    if baseline is not None and both:
        details["baseline"] = _beside_baseline(found, baseline, logit_threshold, seed)
        tables.append(_baseline_table(details["baseline"], metrics, intervals, found, rule))
    return replace(
        evaluation,
        metrics=metrics,
        intervals=intervals,
        # What an extension has added to the evaluation stays.
        tables=(*evaluation.tables, *tables),
        details={**evaluation.details, **details},
        outputs={
            **evaluation.outputs,
            "probabilities": rule.probabilities(found.logits),
            "predicted": (found.logits >= logit_threshold).astype(np.int64),
        },
    )


@dataclass(frozen=True)
class _Point:
    """What is found at one operating point: shares with intervals, and the confusion matrix."""

    point: OperatingPoint
    probability: float
    shares: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    matrix: NDArray[np.int64]

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            **self.point.plain(),
            "probability": self.probability,
            "metrics": dict(self.shares),
            "intervals": {name: list(ends) for name, ends in self.intervals.items()},
            "confusion": self.matrix.tolist(),
        }


_SHARES = {"recall": "Sensitivity", "specificity": "Specificity", "precision": "PPV", "npv": "NPV"}


def _at(
    point: OperatingPoint,
    found: Predictions,
    rule: DecisionRule,
    known: Mapping[str, tuple[float, float]],
    seed: int,
) -> _Point:
    """What is found at a point, of which the intervals of the metrics at its threshold are known."""
    matrix = confusion(found.logits, found.labels, logit_threshold=point.logit_threshold)
    (negatives, _), (misses, _) = matrix
    metrics = binary_metrics(found.logits, found.labels, logit_threshold=point.logit_threshold)
    intervals = dict(known)
    called_negative = found.logits < point.logit_threshold
    if called_negative.any():
        metrics["npv"] = float(negatives / (negatives + misses))
        right = (found.labels == 0)[called_negative]
        patients = [p for p, wanted in zip(found.patients, called_negative, strict=True) if wanted]
        interval = share_interval(right, patients, seed=seed)
        if interval is not None:
            intervals["npv"] = (interval.low, interval.high)
    return _Point(
        point,
        rule.probability_at(point),
        {name: metrics[name] for name in (*_SHARES, "accuracy") if name in metrics},
        {name: intervals[name] for name in (*_SHARES, "accuracy") if name in intervals},
        matrix,
    )


def _points_table(points: Mapping[str, _Point], rule: DecisionRule) -> NamedTable:
    rows = []
    for name, at in points.items():
        (negatives, alarms), (misses, hits) = at.matrix.tolist()
        rows.append(
            (
                name + (" (in use)" if name == rule.chosen else ""),
                f"{at.probability:.3f}",
                *(_with_interval(at.shares.get(share), at.intervals.get(share)) for share in _SHARES),
                *(f"{value:,}" for value in (hits, misses, alarms, negatives)),
            )
        )
    negative, positive = rule.classes
    return NamedTable(
        title="Operating points, chosen on the validation images" if rule.images else "Operating point",
        head=("Point", "From", *_SHARES.values(), "Found", "Missed", "False alarms", f"Right {negative}"),
        rows=tuple(rows),
        note=f"An image is called {positive} from this calibrated probability on. PPV and NPV are those at this "
        f"split's share of {positive}; the figure shows them for other shares.",
    )


def _rules_table(rule: DecisionRule) -> NamedTable:
    return NamedTable(
        title="How they were chosen",
        head=("Point", "Rule, and what it gave there"),
        rows=tuple((point.name, point.rule) for point in rule.points),
    )


@dataclass(frozen=True)
class _Subtype:
    """How one subtype of class 1 fares against all of class 0."""

    images: int
    sensitivity: float
    sensitivity_interval: tuple[float, float] | None
    auc: float
    auc_interval: tuple[float, float] | None

    def plain(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "images": self.images,
            "recall": self.sensitivity,
            "auc": self.auc,
            "intervals": {
                name: list(ends)
                for name, ends in (("recall", self.sensitivity_interval), ("auc", self.auc_interval))
                if ends
            },
        }


def _subtypes(found: Predictions, rule: DecisionRule, seed: int) -> dict[str, _Subtype]:
    kinds = np.array(found.subtypes)
    negative = found.labels == 0
    named = sorted({kind for kind, label in zip(found.subtypes, found.labels, strict=True) if label and kind})
    if len(named) < 2 or not negative.any():
        return {}
    result = {}
    for kind in named:
        part = found.where(negative | ((kinds == kind) & ~negative))
        metrics = binary_metrics(part.logits, part.labels, logit_threshold=rule.point.logit_threshold)
        intervals = _intervals(part, rule.point.logit_threshold, seed)
        result[kind] = _Subtype(
            int(part.labels.sum()),
            metrics["recall"],
            intervals.get("recall"),
            metrics["auc"],
            intervals.get("auc"),
        )
    return result


def _subtype_table(subtypes: Mapping[str, _Subtype], rule: DecisionRule) -> NamedTable:
    negative, positive = rule.classes
    return NamedTable(
        title=f"By subtype of {positive}",
        head=("Subtype", "Images", "Sensitivity", f"ROC AUC against {negative}"),
        rows=tuple(
            (
                name,
                f"{of.images:,}",
                _with_interval(of.sensitivity, of.sensitivity_interval),
                _with_interval(of.auc, of.auc_interval),
            )
            for name, of in subtypes.items()
        ),
        note=f"At the operating point {rule.chosen}.",
    )


def _beside_baseline(
    found: Predictions, baseline: NDArray[np.float64], logit_threshold: float, seed: int
) -> dict[str, Any]:
    """The baseline's metrics, at its own threshold 0.5, and what the network has over them at its
    logit_threshold."""
    metrics = binary_metrics(baseline, found.labels)
    differences = difference_intervals(
        found.logits,
        baseline,
        found.labels,
        found.patients,
        logit_thresholds=(logit_threshold, 0.0),
        seed=seed,
    )
    larger = float(max(found.labels.mean(), 1 - found.labels.mean()))
    return {
        "name": BASELINE,
        "metrics": {name: metrics[name] for name in ("accuracy", "auc", "average_precision")},
        "larger_class": {"accuracy": larger},
        "differences": {
            name: {"value": one.value, "low": one.low, "high": one.high, "p": one.p}
            for name, one in differences.items()
            if name in _COMPARED
        },
    }


def _baseline_table(
    baseline: Mapping[str, Any],
    metrics: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    found: Predictions,
    rule: DecisionRule,
) -> NamedTable:
    def difference(name: str) -> str:
        one = baseline["differences"].get(name)
        return f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})" if one else "–"

    larger = rule.classes[int(found.labels.mean() >= 0.5)]
    return NamedTable(
        title="Beside simpler answers",
        head=("", "Accuracy", "ROC AUC"),
        rows=(
            ("This network", *(_with_interval(metrics.get(n), intervals.get(n)) for n in _COMPARED)),
            ("A logistic regression", *(f"{baseline['metrics'][n]:.3f}" for n in _COMPARED)),
            (f"Always {larger}", f"{baseline['larger_class']['accuracy']:.3f}", "0.500"),
            ("Network − regression", *(difference(n) for n in _COMPARED)),
        ),
        note="The logistic regression sees thumbnails of 32 px, trained on the same images: what is had without a "
        "network. The difference is paired, with its interval over patients.",
    )


def _errors(found: Predictions, rule: DecisionRule) -> dict[str, Any]:
    """The images that were called wrong, the most confident first."""
    called = found.logits >= rule.point.logit_threshold
    wrong = np.flatnonzero(called != (found.labels == 1))
    wrong = wrong[np.argsort(-np.abs(found.logits[wrong] - rule.point.logit_threshold), kind="stable")]
    probabilities = rule.probabilities(found.logits)
    return {
        "count": len(wrong),
        "of": len(found.labels),
        "rows": [
            {
                "name": found.names[i],
                "patient": found.patients[i],
                "subtype": found.subtypes[i],
                "truth": rule.classes[int(found.labels[i])],
                "predicted": rule.classes[int(called[i])],
                "probability": float(probabilities[i]),
            }
            for i in wrong[:_LISTED].tolist()
        ],
    }


def _intervals(found: Predictions, logit_threshold: float, seed: int) -> dict[str, tuple[float, float]]:
    made = metric_intervals(
        found.logits, found.labels, found.patients, logit_threshold=logit_threshold, seed=seed
    )
    return {name: (float(one.low), float(one.high)) for name, one in made.items()}


def _with_interval(value: float | None, interval: Interval | tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f} ({interval[0]:.3f}–{interval[1]:.3f})" if interval else f"{value:.3f}"
