"""The linear baseline: a logistic regression on images of 32 px.

Reports compare networks with it, and the audit uses it to separate training from test images. It sees brightness,
framing and exposure, and no detail of the lung: a network that is not better has learnt nothing that needs a
network. Everything is deterministic, without a seed or a time limit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.data.downsampling import shrunk

Floats = NDArray[np.float64]

SIZE = 32
"""Height and width of the downsampled images, pixels."""
COMPONENTS = 128
"""Principal components for the regression; further ones are mostly pixel noise."""
PENALTY = 0.02
"""Weight of the penalty, per image; see :class:`LogisticRegression`."""

_STEPS, _HALVINGS = 50, 30  # of Newton's method, at most
_TOLERANCE = 1e-8
_FLAT = 1e-3  # standard deviation, for a range of 1, below which a pixel counts as constant


def thumbnails(levels: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.float32]:
    """Downsample images by averaging over areas, and flatten them to features.

    Args:
        levels: gray levels, uint8 [N, S, S], 0 black to 255 white, of any size.
        size: height and width after downsampling, pixels.

    Returns:
        float32 [N, size * size], 0 to 1, row by row.

    Raises:
        ValueError: the images are not square, or a size is below 1.
    """
    return shrunk(levels, size).reshape(len(levels), size * size)


@dataclass(frozen=True)
class LogisticRegression:
    """A logistic regression on standardised features with an L2 penalty.

    It minimises the mean cross-entropy plus ``penalty / 2`` times the squared weights, in the principal components
    of the features, by Newton's method.

    Attributes:
        weights: float64 [D], of the original features.
        bias: of the logit.
    """

    weights: Floats
    bias: float

    @classmethod
    def fit(
        cls,
        features: NDArray[np.floating],
        labels: NDArray[np.generic],
        *,
        components: int = COMPONENTS,
        penalty: float = PENALTY,
    ) -> LogisticRegression:
        """Fit it.

        Args:
            features: [N, D], finite; constant features get the weight 0.
            labels: [N], each 0 or 1, both at least once.
            components: number of principal components, at most.
            penalty: above 0.

        Raises:
            ValueError: the labels are not both 0 and 1, or the shapes do not match.
        """
        truth = np.asarray(labels, np.float64)
        if features.ndim != 2 or truth.shape != (len(features),):
            raise ValueError(f"features {list(features.shape)} and labels {list(truth.shape)} do not match")
        if set(np.unique(truth).tolist()) != {0.0, 1.0}:
            raise ValueError("a logistic regression needs labels of both classes, 0 and 1")
        mean, scale = mean_and_scale(features)
        standard = ((features - mean) * scale).astype(np.float32)
        axes = principal_axes(standard, components)
        slope, bias = newton(standard @ axes, truth, penalty)
        weights = (axes @ slope) * scale
        return cls(weights, float(bias - weights @ mean))

    def logits(self, features: NDArray[np.floating]) -> Floats:
        """Logits of class 1, [N], for features [N, D]."""
        return np.asarray(features @ self.weights + self.bias, np.float64)


def principal_components(features: NDArray[np.floating], most: int = COMPONENTS) -> Floats:
    """The first principal components of standardised features [N, D]: [N, K], K at most ``most``."""
    mean, scale = mean_and_scale(features)
    standard = ((features - mean) * scale).astype(np.float32)
    return np.asarray(standard @ principal_axes(standard, most), np.float64)


def mean_and_scale(features: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """Mean and inverse standard deviation of each feature, [D] each; the latter is 0 for constant features."""
    deviation = features.std(0, dtype=np.float64)
    scale = np.where(deviation > _FLAT, 1 / np.maximum(deviation, _FLAT), 0.0)
    return features.mean(0, dtype=np.float64), scale


def principal_axes(features: NDArray[np.float32], most: int) -> Floats:
    """The principal axes of centred features [N, D], as columns [D, K]; K at most ``most``, N and D."""
    count, width = features.shape
    gram = features @ features.T if count < width else features.T @ features
    values, vectors = np.linalg.eigh(gram.astype(np.float64))
    kept = values[::-1][:most] > max(float(values[-1]), 0.0) * 1e-6
    vectors = vectors[:, ::-1][:, :most][:, kept]
    if count < width:
        vectors = features.T.astype(np.float64) @ vectors / np.sqrt(values[::-1][:most][kept])
    return np.asarray(vectors, np.float64)


def newton(features: NDArray[np.floating], truth: Floats, penalty: float) -> tuple[Floats, float]:
    """Minimise the penalised mean cross-entropy; the bias is not penalised.

    Args:
        features: [N, K], centred.
        truth: float64 [N], 0 or 1, both at least once.
        penalty: above 0, so that there is one minimum.

    Returns:
        Weights [K] and bias.
    """
    count = len(truth)
    design = np.concatenate([features, np.ones((count, 1))], axis=1, dtype=np.float64)
    ridge = np.full(design.shape[1], penalty)
    ridge[-1] = 0.0
    solution = np.zeros(design.shape[1])
    share = truth.mean()
    solution[-1] = np.log(share / (1 - share))

    def loss(at: Floats) -> float:
        logits = design @ at
        return float(np.mean(np.logaddexp(0, logits) - truth * logits) + (ridge * at**2).sum() / 2)

    current = loss(solution)
    for _ in range(_STEPS):
        logits = design @ solution
        probability = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
        gradient = design.T @ (probability - truth) / count + ridge * solution
        hessian = (design.T * (probability * (1 - probability))) @ design / count
        hessian[np.diag_indices_from(hessian)] += ridge + 1e-12
        step = np.linalg.solve(hessian, gradient)
        # Newton's decrement: twice the possible decrease.
        if step @ gradient < _TOLERANCE:
            break
        for halving in range(_HALVINGS):
            candidate = solution - step / 2**halving
            reached = loss(candidate)
            if reached <= current:
                break
        solution, current = candidate, reached
    return solution[:-1], float(solution[-1])


@dataclass(frozen=True)
class LinearBaseline:
    """A logistic regression on downsampled images.

    Attributes:
        regression: on ``SIZE * SIZE`` features.
    """

    regression: LogisticRegression

    @classmethod
    def fit(cls, levels: NDArray[np.uint8], labels: NDArray[np.generic]) -> LinearBaseline:
        """Fit it to images.

        Args:
            levels: gray levels, uint8 [N, S, S].
            labels: [N], each 0 or 1, both at least once.

        Raises:
            ValueError: the labels are not both 0 and 1, or the shapes do not match.
        """
        return cls(LogisticRegression.fit(thumbnails(levels), labels))

    def logits(self, levels: NDArray[np.uint8]) -> Floats:
        """Logits of class 1, float64 [N], for gray levels uint8 [N, S, S] of any size."""
        return self.regression.logits(thumbnails(levels))

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint."""
        import torch

        return {"weights": torch.from_numpy(self.regression.weights.copy()), "bias": self.regression.bias}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LinearBaseline:
        """Restore it from a checkpoint.

        Raises:
            ValueError, KeyError, TypeError: it is damaged.
        """
        weights = np.asarray(state["weights"], np.float64)
        bias = float(state["bias"])
        if weights.shape != (SIZE * SIZE,) or not (np.isfinite(weights).all() and np.isfinite(bias)):
            raise ValueError(f"the baseline's weights are not {SIZE * SIZE} finite numbers")
        return cls(LogisticRegression(weights, bias))
