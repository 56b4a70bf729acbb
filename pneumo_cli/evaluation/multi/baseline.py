"""The linear baseline for K classes: a logistic regression on images of 32 px for each class against the rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.evaluation.arrays import Floats
from pneumo_cli.evaluation.linear_baseline import (
    COMPONENTS,
    PENALTY,
    SIZE,
    mean_and_scale,
    newton,
    principal_axes,
    thumbnails,
)
from pneumo_cli.evaluation.multi.scores import class_truth

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task


@dataclass(frozen=True)
class MultiBaseline:
    """Logistic regressions on downsampled images, one per class; they share the principal components.

    Attributes:
        task: ``multiclass`` or ``multilabel``.
        weights: float64 [K, SIZE * SIZE]; 0 for a class without images of both kinds.
        biases: float64 [K].
    """

    task: Task
    weights: Floats
    biases: Floats

    @classmethod
    def fit(
        cls, levels: NDArray[np.uint8], labels: NDArray[np.generic], task: Task, classes: int
    ) -> MultiBaseline:
        """Fit it to images.

        Args:
            levels: gray levels, uint8 [N, S, S].
            labels: class indices [N], or 1, 0 and -1 for unknown [N, K]; images are left out where it is unknown.
            task: ``multiclass`` or ``multilabel``.
            classes: K.

        Raises:
            ValueError: there is no image, the shapes do not match, or a label is out of range.
        """
        truth = class_truth(labels, task, classes)
        if len(truth) != len(levels):
            raise ValueError(f"there are {len(levels)} images and labels of {len(truth)}")
        features = thumbnails(levels)
        mean, scale = mean_and_scale(features)
        standard = ((features - mean) * scale).astype(np.float32)
        axes = principal_axes(standard, COMPONENTS)
        components = standard @ axes
        weights, biases = np.zeros((classes, SIZE * SIZE)), np.zeros(classes)
        for place, label in enumerate(truth.T):
            known = label >= 0
            count, positives = int(known.sum()), int((label == 1).sum())
            if 0 < positives < count:
                slope, bias = newton(components[known], label[known].astype(np.float64), PENALTY)
                weights[place] = (axes @ slope) * scale
                biases[place] = bias - weights[place] @ mean
            else:  # a constant, as rare or as frequent as so many images allow
                biases[place] = math.log((positives + 1) / (count - positives + 1))
        return cls(task, weights, biases)

    def logits(self, levels: NDArray[np.uint8]) -> Floats:
        """Logits of the K classes, float64 [N, K], for gray levels uint8 [N, S, S] of any size.

        For exclusive classes they are log probabilities: the softmax scales the K probabilities to the sum 1.
        """
        scores = np.asarray(thumbnails(levels) @ self.weights.T + self.biases, np.float64)
        return scores if self.task == "multilabel" else -np.logaddexp(0.0, -scores)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint."""
        import torch

        return {"weights": torch.from_numpy(self.weights.copy()), "bias": self.biases.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], task: Task, classes: int) -> MultiBaseline:
        """Restore it from a checkpoint.

        Raises:
            ValueError, KeyError, TypeError: it is damaged.
        """
        weights = np.asarray(state["weights"], np.float64)
        biases = np.asarray(state["bias"], np.float64)
        shapes = weights.shape == (classes, SIZE * SIZE) and biases.shape == (classes,)
        if not (shapes and np.isfinite(weights).all() and np.isfinite(biases).all()):
            raise ValueError(f"the baseline's weights are not {SIZE * SIZE} finite numbers per class")
        return cls(task, weights, biases)
