"""Calibration of K logits: bias-corrected temperature scaling of exclusive classes, Platt scaling of each label.

One temperature and a bias per class (Alexandari et al. 2020, arXiv 1901.06852) is for the softmax what
:func:`pneumo_cli.evaluation.calibration.fit_calibration` is for one logit: the temperature corrects the confidence,
and the biases correct the shift that a class-weighted loss leaves in each class. It is fitted on validation images
only. Decisions do not change: operating points are thresholds on the uncalibrated scores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from pneumo_cli.evaluation.arrays import Floats
from pneumo_cli.evaluation.calibration import (
    COLDEST,
    FEWEST,
    HOTTEST,
    UNCALIBRATED,
    Calibration,
    fit_calibration,
)
from pneumo_cli.evaluation.multi.metrics import Numbers
from pneumo_cli.evaluation.multi.scores import checked_logits, class_truth, log_softmax

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task

_STEPS = 500
_TOLERANCE = 1e-13  # of the mean loss, in nats
_MOST_DAMPED = 1e12


@dataclass(frozen=True)
class ClassCalibration:
    """The map from a network's K logits to calibrated logits: logit / temperature + bias, class by class.

    Attributes:
        classes: one calibration each, K. For exclusive classes they share one temperature.
    """

    classes: tuple[Calibration, ...]

    def apply(self, logits: ArrayLike) -> Floats:
        """Calibrated logits, float64 [N, K], for logits [N, K]."""
        values = np.asarray(logits, dtype=np.float64)
        temperatures, biases = self.arrays()
        return np.asarray(values / temperatures + biases)

    def arrays(self) -> tuple[Floats, Floats]:
        """Temperatures and biases, float64 [K] each."""
        each = [(one.temperature, one.bias) for one in self.classes]
        temperatures, biases = np.array(each, dtype=np.float64).T
        return temperatures, biases

    def plain(self) -> dict[str, list[float]]:
        """Plain values for a checkpoint, a report or a description."""
        return {
            "temperature": [one.temperature for one in self.classes],
            "bias": [one.bias for one in self.classes],
        }

    @classmethod
    def from_plain(cls, state: Mapping[str, Any]) -> ClassCalibration:
        """Restore it.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        pairs = zip(state["temperature"], state["bias"], strict=True)
        return cls(tuple(Calibration(float(temperature), float(bias)) for temperature, bias in pairs))

    @classmethod
    def none(cls, classes: int) -> ClassCalibration:
        """Logits as the network gives them, of K classes."""
        return cls((UNCALIBRATED,) * classes)


def fit_class_calibration(logits: Numbers, labels: Numbers, task: Task) -> ClassCalibration:
    """The maximum-likelihood calibration of K logits.

    Args:
        logits: of validation images, [N, K], finite.
        labels: class indices [N], or 1, 0 and -1 for unknown [N, K].
        task: ``multiclass`` or ``multilabel``.

    Returns:
        ``multilabel``: that of ``fit_calibration`` for each label, on the images where it is known. ``multiclass``:
        one temperature of ``COLDEST`` to ``HOTTEST`` and K biases, whose mean is 0. Only biases where a class has
        fewer than ``FEWEST`` images or the logits of each image are equal; no calibration where a class has none.

    Raises:
        ValueError: as :func:`pneumo_cli.evaluation.multi.scores.as_one_vs_rest`.
    """
    values = checked_logits(logits)
    truth = class_truth(labels, task, values.shape[1])
    if len(truth) != len(values):
        raise ValueError(f"there are logits of {len(values)} images and labels of {len(truth)}")
    if task == "multilabel":
        known = truth >= 0
        return ClassCalibration(
            tuple(
                fit_calibration(column[at], label[at]) if at.any() else UNCALIBRATED
                for column, label, at in zip(values.T, truth.T, known.T, strict=True)
            )
        )
    images = truth.sum(axis=0)
    if images.min() == 0:
        return ClassCalibration.none(values.shape[1])
    # As if each class had also been seen once for every class: for K = 2 these are Platt's targets.
    own = images[truth.argmax(axis=1)][:, None]
    targets = (1 + truth * own) / (own + len(images))
    centred = values - values.mean(axis=1, keepdims=True)
    inverse, biases = 1.0, _fitted(centred, targets, 1.0)[1]
    if images.min() >= FEWEST and centred.any():
        inverse, biases = _fitted(centred, targets, None)
        low, high = 1 / HOTTEST, 1 / COLDEST
        if not low <= inverse <= high:  # the loss is convex: the best one within the bounds is at the bound
            inverse = min(max(inverse, low), high)
            biases = _fitted(centred, targets, inverse)[1]
    return ClassCalibration(tuple(Calibration(1 / inverse, float(bias)) for bias in biases))


def _fitted(logits: Floats, targets: Floats, inverse: float | None) -> tuple[float, Floats]:
    """The 1 / temperature and biases [K] with the lowest cross-entropy; a given 1 / temperature is kept.

    Newton's method, damped until the convex loss falls (Levenberg & Marquardt). It starts from probabilities that
    are not saturated, so that the Hessian is not flat.
    """
    scale = max(1.0, float(np.abs(logits).max()))
    units = logits / scale  # so that 1 / temperature and biases have similar curvatures
    free = inverse is None
    start = 1.0 if inverse is None else inverse * scale
    share = targets.mean(axis=0)

    def loss(at: Floats) -> float:
        return float(-(targets * log_softmax(units * at[0] + at[1:])).sum(axis=1).mean())

    at = np.concatenate(([start], np.log(share)))
    reached, damping = loss(at), 1e-3
    for _ in range(_STEPS):
        gradient, hessian = _derivatives(units, targets, at)
        if not free:
            gradient[0], hessian[0], hessian[:, 0] = 0.0, 0.0, 0.0
        while damping < _MOST_DAMPED:
            # Equal shifts of all biases change nothing; the damping keeps the system solvable.
            step = np.linalg.solve(hessian + (damping + 1e-12) * np.eye(len(at)), gradient)
            candidate = loss(at - step)
            if candidate <= reached:
                break
            damping = max(damping, 1e-12) * 10
        else:
            break
        gained, at, reached, damping = reached - candidate, at - step, candidate, damping / 10
        if gained <= _TOLERANCE and damping < 1e-6:
            break
    biases = at[1:] - at[1:].mean()
    return (float(at[0]) / scale if inverse is None else inverse), biases


def _derivatives(units: Floats, targets: Floats, at: Floats) -> tuple[Floats, Floats]:
    """Gradient [1 + K] and Hessian [1 + K, 1 + K] of the mean cross-entropy."""
    p = np.exp(log_softmax(units * at[0] + at[1:]))
    count, classes = p.shape
    mean = (p * units).sum(axis=1, keepdims=True)
    gradient = np.concatenate(([((p - targets) * units).sum() / count], (p - targets).mean(axis=0)))
    hessian = np.empty((classes + 1, classes + 1))
    deviation = p * (units - mean)
    hessian[0, 0] = (deviation * units).sum() / count
    hessian[0, 1:] = hessian[1:, 0] = deviation.mean(axis=0)
    hessian[1:, 1:] = np.diag(p.mean(axis=0)) - p.T @ p / count
    return gradient, hessian
