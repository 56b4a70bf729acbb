"""The classification report of one split: what is added to the plain metrics.

Intervals over patients, every operating point, each subtype, the linear baseline, and the misclassified images.
Computed once per report, from logits; the metrics of every epoch are computed by
:meth:`pneumo_cli.trainers.classification.ClassificationTrainer.evaluate`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import Integers
from pneumo_cli.evaluation.binary import binary_metrics, confusion
from pneumo_cli.evaluation.confidence.bootstrap import (
    Classifier,
    Resampled,
    ResampledMetrics,
    resampled_metrics,
)
from pneumo_cli.evaluation.confidence.delong import delong_interval
from pneumo_cli.evaluation.confidence.draws import patient_codes
from pneumo_cli.evaluation.confidence.intervals import (
    Interval,
    metric_intervals,
    resampled_differences,
    resampled_intervals,
    share_interval,
)
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.evaluation.result import Evaluation, NamedTable

_LISTED = 200  # misclassified images in a report; the predictions' file has all
BASELINE = "a logistic regression on 32-px images"
_COMPARED = ("accuracy", "auc")
_OF_SUBTYPES = ("recall", "auc")
_OF_PROBABILITIES = ("brier", "ece")


@dataclass(frozen=True)
class Predictions:
    """One split's predictions, with names and patients of the images.

    Attributes:
        logits: uncalibrated and finite: of class 1, [N], or of K classes, [N, K].
        labels: class indices [N], or of K labels 1, 0 and -1 for unknown [N, K].
        names, patients, subtypes: [N]; a subtype is empty where there is none.
    """

    logits: NDArray[np.float64]
    labels: NDArray[np.int64]
    names: Sequence[str]
    patients: Sequence[str]
    subtypes: Sequence[str]

    def where(self, wanted: NDArray[np.bool_]) -> Predictions:
        """The predictions of some images, by a mask [N]."""
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
    predictions: Predictions,
    rule: DecisionRule,
    baseline: NDArray[np.float64] | None,
    seed: int,
) -> Evaluation:
    """Add the report's metrics, intervals, details and tables to an evaluation.

    The figures are :func:`pneumo_cli.reports.figures.classification_report.classification_figures`.

    Args:
        evaluation: with the metrics at the threshold 0.5; those that depend on a threshold are replaced by those at
            the rule's operating point.
        baseline: logits of the linear baseline for the same images, [N]; None where there is none.
        seed: of the bootstrap.
    """
    logits, labels, logit_threshold = predictions.logits, predictions.labels, rule.point.logit_threshold
    metrics = {**evaluation.metrics, **binary_metrics(logits, labels, logit_threshold=logit_threshold)}
    codes = patient_codes(predictions.patients, labels.size)
    both = 0 < labels.sum() < labels.size
    # All of them in the same resamples of patients, which take as long as any classifier.
    classifiers = {"": Classifier(logits, logit_threshold)}
    classifiers |= {
        f"point {point.name}": Classifier(logits, point.logit_threshold, areas=False)
        for point in rule.points
        if point.logit_threshold != logit_threshold
    }
    calibrated = rule.calibrated(logits)
    if rule.is_calibrated:
        threshold = float(rule.calibrated(logit_threshold))
        classifiers["calibrated"] = Classifier(calibrated, threshold, areas=False)
    if baseline is not None and both:
        classifiers["baseline"] = Classifier(baseline)
    resampled = dict(
        zip(classifiers, resampled_metrics([*classifiers.values()], labels, codes, seed=seed), strict=True)
    )
    intervals = _intervals(resampled[""])
    points = {}
    for point in rule.points:
        own = resampled.get(f"point {point.name}")
        ends = _intervals(own, (*_SHARES, "accuracy")) if own else intervals
        points[point.name] = _at(point, predictions, codes, rule, ends, seed)
    if rule.is_calibrated:
        after = binary_metrics(calibrated, labels)
        metrics |= {f"{name}_calibrated": after[name] for name in _OF_PROBABILITIES}
        ends = _intervals(resampled["calibrated"], _OF_PROBABILITIES)
        intervals |= {f"{name}_calibrated": one for name, one in ends.items()}
    details: dict[str, Any] = {
        **rule.calibration.plain(),
        "split_prevalence": float(labels.mean()),
        **({"validation_prevalence": rule.prevalence} if rule.is_calibrated else {}),
        "operating_point": rule.chosen,
        "operating_points": {name: at.plain() for name, at in points.items()},
        "errors": _errors(predictions, rule),
    }
    tables = [_points_table(points, rule)]
    if rule.images:
        tables.append(_rules_table(rule))
    if both:
        area, low, high = delong_interval(logits, labels)
        details["delong"] = {"auc": area, "low": low, "high": high}
    subtypes = _subtypes(predictions, codes, rule, seed)
    if subtypes:
        details["subtypes"] = {name: values.plain() for name, values in subtypes.items()}
        tables.append(_subtype_table(subtypes, rule))
    if baseline is not None and both:
        details["baseline"] = _compared_with_baseline(
            labels, resampled[""].metrics, resampled["baseline"].metrics
        )
        tables.append(_baseline_table(details["baseline"], metrics, intervals, predictions, rule))
    return replace(
        evaluation,
        metrics=metrics,
        intervals=intervals,
        # Keep what an extension has added to the evaluation.
        tables=(*evaluation.tables, *tables),
        details={**evaluation.details, **details},
        outputs={
            **evaluation.outputs,
            "probabilities": rule.probabilities(logits),
            "predicted": (logits >= logit_threshold).astype(np.int64),
        },
    )


@dataclass(frozen=True)
class _Point:
    """Results at one operating point: metrics with intervals, and the confusion matrix."""

    point: OperatingPoint
    probability: float
    shares: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    matrix: NDArray[np.int64]

    def plain(self) -> dict[str, Any]:
        """As JSON-compatible values."""
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
    predictions: Predictions,
    codes: Integers,
    rule: DecisionRule,
    intervals: Mapping[str, tuple[float, float]],
    seed: int,
) -> _Point:
    """Results at a point, with the intervals of the metrics at its threshold."""
    logits, labels = predictions.logits, predictions.labels
    matrix = confusion(logits, labels, logit_threshold=point.logit_threshold)
    metrics = binary_metrics(logits, labels, logit_threshold=point.logit_threshold)
    ends = dict(intervals)
    negative = logits < point.logit_threshold
    if negative.any():
        metrics["npv"] = float(matrix[0, 0] / matrix[:, 0].sum())
        interval = share_interval(labels[negative] == 0, codes[negative], seed=seed)
        if interval is not None:
            ends["npv"] = (interval.low, interval.high)
    return _Point(
        point,
        rule.probability_at(point),
        {name: metrics[name] for name in (*_SHARES, "accuracy") if name in metrics},
        {name: ends[name] for name in (*_SHARES, "accuracy") if name in ends},
        matrix,
    )


def _points_table(points: Mapping[str, _Point], rule: DecisionRule) -> NamedTable:
    rows = []
    for name, at in points.items():
        (tn, fp), (fn, tp) = at.matrix.tolist()
        rows.append(
            (
                name + (" (in use)" if name == rule.chosen else ""),
                f"{at.probability:.3f}",
                *(_with_interval(at.shares.get(share), at.intervals.get(share)) for share in _SHARES),
                *(f"{count:,}" for count in (tp, fn, fp, tn)),
            )
        )
    negative, positive = rule.classes
    return NamedTable(
        title="Operating points, chosen on the validation images" if rule.images else "Operating point",
        head=("Point", "Threshold", *_SHARES.values(), "TP", "FN", "FP", "TN"),
        rows=tuple(rows),
        note=f"An image is classified as {positive} if its calibrated probability is at least the threshold. TP "
        f"and FN count {positive} images, FP and TN {negative} images. PPV and NPV are those at this split's share "
        f"of {positive}; the figure shows them for other shares.",
    )


def _rules_table(rule: DecisionRule) -> NamedTable:
    return NamedTable(
        title="How the operating points were chosen",
        head=("Point", "Rule and validation result"),
        rows=tuple((point.name, point.rule) for point in rule.points),
    )


@dataclass(frozen=True)
class _Subtype:
    """Metrics of one subtype of class 1 against all of class 0."""

    images: int
    metrics: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]

    def plain(self) -> dict[str, Any]:
        """As JSON-compatible values."""
        ends = {name: list(self.intervals[name]) for name in _OF_SUBTYPES if name in self.intervals}
        return {
            "images": self.images,
            **{name: self.metrics[name] for name in _OF_SUBTYPES},
            "intervals": ends,
        }


def _subtypes(
    predictions: Predictions, codes: Integers, rule: DecisionRule, seed: int
) -> dict[str, _Subtype]:
    kinds = np.array(predictions.subtypes)
    negative = predictions.labels == 0
    names = sorted({kind for kind in kinds[~negative].tolist() if kind})
    if len(names) < 2 or not negative.any():
        return {}
    result = {}
    for kind in names:
        own = negative | (kinds == kind)
        logits, labels, threshold = (
            predictions.logits[own],
            predictions.labels[own],
            rule.point.logit_threshold,
        )
        metrics = binary_metrics(logits, labels, logit_threshold=threshold)
        ends = metric_intervals(logits, labels, codes[own], logit_threshold=threshold, seed=seed)
        result[kind] = _Subtype(int(labels.sum()), metrics, ends)
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
                *(_with_interval(of.metrics[metric], of.intervals.get(metric)) for metric in _OF_SUBTYPES),
            )
            for name, of in subtypes.items()
        ),
        note=f"At the operating point {rule.chosen}.",
    )


def _compared_with_baseline(
    labels: Integers, network: ResampledMetrics, baseline: ResampledMetrics
) -> dict[str, Any]:
    """The baseline's metrics, at its own threshold 0.5, and the network's differences from them."""
    metrics, differences = binary_metrics(baseline.logits, labels), resampled_differences(network, baseline)
    larger = float(max(labels.mean(), 1 - labels.mean()))
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
    predictions: Predictions,
    rule: DecisionRule,
) -> NamedTable:
    def difference(name: str) -> str:
        one = baseline["differences"].get(name)
        return f"{one['value']:+.3f} ({one['low']:+.3f} to {one['high']:+.3f})" if one else "–"

    larger = rule.classes[int(predictions.labels.mean() >= 0.5)]
    return NamedTable(
        title="Compared with simpler baselines",
        head=("", "Accuracy", "ROC AUC"),
        rows=(
            ("This network", *(_with_interval(metrics.get(n), intervals.get(n)) for n in _COMPARED)),
            ("Logistic regression", *(f"{baseline['metrics'][n]:.3f}" for n in _COMPARED)),
            (f"Always {larger}", f"{baseline['larger_class']['accuracy']:.3f}", "0.500"),
            ("Network − regression", *(difference(n) for n in _COMPARED)),
        ),
        note="The logistic regression is trained on the same images, downsampled to 32 px. The difference is "
        "paired, with its interval over patients.",
    )


def _errors(predictions: Predictions, rule: DecisionRule) -> dict[str, Any]:
    """The misclassified images, the most confident errors first."""
    margins = predictions.logits - rule.point.logit_threshold
    predicted = predictions.logits >= rule.point.logit_threshold
    errors = np.flatnonzero(predicted != (predictions.labels == 1))
    errors = errors[np.argsort(-np.abs(margins[errors]), kind="stable")]
    probabilities = rule.probabilities(predictions.logits)
    return {
        "count": len(errors),
        "of": len(predictions.labels),
        "rows": [
            {
                "name": predictions.names[i],
                "patient": predictions.patients[i],
                "subtype": predictions.subtypes[i],
                "truth": rule.classes[int(predictions.labels[i])],
                "predicted": rule.classes[int(predicted[i])],
                "probability": float(probabilities[i]),
            }
            for i in errors[:_LISTED].tolist()
        ],
    }


def _intervals(of: Resampled, names: Collection[str] = ()) -> dict[str, tuple[float, float]]:
    """The intervals of some metrics, or of all."""
    wanted = {name: drawn for name, drawn in of.metrics.resampled.items() if not names or name in names}
    intervals = resampled_intervals(of.sample, wanted, of.residuals)
    return {name: (float(one.low), float(one.high)) for name, one in intervals.items()}


def _with_interval(value: float | None, interval: Interval | tuple[float, float] | None) -> str:
    if value is None:
        return "–"
    return f"{value:.3f} ({interval[0]:.3f}–{interval[1]:.3f})" if interval else f"{value:.3f}"
