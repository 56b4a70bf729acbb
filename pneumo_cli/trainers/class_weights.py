"""The weights of classes in a classifier's loss: the settings ``class_weights`` and ``pos_weight``.

The report weights NORMAL : PNEUMONIA (SOURCE 4), so that both classes count alike. In practice a missed case costs
more, the report says: other values can be given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.records import Task
from pneumo_cli.errors import UsageError, nearest

Floats = NDArray[np.float64]


class ClassWeights(NamedTuple):
    """Weights of the terms of a loss, float64 [K] each.

    Attributes:
        present: of images of a class; in ``multilabel`` of those that show the label.
        absent: in ``multilabel`` of images that do not show the label; else unused.
    """

    present: Floats
    absent: Floats


def class_weights(
    class_setting: str, pos_setting: str, labels: NDArray[np.int64], task: Task, classes: Sequence[str]
) -> ClassWeights:
    """The weights that the settings ask for.

    Args:
        class_setting: ``none``; ``balanced``, by which all classes have the same sum of weights (in ``multilabel``
            images with and without each label), and class 0 of two has the weight 1 (SOURCE 4); or numbers above
            0: one per class, or ``NAME=NUMBER`` for some classes, the others having 1.
        pos_setting: the weight of images that show the positive class (``binary``) or the label (``multilabel``;
            one number for all or one each) against images that do not. Empty: as ``class_setting`` says.
        labels: of the training images, [N], or [N, K] with -1 for unknown.
        task: what the dataset asks to decide.
        classes: their names.

    Raises:
        UsageError: a setting is not as described, or does not go with the task or with the other one.
    """
    count = len(classes)
    ones = np.ones(count)
    if pos_setting:
        if class_setting not in ("balanced", "none"):
            raise UsageError(
                "pos_weight and the numbers of class_weights exclude each other: give one of them"
            )
        if task == "multiclass":
            raise UsageError(
                f"pos_weight is for two classes or for several labels; these are {count} exclusive classes: use "
                "class_weights"
            )
        values = _numbers("pos_weight", pos_setting, 1 if task == "binary" else count, classes)
        return ClassWeights(np.array([1.0, values[0]]) if task == "binary" else values, ones)
    if class_setting == "none":
        return ClassWeights(ones, ones)
    if class_setting != "balanced":
        values = _numbers("class_weights", class_setting, count, classes)
        return ClassWeights(values, values)
    if task == "multilabel":
        present, absent = (labels == 1).sum(0), (labels == 0).sum(0)
        return ClassWeights(absent / np.maximum(present, 1), ones)
    images = np.bincount(labels, minlength=count).astype(np.float64)
    if task == "binary":
        return ClassWeights(np.array([1.0, images[0] / images[1]]), ones)
    return ClassWeights(images.sum() / (count * images), ones)


def _numbers(setting: str, text: str, count: int, classes: Sequence[str]) -> Floats:
    """The numbers of a setting, [count].

    Raises:
        UsageError: it has another number of them, one that is not above 0, or an unknown class.
    """
    values = np.ones(count)
    parts = [part.strip() for part in text.split(",")]
    names = {name.lower(): place for place, name in enumerate(classes)}
    if any("=" in part for part in parts):
        for part in parts:
            name, _, number = part.rpartition("=")
            if name.strip().lower() not in names or count != len(classes):
                raise UsageError(
                    f"{setting} = {text!r}: there is no class {name!r}; {nearest(name, classes)}"
                )
            values[names[name.strip().lower()]] = _positive(setting, number)
        return values
    if len(parts) not in (1, count) or (len(parts) == 1 and count > 1 and setting != "pos_weight"):
        words = {"class_weights": "none, balanced, or "}.get(setting, "")
        each = f"{count} numbers, for {', '.join(classes)}" if count > 1 else "one number"
        raise UsageError(f"{setting} = {text!r}: it is {words}{each}")
    values[:] = [_positive(setting, part) for part in parts]
    return values


def _positive(setting: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{setting}: {text.strip()!r} is not a number above 0")
    return value
