"""Binary classification: metrics, the confusion matrix and the points of the two curves, from logits.

The positive class is label 1 (PNEUMONIA in the bundled datasets). Every function takes the logits and labels
of one whole split, as numpy arrays, torch tensors on any device, or sequences, and is exact: the curves step
at every distinct logit, and equal logits move together. An image is called positive where the sigmoid of its
logit is at least the threshold, the same rule that gives the curves their points.

Not for losses (the trainer knows its own weighting) and not for counting inside a training loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    Values: TypeAlias = NDArray[np.generic] | torch.Tensor | Sequence[float]
    """Numbers of one split, [N]."""

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


class RocPoints(NamedTuple):
    """The corners of a ROC curve, from (0, 0) to (1, 1); three arrays [K + 1] for K distinct logits.

    Attributes:
        false_positive_rate: 1 - specificity, 0 to 1, rising.
        true_positive_rate: sensitivity, 0 to 1, rising.
        threshold: the logit from which on an image counts as positive, falling; the first one is infinite.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    threshold: Floats


class PrecisionRecallPoints(NamedTuple):
    """The corners of a precision-recall curve, from recall 1 to the conventional end (recall 0, precision 1).

    Attributes:
        precision: [K + 1], 0 to 1, for K distinct logits.
        recall: [K + 1], falling from 1 to 0.
        threshold: [K], the logit from which on an image counts as positive, rising.
    """

    precision: Floats
    recall: Floats
    threshold: Floats


def binary_metrics(logits: Values, labels: Values, *, threshold: float = 0.5) -> dict[str, float]:
    """The metrics of SOURCE 4, with the areas under both curves.

    Args:
        logits: [N], finite, any real number; not probabilities.
        labels: [N], each 0 or 1.
        threshold: the probability from which on an image is called positive, 0 < threshold < 1.

    Returns:
        ``accuracy``, ``precision``, ``recall``, ``f1`` (each 0 to 1; 0 where its denominator is 0), and
        ``auc`` and ``average_precision`` (0 to 1) where both classes occur: with one class neither is
        defined, and neither is in the dict. No value is ever NaN.

    Raises:
        ValueError: there is no image, the shapes differ, a logit is NaN or infinite, a label is not 0 or 1,
            or the threshold is out of bounds.
    """
    import torch
    from torchmetrics.functional import classification

    scores, truth = _checked(logits, labels)
    target = torch.from_numpy(truth)
    called = torch.from_numpy(_called(scores, threshold))
    metrics = {
        "accuracy": classification.binary_accuracy(called, target),
        "precision": classification.binary_precision(called, target),
        "recall": classification.binary_recall(called, target),
        "f1": classification.binary_f1_score(called, target),
    }
    if 0 < truth.sum() < truth.size:
        # torchmetrics squashes logits by a sigmoid (unless all happen to lie in [0, 1]); far from zero that
        # makes different logits equal. Ranks on [0, 1] keep order and ties, which is all the areas depend on.
        distinct, rank = np.unique(scores, return_inverse=True)
        order = torch.from_numpy(rank / distinct.size)
        metrics["auc"] = classification.binary_auroc(order, target)
        metrics["average_precision"] = classification.binary_average_precision(order, target)
    return {name: float(value) for name, value in metrics.items()}


def confusion(logits: Values, labels: Values, threshold: float = 0.5) -> Integers:
    """Count the images by truth (rows) and by what they are called (columns).

    Args:
        logits: [N], finite.
        labels: [N], each 0 or 1.
        threshold: the probability from which on an image is called positive, 0 < threshold < 1.

    Returns:
        int64 [2, 2]: ``[[true negatives, false positives], [false negatives, true positives]]``.

    Raises:
        ValueError: as :func:`binary_metrics`.
    """
    scores, truth = _checked(logits, labels)
    return np.bincount(2 * truth + _called(scores, threshold), minlength=4).reshape(2, 2).astype(np.int64)


def roc_points(logits: Values, labels: Values) -> RocPoints:
    """The ROC curve, with a point at every distinct logit.

    Args:
        logits: [N], finite.
        labels: [N], each 0 or 1; both have to occur.

    Raises:
        ValueError: one class is missing, or as :func:`binary_metrics`.
    """
    scores, truth = _checked(logits, labels)
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
        labels: [N], each 0 or 1; 1 has to occur.

    Raises:
        ValueError: no label is 1, or as :func:`binary_metrics`.
    """
    scores, truth = _checked(logits, labels)
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


def _called(scores: Floats, threshold: float) -> Integers:
    """1 where an image is called positive. Decided on the logits: probabilities saturate, logits do not."""
    if not 0 < threshold < 1:
        raise ValueError(f"the threshold is {threshold}; it is a probability between 0 and 1, both excluded")
    positive: NDArray[np.bool_] = scores >= np.log(threshold) - np.log1p(-threshold)
    return positive.astype(np.int64)


def _cumulated(scores: Floats, truth: Integers) -> tuple[Floats, Integers, Integers]:
    """The distinct logits, falling, and how many positives and negatives lie at or above each of them."""
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    last_of_tie = np.flatnonzero(np.append(np.diff(falling) != 0, True))
    true_positives = np.cumsum(truth[order])[last_of_tie]
    return falling[last_of_tie], true_positives, last_of_tie + 1 - true_positives


def _checked(logits: Values, labels: Values) -> tuple[Floats, Integers]:
    scores, truth = _array(logits), _array(labels)
    if scores.ndim != 1 or scores.shape != truth.shape:
        raise ValueError(
            f"logits and labels have the shapes {scores.shape} and {truth.shape}; both have to be [N]"
        )
    if scores.size == 0:
        raise ValueError("there is no image to evaluate")
    broken = int(np.count_nonzero(~np.isfinite(scores)))
    if broken:
        raise ValueError(f"{broken} of {scores.size} logits are NaN or infinite; the model has diverged")
    strange = truth[(truth != 0) & (truth != 1)]
    if strange.size:
        raise ValueError(f"a label is {strange[0]:g}; binary labels are 0 and 1")
    return scores, truth.astype(np.int64)


def _array(values: Values) -> Floats:
    import torch

    if isinstance(values, torch.Tensor):
        return values.detach().to("cpu", torch.float64).numpy()
    return np.asarray(values, dtype=np.float64)
