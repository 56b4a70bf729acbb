"""K logits per image as K binary problems, each class against the rest, and the decision among them.

``multiclass``: an image is of exactly one of K classes, and their probabilities are the softmax of the logits.
``multilabel``: an image may have any of K labels, each with the sigmoid of its own logit as its probability; it is
unknown (-1) for some images, which are then left out for that label alone.

Everything that is measured per class is measured on these scores by the binary functions
(:mod:`pneumo_cli.evaluation.binary`): the sigmoid of a score is the probability of the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.evaluation.arrays import Floats, Integers, as_array

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task
    from pneumo_cli.evaluation.arrays import Values


class OneVsRest(NamedTuple):
    """Each class against the rest: [N, K] each, or [n] each of one binary problem among them.

    Attributes:
        scores: :func:`one_vs_rest`.
        truth: 1, 0 or -1 (unknown).
        decided: 1 where the class is predicted, else 0.
    """

    scores: Floats
    truth: Integers
    decided: Integers

    def of_class(self, place: int) -> OneVsRest:
        """The images where one class is known, [n] each."""
        known = self.truth[:, place] >= 0
        scores, truth, decided = self.scores[:, place], self.truth[:, place], self.decided[:, place]
        return OneVsRest(scores[known], truth[known], decided[known])

    def pooled(self) -> OneVsRest:
        """All pairs of an image and a known class, image by image, as one binary problem: [n] each."""
        known = self.truth >= 0
        return OneVsRest(self.scores[known], self.truth[known], self.decided[known])


def log_softmax(logits: ArrayLike) -> Floats:
    """The logarithms of the softmax of logits [N, K]; never overflows."""
    values = np.asarray(logits, dtype=np.float64)
    shifted = values - values.max(axis=-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True)))


def softmax(logits: ArrayLike) -> Floats:
    """Probabilities of K exclusive classes, [N, K], for logits [N, K]; never overflows."""
    values = np.asarray(logits, dtype=np.float64)
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def one_vs_rest(logits: ArrayLike, task: Task) -> Floats:
    """The log odds of each class against all others: their sigmoid is the probability of the class.

    Exact where probabilities saturate, so images keep their order: for exclusive classes the odds are those of the
    logit against the log-sum-exp of the others.

    Args:
        logits: [N, K], finite.
        task: ``multiclass`` or ``multilabel``.

    Returns:
        float64 [N, K]; the logits themselves for labels.
    """
    values = np.asarray(logits, dtype=np.float64)
    if task == "multilabel" or not values.size:
        return values
    rows = np.arange(len(values))
    first = values.argmax(axis=1)
    shifted = values - values[rows, first][:, None]
    powers = np.exp(shifted)
    # The rest of any class but the first one includes the first one: at least 1, so nothing is cancelled.
    others = powers.sum(axis=1, keepdims=True) - powers
    others[rows, first] = 1.0
    scores = shifted - np.log(others)
    rest = shifted
    rest[rows, first] = -np.inf
    second = rest.max(axis=1)
    scores[rows, first] = -(second + np.log(np.exp(rest - second[:, None]).sum(axis=1)))
    return np.asarray(scores)


def class_truth(labels: Values | NDArray[np.generic], task: Task, classes: int) -> Integers:
    """For each class whether an image is of it.

    Args:
        labels: class indices [N] (``multiclass``), or 1, 0 and -1 for unknown [N, K] (``multilabel``).
        classes: K.

    Returns:
        int64 [N, K] of 1, 0 and -1.

    Raises:
        ValueError: there is no image, the shape does not match, or a label is out of range.
    """
    found = as_array(labels)
    shape = "[N]" if task == "multiclass" else f"[N, {classes}]"
    if found.ndim != (1 if task == "multiclass" else 2) or (found.ndim == 2 and found.shape[1] != classes):
        raise ValueError(f"the labels have the shape {list(found.shape)}; {task} labels are {shape}")
    if not len(found):
        raise ValueError("there is no image to evaluate")
    if task == "multiclass":
        wrong = found[~np.isin(found, np.arange(classes))]
        if wrong.size:
            raise ValueError(
                f"a label is {wrong[0]:g}; the labels of {classes} classes are 0 to {classes - 1}"
            )
        return np.eye(classes, dtype=np.int64)[found.astype(np.int64)]
    wrong = found[~np.isin(found, (-1, 0, 1))]
    if wrong.size:
        raise ValueError(f"a label is {wrong[0]:g}; labels are 1 (present), 0 (absent) and -1 (unknown)")
    return found.astype(np.int64)


def checked_logits(logits: Values | NDArray[np.generic]) -> Floats:
    """Logits as float64 [N, K].

    Raises:
        ValueError: there is no image, the shape is another one, K is below 2, or a logit is NaN or infinite.
    """
    values = as_array(logits)
    if values.ndim != 2 or values.shape[1] < 2:
        raise ValueError(
            f"logits have the shape {list(values.shape)}; they must be [N, K] with K of at least 2"
        )
    if not len(values):
        raise ValueError("there is no image to evaluate")
    not_finite = int(np.count_nonzero(~np.isfinite(values)))
    if not_finite:
        raise ValueError(f"{not_finite} of {values.size} logits are NaN or infinite; the model has diverged")
    return values


def checked_thresholds(thresholds: ArrayLike | None, classes: int) -> Floats:
    """Thresholds on the scores, float64 [K]; 0, which is probability 0.5, where there is none.

    Raises:
        ValueError: they are not K finite numbers.
    """
    values = np.zeros(classes) if thresholds is None else np.asarray(thresholds, dtype=np.float64)
    if values.shape != (classes,) or not np.isfinite(values).all():
        raise ValueError(f"the thresholds are {values.tolist()}; there must be {classes} finite logits")
    return values


def decide(logits: ArrayLike, task: Task, thresholds: ArrayLike | None = None) -> Integers:
    """What is predicted for each image.

    Args:
        logits: [N, K], finite.
        task: ``multiclass`` or ``multilabel``.
        thresholds: one per class on its score, [K]; None: 0 each.

    Returns:
        ``multilabel``: int64 [N, K], 1 for each label whose score is at least its threshold. ``multiclass``:
        int64 [N], the class whose score exceeds its threshold by most, the first one of equals; with equal
        thresholds the class with the largest logit.

    Raises:
        ValueError: the thresholds are not K finite numbers.
    """
    values = np.asarray(logits, dtype=np.float64)
    ends = checked_thresholds(thresholds, values.shape[1])
    if task == "multilabel":
        return (values >= ends).astype(np.int64)
    if (ends == ends[0]).all():
        return np.asarray(
            values.argmax(axis=1), np.int64
        )  # without the rounding of scores, which could part equal logits
    return np.asarray((one_vs_rest(values, task) - ends).argmax(axis=1), np.int64)


def as_one_vs_rest(
    logits: Values | NDArray[np.generic],
    labels: Values | NDArray[np.generic],
    task: Task,
    thresholds: Sequence[float] | Floats | None = None,
) -> OneVsRest:
    """One split's predictions, validated, as K binary problems.

    Args:
        logits: [N, K], finite.
        labels: as for :func:`class_truth`.
        task: ``multiclass`` or ``multilabel``.
        thresholds: as for :func:`decide`.

    Raises:
        ValueError: there is no image, the shapes differ, a logit is NaN or infinite, a label is out of range, or
            the thresholds are not K finite numbers.
    """
    values = checked_logits(logits)
    count = values.shape[1]
    truth = class_truth(labels, task, count)
    if len(truth) != len(values):
        raise ValueError(f"there are logits of {len(values)} images and labels of {len(truth)}")
    decided = class_truth(decide(values, task, thresholds), task, count)
    return OneVsRest(one_vs_rest(values, task), truth, decided)
