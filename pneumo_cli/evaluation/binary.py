"""Binary classification: metrics, the confusion matrix and the points of the two curves, from logits.

The positive class is label 1 (PNEUMONIA in the bundled datasets). Every function takes the logits and labels
of one whole split, as numpy arrays, torch tensors on any device, or sequences, and is exact: the curves step
at every distinct logit, and equal logits form one step. An image is classified as positive where the sigmoid of
its logit is at least the threshold; the points of the curves follow the same rule.

Not for losses (the trainer knows its own weighting) and not for counting inside a training loop.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pneumo_cli.compat import former_keywords
from pneumo_cli.evaluation.arrays import Floats, Integers, checked, logit_threshold_of, sigmoid
from pneumo_cli.evaluation.calibration import expected_calibration_error

if TYPE_CHECKING:
    from pneumo_cli.evaluation.arrays import Values


class RocPoints(NamedTuple):
    """The corners of a ROC curve, from (0, 0) to (1, 1); three arrays [K + 1] for K distinct logits.

    Attributes:
        false_positive_rate: 1 - specificity, 0 to 1, rising.
        true_positive_rate: sensitivity, 0 to 1, rising.
        threshold: the logit at and above which an image is positive, falling; the first one is infinite.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    threshold: Floats


class PrecisionRecallPoints(NamedTuple):
    """The corners of a precision-recall curve, from recall 1 to the conventional end (recall 0, precision 1).

    Attributes:
        precision: [K + 1], 0 to 1, for K distinct logits.
        recall: [K + 1], falling from 1 to 0.
        threshold: [K], the logit at and above which an image is positive, rising.
    """

    precision: Floats
    recall: Floats
    threshold: Floats


@former_keywords(cut="logit_threshold")
def binary_metrics(
    logits: Values, labels: Values, *, threshold: float = 0.5, logit_threshold: float | None = None
) -> dict[str, float]:
    """The metrics of SOURCE 4, metrics that allow for the prevalence, the areas under both curves, and calibration.

    Counting and one sort: cheap enough for every epoch. Each equals scikit-learn's.

    Args:
        logits: [N], finite; not probabilities.
        labels: [N], each 0 or 1.
        threshold: the probability at and above which an image is classified as positive, 0 < threshold < 1.
        logit_threshold: the same as a finite logit, instead of the threshold. Operating points are logits, because
            probabilities saturate.

    Returns:
        In this order: ``accuracy``, ``precision``, ``recall`` (sensitivity), ``specificity``, ``f1`` (each 0 to 1;
        0 where its denominator is 0), ``mcc`` (Matthews correlation, -1 to 1; 0 where its denominator is 0),
        ``brier`` (mean squared error of the probability, 0 to 1), ``ece`` (0 to 1,
        :func:`pneumo_cli.evaluation.calibration.expected_calibration_error` with 15 bins), and only where both
        classes occur ``balanced_accuracy``, ``auc`` and ``average_precision`` (0 to 1). No value is ever NaN.

    Raises:
        ValueError: there is no image, the shapes differ, a logit is NaN or infinite, a label is not 0 or 1,
            or the threshold is out of bounds.
    """
    scores, truth = checked(logits, labels)
    (tn, fp), (fn, tp) = _confusion(scores, truth, logit_threshold_of(threshold, logit_threshold)).tolist()
    positives, negatives = tp + fn, tn + fp
    probabilities = sigmoid(scores)
    metrics = {
        "accuracy": (tp + tn) / truth.size,
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, positives),
        "specificity": _ratio(tn, negatives),
        "f1": _ratio(2 * tp, tp + fp + positives),
        "mcc": _ratio(tp * tn - fp * fn, math.sqrt((tp + fp) * (tn + fn)) * math.sqrt(positives * negatives)),
        "brier": float(np.mean((probabilities - truth) ** 2)),
        "ece": expected_calibration_error(probabilities, truth),
    }
    if positives and negatives:
        metrics["balanced_accuracy"] = (metrics["recall"] + metrics["specificity"]) / 2
        _, true_positives, false_positives = _cumulated(scores, truth)
        tp_steps, fp_steps = np.diff(true_positives, prepend=0), np.diff(false_positives, prepend=0)
        # A pair with equal logits counts half: the trapezoids below the ROC curve.
        area = float(np.sum(fp_steps * (2 * true_positives - tp_steps)))
        metrics["auc"] = area / (2 * positives * negatives)
        precision = true_positives / (true_positives + false_positives)
        metrics["average_precision"] = float(np.sum(tp_steps * precision)) / positives
    return metrics


def confusion(
    logits: Values, labels: Values, threshold: float = 0.5, *, logit_threshold: float | None = None
) -> Integers:
    """The confusion matrix: images counted by true class (rows) and predicted class (columns).

    Args:
        logits, labels, threshold, logit_threshold: as for :func:`binary_metrics`.

    Returns:
        int64 [2, 2]: ``[[true negatives, false positives], [false negatives, true positives]]``.

    Raises:
        ValueError: as :func:`binary_metrics`.
    """
    scores, truth = checked(logits, labels)
    return _confusion(scores, truth, logit_threshold_of(threshold, logit_threshold))


def roc_points(logits: Values, labels: Values) -> RocPoints:
    """The ROC curve, with a point at every distinct logit.

    Args:
        logits: [N], finite.
        labels: [N], each 0 or 1; both must occur.

    Raises:
        ValueError: one class is missing, or as :func:`binary_metrics`.
    """
    scores, truth = checked(logits, labels)
    if not 0 < truth.sum() < truth.size:
        raise ValueError(f"a ROC curve needs both classes; all {truth.size} labels are {truth[0]}")
    threshold, true_positives, false_positives = _cumulated(scores, truth)
    return RocPoints(
        false_positive_rate=np.concatenate(([0.0], false_positives / false_positives[-1])),
        true_positive_rate=np.concatenate(([0.0], true_positives / true_positives[-1])),
        threshold=np.concatenate(([np.inf], threshold)),
    )


def precision_recall_points(logits: Values, labels: Values) -> PrecisionRecallPoints:
    """The precision-recall curve, with a point at every distinct logit.

    Args:
        logits: [N], finite.
        labels: [N], each 0 or 1; 1 must occur.

    Raises:
        ValueError: no label is 1, or as :func:`binary_metrics`.
    """
    scores, truth = checked(logits, labels)
    if truth.sum() == 0:
        raise ValueError(f"a precision-recall curve needs the positive class; all {truth.size} labels are 0")
    threshold, true_positives, false_positives = _cumulated(scores, truth)
    precision = true_positives / (true_positives + false_positives)
    recall = true_positives / true_positives[-1]
    return PrecisionRecallPoints(
        precision=np.concatenate((precision[::-1], [1.0])),
        recall=np.concatenate((recall[::-1], [0.0])),
        threshold=threshold[::-1],
    )


def _confusion(scores: Floats, truth: Integers, logit_threshold: float) -> Integers:
    # Decided on the logits: probabilities saturate, logits do not.
    return np.bincount(2 * truth + (scores >= logit_threshold), minlength=4).reshape(2, 2).astype(np.int64)


def _ratio(numerator: float, denominator: float) -> float:
    return numerator / denominator if denominator else 0.0


def _cumulated(scores: Floats, truth: Integers) -> tuple[Floats, Integers, Integers]:
    """The distinct logits, falling, and how many positives and negatives lie at or above each of them."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last_of_tie = np.flatnonzero(np.append(np.diff(falling) != 0, True))
    true_positives = np.cumsum(truth[order])[last_of_tie]
    return falling[last_of_tie], true_positives, last_of_tie + 1 - true_positives
