"""The classification report of one split for K classes: what is added to the plain metrics.

The sibling of :mod:`pneumo_cli.evaluation.classification_report`: each class and the averages with intervals over
patients, every operating point, the confusion matrix, subtypes, the linear baseline, and the most confident errors
of each class. The tables are in :mod:`pneumo_cli.evaluation.multi.tables`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.classification_report import BASELINE, Predictions
from pneumo_cli.evaluation.confidence.draws import patient_codes
from pneumo_cli.evaluation.confidence.intervals import metric_intervals, share_interval
from pneumo_cli.evaluation.multi.intervals import (
    decision_intervals,
    multi_difference_intervals,
    multi_intervals,
)
from pneumo_cli.evaluation.multi.metrics import (
    averaged_metrics,
    confusion_matrix,
    flat_metrics,
    metrics_per_class,
)
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.evaluation.multi.scores import OneVsRest, as_one_vs_rest, class_truth, decide
from pneumo_cli.evaluation.multi.tables import report_tables
from pneumo_cli.evaluation.result import Evaluation

_LISTED = 200  # errors in a report, but at least 10 per class; the predictions' file has all
_COMPARED = ("accuracy", "auc")
_OF_PROBABILITIES = ("brier", "ece")


def multi_report(
    evaluation: Evaluation,
    predictions: Predictions,
    rule: MultiRule,
    baseline: NDArray[np.float64] | None,
    seed: int,
) -> Evaluation:
    """Add the report's metrics, intervals, details and tables to an evaluation.

    Args:
        evaluation: with the metrics of the point ``default``; those that depend on thresholds are replaced by those
            at the rule's operating point.
        baseline: logits of the linear baseline for the same images, [N, K]; None where there is none.
        seed: of the bootstrap.
    """
    logits, labels, task = predictions.logits, predictions.labels, rule.task
    patients = patient_codes(predictions.patients, len(labels))
    thresholds = rule.point.logit_thresholds
    split = as_one_vs_rest(logits, labels, task, thresholds)
    per_class = metrics_per_class(split, task)
    averages = averaged_metrics(split, task, per_class)
    metrics = {**evaluation.metrics, **flat_metrics(split, task, per_class)}
    found = multi_intervals(logits, labels, patients, task, thresholds, seed=seed)
    intervals = _plain(found.flat)
    class_intervals = [_plain(each) for each in found.per_class]
    if rule.is_calibrated:
        calibrated = rule.calibrated(logits)
        after = as_one_vs_rest(calibrated, labels, task)
        ends = multi_intervals(calibrated, labels, patients, task, probabilities=True, seed=seed)
        per_class_after = metrics_per_class(after, task)
        metrics |= _calibrated(flat_metrics(after, task, per_class_after))
        intervals |= _calibrated(_plain(ends.flat))
        for place, values in enumerate(per_class_after):
            per_class[place] |= _calibrated(values)
            class_intervals[place] |= _calibrated(_plain(ends.per_class[place]))
    details: dict[str, Any] = {
        "task": task,
        "classes": [
            {
                "name": name,
                "images": int((split.truth[:, place] >= 0).sum()),
                "positives": int((split.truth[:, place] == 1).sum()),
                "predicted": int(split.decided[split.truth[:, place] >= 0, place].sum()),
                "metrics": per_class[place],
                "intervals": {metric: list(ends) for metric, ends in class_intervals[place].items()},
                **({"validation_prevalence": rule.prevalence[place]} if rule.is_calibrated else {}),
            }
            for place, name in enumerate(rule.classes)
        ],
        "averages": {
            name: {
                "metrics": values,
                "intervals": {metric: list(ends) for metric, ends in _plain(found.averages[name]).items()},
            }
            for name, values in averages.items()
        },
        "confusion": confusion_matrix(rule.decide(logits), labels, len(rule.classes)).tolist(),
        "calibration": {**rule.calibration.plain(), "fitted": rule.is_calibrated},
        "operating_point": rule.chosen,
        "operating_points": _points(split.truth, predictions, patients, rule, seed),
        "errors": _errors(split, predictions, rule),
    }
    if subtypes := _subtypes(split, predictions, patients, rule, seed):
        details["subtypes"] = subtypes
    if baseline is not None and "auc" in metrics:
        details["baseline"] = _compared_with_baseline(split, predictions, patients, baseline, rule, seed)
    return replace(
        evaluation,
        metrics=metrics,
        intervals=intervals,
        # Keep what an extension has added to the evaluation.
        tables=(*evaluation.tables, *report_tables(details, metrics, intervals, rule)),
        details={**evaluation.details, **details},
        outputs={
            **evaluation.outputs,
            "probabilities": rule.probabilities(logits),
            "predicted": rule.decide(logits),
        },
    )


def _points(
    truth: Integers, predictions: Predictions, patients: Integers, rule: MultiRule, seed: int
) -> dict[str, dict[str, Any]]:
    """Each operating point with its results per class."""
    count = len(rule.classes)
    decided = {
        point.name: class_truth(
            decide(predictions.logits, rule.task, point.logit_thresholds), rule.task, count
        )
        for point in rule.points
    }
    ends = decision_intervals(truth, decided, patients, seed=seed)
    points = {}
    for point in rule.points:
        probabilities, chosen = rule.probabilities_at(point), decided[point.name]
        classes = []
        for place, name in enumerate(rule.classes):
            known = truth[:, place] >= 0
            present, positive = truth[known, place] == 1, chosen[known, place] == 1
            tp, fn = int((present & positive).sum()), int((present & ~positive).sum())
            fp, tn = int((~present & positive).sum()), int((~present & ~positive).sum())
            shares = {
                "recall": (tp, tp + fn),
                "specificity": (tn, tn + fp),
                "precision": (tp, tp + fp),
                "npv": (tn, tn + fn),
            }
            classes.append(
                {
                    "name": name,
                    "logit_threshold": point.logit_thresholds[place],
                    "probability": float(probabilities[place]),
                    "rule": point.per_class[place],
                    "metrics": {share: hits / of for share, (hits, of) in shares.items() if of},
                    "intervals": {
                        share: list(each) for share, each in _plain(ends[point.name][place]).items()
                    },
                    "tp": tp,
                    "fn": fn,
                    "fp": fp,
                    "tn": tn,
                }
            )
        points[point.name] = {"name": point.name, "rule": point.rule, "classes": classes}
    return points


def _errors(split: OneVsRest, predictions: Predictions, rule: MultiRule) -> dict[str, Any]:
    """The misclassified images, the most confident errors first; the most confident ones of each class.

    A row's ``class`` is the true class, or the label that is wrong. Its ``probability`` is the calibrated one of
    the predicted class, or of the label; ``true_probability`` that of the true one of exclusive classes.
    """
    margins = split.scores - np.array(rule.point.logit_thresholds)
    probabilities = rule.probabilities(predictions.logits)
    wrong = (split.truth != split.decided) & (split.truth >= 0)
    exclusive = rule.task == "multiclass"
    if exclusive:
        predicted = split.decided.argmax(axis=1)
        own = margins[np.arange(len(margins)), predicted][:, None]
        margins, shown = own - margins, probabilities[np.arange(len(margins)), predicted]
        wrong &= split.truth == 1
    most = max(10, _LISTED // len(rule.classes))
    listed: list[tuple[float, dict[str, Any]]] = []
    for place, name in enumerate(rule.classes):
        found = np.flatnonzero(wrong[:, place])
        found = found[np.argsort(-np.abs(margins[found, place]), kind="stable")][:most]
        for image in found.tolist():
            if exclusive:
                truth, decided = name, rule.classes[int(predicted[image])]
                probability = float(shown[image])
            else:
                truth, decided = (name, f"no {name}") if split.truth[image, place] else (f"no {name}", name)
                probability = float(probabilities[image, place])
            row = {
                "class": name,
                "name": predictions.names[image],
                "patient": predictions.patients[image],
                "subtype": predictions.subtypes[image],
                "truth": truth,
                "predicted": decided,
                "probability": probability,
                **({"true_probability": float(probabilities[image, place])} if exclusive else {}),
            }
            listed.append((abs(float(margins[image, place])), row))
    listed.sort(key=lambda each: -each[0])
    return {
        "count": int(wrong.any(axis=1).sum()),
        "of": int((split.truth >= 0).any(axis=1).sum()),
        "classes": {name: int(wrong[:, place].sum()) for place, name in enumerate(rule.classes)},
        "rows": [row for _, row in listed],
    }


def _subtypes(
    split: OneVsRest, predictions: Predictions, patients: Integers, rule: MultiRule, seed: int
) -> dict[str, dict[str, Any]]:
    """Sensitivity and AUC of each subtype of an exclusive class that has several, against all other classes."""
    if rule.task != "multiclass":
        return {}
    kinds = np.array(predictions.subtypes)
    result: dict[str, dict[str, Any]] = {}
    for place, name in enumerate(rule.classes):
        inside = split.truth[:, place] == 1
        names = sorted({kind for kind in kinds[inside].tolist() if kind})
        if len(names) < 2 or inside.all():
            continue
        result[name] = {}
        for kind in names:
            own = inside & (kinds == kind)
            subset = own | ~inside
            data = (split.scores[subset, place], split.truth[subset, place])
            hits = split.decided[own, place]
            ends: dict[str, Any] = {"recall": share_interval(hits, patients[own], seed=seed)}
            ends["auc"] = metric_intervals(data[0], data[1], patients[subset], seed=seed).get("auc")
            result[name][kind] = {
                "images": int(own.sum()),
                "recall": float(hits.mean()),
                "auc": binary_metrics(*data)["auc"],
                "intervals": {metric: list(map(float, each)) for metric, each in ends.items() if each},
            }
    return result


def _compared_with_baseline(
    split: OneVsRest,
    predictions: Predictions,
    patients: Integers,
    baseline: Floats,
    rule: MultiRule,
    seed: int,
) -> dict[str, Any]:
    """The baseline's metrics, at its own point ``default``, and the network's differences from them."""
    labels, task = predictions.labels, rule.task
    simple = as_one_vs_rest(baseline, labels, task)
    metrics = flat_metrics(simple, task, metrics_per_class(simple, task))
    differences = multi_difference_intervals(
        predictions.logits,
        baseline,
        labels,
        patients,
        task,
        thresholds=(rule.point.logit_thresholds, None),
        seed=seed,
    )
    known, present = (split.truth >= 0).sum(axis=0), (split.truth == 1).sum(axis=0)
    shares = present[known > 0] / known[known > 0]
    constant = shares.max() if task == "multiclass" else np.maximum(shares, 1 - shares).mean()
    return {
        "name": f"{BASELINE}, one for each {'class' if task == 'multiclass' else 'label'}",
        "metrics": {name: metrics[name] for name in (*_COMPARED, "average_precision")},
        "larger_class": {"accuracy": float(constant)},
        "differences": {
            name: {"value": one.value, "low": one.low, "high": one.high, "p": one.p}
            for name, one in differences.items()
            if name in _COMPARED
        },
    }


def _calibrated(values: Mapping[str, Any]) -> dict[str, Any]:
    """The errors of probabilities, renamed as those after calibration."""
    return {f"{name}_calibrated": values[name] for name in _OF_PROBABILITIES if name in values}


def _plain(intervals: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    return {name: (float(low), float(high)) for name, (low, high) in intervals.items()}
