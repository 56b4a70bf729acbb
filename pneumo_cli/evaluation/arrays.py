"""The input of all metrics: logits and labels of one split, validated, and a threshold on them."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    Values: TypeAlias = NDArray[np.generic] | torch.Tensor | Sequence[float]
    """One number per image of a split, [N]."""

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


def logit_threshold_of(threshold: float, logit_threshold: float | None = None) -> float:
    """The logit at and above which an image is classified as positive: ``logit_threshold``, else the threshold's.

    Raises:
        ValueError: the threshold is out of bounds, or the logit_threshold is not finite.
    """
    if logit_threshold is not None:
        if not math.isfinite(logit_threshold):
            raise ValueError(f"the logit_threshold is {logit_threshold}; it must be a finite logit")
        return logit_threshold
    if not 0 < threshold < 1:
        raise ValueError(
            f"the threshold is {threshold}; it must be a probability between 0 and 1, both excluded"
        )
    return math.log(threshold) - math.log1p(-threshold)


def sigmoid(logits: Floats) -> Floats:
    """Probabilities of class 1, for logits of any shape; never overflows."""
    tail = np.exp(-np.abs(logits))
    probabilities: Floats = np.where(logits >= 0, 1.0, tail) / (1 + tail)
    return probabilities


def checked(logits: Values, labels: Values) -> tuple[Floats, Integers]:
    """Logits as float64 [N] and labels as int64 [N].

    Raises:
        ValueError: as :func:`binary_metrics`.
    """
    scores, truth = as_array(logits), as_array(labels)
    if scores.ndim != 1 or scores.shape != truth.shape:
        raise ValueError(
            f"logits and labels have the shapes {scores.shape} and {truth.shape}; both must be [N]"
        )
    if scores.size == 0:
        raise ValueError("there is no image to evaluate")
    not_finite = int(np.count_nonzero(~np.isfinite(scores)))
    if not_finite:
        raise ValueError(f"{not_finite} of {scores.size} logits are NaN or infinite; the model has diverged")
    invalid = truth[(truth != 0) & (truth != 1)]
    if invalid.size:
        raise ValueError(f"a label is {invalid[0]:g}; binary labels are 0 and 1")
    return scores, truth.astype(np.int64)


def as_array(values: Values) -> Floats:
    """Values of any shape as float64; a tensor may be on any device."""
    torch = sys.modules.get("torch")  # not imported here: a caller with a tensor has imported it already
    if torch is not None and isinstance(values, torch.Tensor):
        values = values.detach().to("cpu", torch.float64).numpy()
    return np.asarray(values, dtype=np.float64)
