"""The parts of a model card that are about K exclusive classes, or K labels.

The rest is :mod:`pneumo_export.model_card`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pneumo_cli.evaluation.metric_names import metric_label, metric_text
from pneumo_cli.reports.formatting import count
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_cli.runtime.percentages import share

if TYPE_CHECKING:
    from pneumo_cli.evaluation.multi.rule import MultiRule

PER_CLASS = ("auc", "average_precision", "recall", "specificity", "precision", "f1")
_RATES = {"recall": "Sensitivity", "specificity": "Specificity", "precision": "PPV"}

USE = """\
import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
about = json.loads(session.get_modelmeta().custom_metadata_map["pneumo"])
size, rule, classes = about["input"]["size"], about["rule"], about["classes"]
point = next(point for point in rule["points"] if point["name"] == rule["chosen"])
thresholds = np.array(point["logit_thresholds"])
for name in sys.argv[1:]:
    LOAD
    (logits,), (probabilities,) = session.run(["logits", "probabilities"], {"images": images})
    if about["task"] == "multilabel":
        predicted = np.flatnonzero(logits >= thresholds)
    else:
        logits = logits.astype(np.float64)
        others = [np.logaddexp.reduce(np.delete(logits, place)) for place in range(len(logits))]
        predicted = [np.argmax(logits - others - thresholds)]
    found = ", ".join(f"{classes[place]} {100 * probabilities[place]:.1f} %" for place in predicted)
    print(f"{name}: {found or 'none'}")
"""
"""Use of an exported graph without pneumo: run in a bundle's folder, with image files as arguments."""


def purpose(rule: MultiRule) -> str:
    """What the network predicts."""
    names = ", ".join(map(text, rule.classes))
    if rule.task == "multilabel":
        return f"predicts the probability of each of {len(rule.classes)} labels ({names})"
    return f"predicts the probabilities of {len(rule.classes)} exclusive classes ({names})"


def limits(rule: MultiRule) -> tuple[str, str]:
    """What it cannot tell, and what its probabilities hold for."""
    if rule.task == "multilabel":
        scope = (
            "It knows no other labels than these; without a predicted label an image may show anything else."
        )
    else:
        scope = "It distinguishes only these classes, and predicts one of them for any image."
    calibrated = (
        "Its probabilities are calibrated for the prevalences in its validation images; for a class that is rarer "
        "they are too high."
        if rule.is_calibrated
        else "Its probabilities are not calibrated."
    )
    return scope, calibrated


def class_rows(results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row of metrics for each class against the rest, of one split, under :func:`class_head`.

    Args:
        results: of the split, from the description.
    """
    return [
        (
            text(one.get("name")),
            f"{count(one.get('positives'))} of {count(one.get('images'))}",
            *(metric_cell(one, metric) for metric in PER_CLASS),
        )
        for one in map(mapping, sequence(results.get("classes")))
    ]


def class_head() -> tuple[str, ...]:
    """The head of the table of :func:`class_rows`."""
    return ("Class", "Images", *(metric_label(metric).label for metric in PER_CLASS))


def fitted(rule: MultiRule) -> str:
    """How logits become probabilities and decisions."""
    function = "sigmoid" if rule.task == "multilabel" else "softmax"
    how = (
        f"A probability is the {function} of logit / temperature + bias of the class (part of the graph), fitted "
        f"on {rule.images:,} validation images. "
        if rule.is_calibrated
        else f"The probabilities were not calibrated on validation images: they are the {function} of the logits. "
    )
    decision = (
        "A label is predicted where its logit is at least its threshold."
        if rule.task == "multilabel"
        else "The class is predicted whose score exceeds its threshold by most. A score is log p - log(1 - p) of "
        "the softmax p of the logits before calibration; with equal thresholds that is the largest logit."
    )
    return how + decision


def point_rows(rule: MultiRule, results: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """A row for each operating point and class, under :func:`point_head`.

    Args:
        results: of the test images, from the description; may be empty.
    """
    points = mapping(results.get("operating_points"))
    rows = []
    for point in rule.points:
        found = [mapping(one) for one in sequence(mapping(points.get(point.name)).get("classes"))]
        name = f"`{point.name}`" + (" (in use)" if point.name == rule.chosen else "")
        probabilities = rule.probabilities_at(point).tolist()
        for place, cells in enumerate(
            zip(rule.classes, point.logit_thresholds, probabilities, point.per_class, strict=True)
        ):
            title, threshold, probability, chosen = cells
            metrics = mapping(found[place].get("metrics")) if place < len(found) else {}
            rates = (metric_text(metric, metrics.get(metric)) for metric in _RATES)
            rows.append((name, text(title), f"{threshold:.4f}", f"{probability:.3f}", *rates, chosen))
    return rows


def point_head() -> tuple[str, ...]:
    """The head of the table of :func:`point_rows`."""
    rates = (f"{name}, test" for name in _RATES.values())
    return ("Point", "Class", "Threshold", "Probability", *rates, "Chosen")


def calibration_rows(rule: MultiRule) -> list[tuple[str, ...]]:
    """Prevalence, temperature and bias of each class."""
    shares = rule.prevalence or (None,) * len(rule.classes)
    return [
        (
            text(name),
            "–" if found is None else share(found, 1),
            f"{own.temperature:.4f}",
            f"{own.bias:+.4f}",
        )
        for name, found, own in zip(rule.classes, shares, rule.calibration.classes, strict=True)
    ]


def metric_cell(results: Mapping[str, Any], metric: str) -> str:
    """A metric with its interval; a dash where there is none."""
    value = number(mapping(results.get("metrics")).get(metric))
    if value is None:
        return "–"
    ends = [number(end) for end in sequence(mapping(results.get("intervals")).get(metric))]
    if len(ends) == 2 and ends[0] is not None and ends[1] is not None:
        return f"{value:.3f} ({ends[0]:.3f} to {ends[1]:.3f})"
    return f"{value:.3f}"
