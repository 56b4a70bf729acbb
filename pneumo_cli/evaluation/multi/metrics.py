"""The metrics of classifiers with K logits: per class, their averages, and the confusion matrix.

Each metric of a class is that of :func:`pneumo_cli.evaluation.binary.binary_metrics` for the class against the
rest, on the images where it is known. Metrics that depend on a threshold follow the actual decision, in
``multiclass`` the one class that is predicted. A metric is left out for a class where the split decides its value
whatever is predicted: recall, precision and F1 without an image of the class, specificity without an image of the
rest, and MCC, balanced accuracy, AUC and average precision without both. The averages are over the classes that
have the metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.multi.scores import OneVsRest, as_one_vs_rest, class_truth

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task
    from pneumo_cli.evaluation.arrays import Values

Numbers: TypeAlias = "Values | NDArray[np.generic]"
Thresholds: TypeAlias = Sequence[float] | Floats | None

AVERAGES = ("macro", "micro", "weighted")
_NEED_POSITIVES = ("recall", "precision", "f1")
_NEED_NEGATIVES = ("specificity",)
_NEED_BOTH = ("mcc", "balanced_accuracy", "auc", "average_precision")
_OF_DECISIONS = ("accuracy", "precision", "recall", "specificity", "f1", "mcc", "balanced_accuracy")


def multi_metrics(
    logits: Numbers, labels: Numbers, task: Task, thresholds: Thresholds = None
) -> dict[str, float]:
    """The metrics of all classes together, under the names of the binary ones; cheap enough for every epoch.

    Args:
        logits: [N, K], finite; not probabilities.
        labels: class indices [N] (``multiclass``), or 1, 0 and -1 for unknown [N, K] (``multilabel``).
        task: ``multiclass`` or ``multilabel``.
        thresholds: one per class, [K], on its score (:func:`pneumo_cli.evaluation.multi.scores.decide`); None: 0
            each, in ``multiclass`` the largest logit.

    Returns:
        ``precision``, ``recall``, ``specificity``, ``f1``, ``mcc``, ``brier``, ``ece``, ``balanced_accuracy``,
        ``auc`` and ``average_precision``: the macro average, the mean over the classes. But in ``multiclass``
        ``mcc`` is the correlation of K classes (Gorodkin 2004; 0 where its denominator is 0) and
        ``balanced_accuracy`` the mean recall. ``accuracy``: in ``multiclass`` the share of images whose class is
        right, in ``multilabel`` the mean over the labels; there with ``exact_match``, the share of images with all
        their known labels right. A metric that no class has is left out. No value is ever NaN.

    Raises:
        ValueError: as :func:`pneumo_cli.evaluation.multi.scores.as_one_vs_rest`.
    """
    split = as_one_vs_rest(logits, labels, task, thresholds)
    return flat_metrics(split, task, metrics_per_class(split, task))


def confusion_matrix(predicted: Numbers, labels: Numbers, classes: int) -> Integers:
    """Images counted by their true class (rows) and predicted class (columns).

    Args:
        predicted, labels: class indices [N]; or for labels [N, K] of 0 and 1, and -1 for unknown in ``labels``.
        classes: K.

    Returns:
        int64 [K, K]; for labels one matrix each, [K, 2, 2]: ``[[true negatives, false positives], [false negatives,
        true positives]]`` of the images where the label is known.

    Raises:
        ValueError: there is no image, the shapes differ, or a value is out of range.
    """
    task: Task = "multiclass" if np.ndim(labels) == 1 else "multilabel"
    truth, decided = class_truth(labels, task, classes), class_truth(predicted, task, classes)
    if truth.shape != decided.shape:
        raise ValueError(f"there are labels of {len(truth)} images and predictions of {len(decided)}")
    if task == "multiclass":
        return truth.T @ decided
    if (decided < 0).any():
        raise ValueError("a prediction is -1; a label is predicted as 0 or 1")
    present, absent = truth == 1, truth == 0
    cells = ((absent, 1 - decided), (absent, decided), (present, 1 - decided), (present, decided))
    return np.stack([(row * column).sum(axis=0) for row, column in cells], axis=1).reshape(classes, 2, 2)


def metrics_per_class(split: OneVsRest, task: Task) -> list[dict[str, float]]:
    """The metrics of each class against the rest, [K].

    Returns:
        per class the metrics of ``binary_metrics`` that are defined on this split; without ``accuracy`` in
        ``multiclass``, where it would count the images of all other classes. Empty for a label that no image knows.
    """
    found = []
    for place in range(split.truth.shape[1]):
        metrics = _one(split.of_class(place))
        if task == "multiclass":
            metrics.pop("accuracy", None)
        found.append(metrics)
    return found


def averaged_metrics(
    split: OneVsRest, task: Task, per_class: Sequence[Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """The metrics of each class, averaged over the classes.

    Args:
        per_class: of :func:`metrics_per_class`.

    Returns:
        ``macro``: the mean over the classes. ``micro``: the metric of all pairs of an image and a class, pooled as
        one binary problem. ``weighted``: the mean weighted with the number of images of each class.
    """
    micro = _one(split.pooled())
    if task == "multiclass":
        micro.pop("accuracy", None)
    images = (split.truth == 1).sum(axis=0).astype(np.float64)
    return {
        "macro": weighted_means(per_class, np.ones(len(per_class))),
        "micro": micro,
        "weighted": weighted_means(per_class, images),
    }


def flat_metrics(split: OneVsRest, task: Task, per_class: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """As :func:`multi_metrics`, of a validated split and its metrics per class."""
    macro = weighted_means(per_class, np.ones(len(per_class)))
    if task == "multiclass":
        right = exact_matches(split)
        true, predicted = (each.sum(axis=0).astype(np.float64) for each in (split.truth, split.decided))
        own = {
            "mcc": float(class_correlation(true, predicted, right.sum())),
            "balanced_accuracy": macro["recall"],
        }
        return {"accuracy": float(right.mean())} | macro | own
    known = (split.truth >= 0).any(axis=1)
    return macro | ({"exact_match": float(exact_matches(split)[known].mean())} if known.any() else {})


def exact_matches(split: OneVsRest) -> NDArray[np.bool_]:
    """Whether the class, or all known labels, are right, [N]; true for an image without a known label."""
    right: NDArray[np.bool_] = ((split.truth == split.decided) | (split.truth < 0)).all(axis=1)
    return right


def class_correlation(true: Floats, predicted: Floats, right: ArrayLike) -> Floats:
    """The correlation of K predicted and true classes (Gorodkin 2004), -1 to 1; 0 where its denominator is 0.

    Args:
        true, predicted: number of images of each class and predicted as it, [..., K].
        right: number of images predicted as their class, [...].
    """
    total = true.sum(axis=-1)
    spread = np.sqrt(total**2 - (predicted**2).sum(axis=-1)) * np.sqrt(total**2 - (true**2).sum(axis=-1))
    shared = right * total - (true * predicted).sum(axis=-1)
    return np.asarray(np.divide(shared, spread, out=np.zeros(np.shape(shared)), where=spread > 0))


def weighted_means(values: Sequence[Mapping[str, Any]], weights: Floats) -> dict[str, Any]:
    """The weighted mean of each value over the classes that have it; values without any weight are left out."""
    means = {}
    for name in dict.fromkeys(name for each in values for name in each):
        having = [place for place, each in enumerate(values) if name in each]
        total = weights[having].sum()
        if total > 0:
            means[name] = float(sum(weights[place] * values[place][name] for place in having) / total)
    return means


def _one(split: OneVsRest) -> dict[str, float]:
    """The metrics of one binary problem, [n] each."""
    scores, truth, decided = split
    if not truth.size:
        return {}
    metrics = binary_metrics(scores, truth)
    decisions = binary_metrics(decided - 0.5, truth)
    metrics |= {name: decisions[name] for name in _OF_DECISIONS if name in decisions}
    positives, negatives = bool((truth == 1).any()), bool((truth == 0).any())
    undefined = {
        *(() if positives else _NEED_POSITIVES),
        *(() if negatives else _NEED_NEGATIVES),
        *(() if positives and negatives else _NEED_BOTH),
    }
    return {name: value for name, value in metrics.items() if name not in undefined}
