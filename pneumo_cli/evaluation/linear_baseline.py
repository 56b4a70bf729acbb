"""What is had without a network: a logistic regression on thumbnails.

A report puts it beside a trained network as the baseline, and an audit uses it to tell training from test images.
It sees where an image is bright and where it is dark, how it was framed and exposed, and no detail of the lung. It
is not meant to be good; a network that does not beat it has learnt nothing that needed a network.

Everything is deterministic: no seed, no iteration that ends by the clock.
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
"""Pixels of a thumbnail's side."""
COMPONENTS = 128
"""Principal components that a regression is fitted in. Those beyond are hardly more than noise of single pixels."""
PENALTY = 0.02
"""Weight of the penalty, per image; see :class:`LogisticRegression`."""

_STEPS, _HALVINGS = 50, 30  # of Newton's method, at most
_TOLERANCE = 1e-8
_FLAT = 1e-3  # standard deviation, of a range of 1, below which a pixel is the same in all images


def thumbnails(levels: NDArray[np.uint8], size: int = SIZE) -> NDArray[np.float32]:
    """Shrink images by the mean over areas, and lay out their pixels as features.

    Args:
        levels: uint8 [N, S, S], 0 black to 255 white, of any size.
        size: height and width of a thumbnail in pixels.

    Returns:
        float32 [N, size * size], 0 to 1, row by row.

    Raises:
        ValueError: the images are not square, or a size is below 1.
    """
    return shrunk(levels, size).reshape(len(levels), size * size)


@dataclass(frozen=True)
class LogisticRegression:
    """A logistic regression on standardised features, penalised by the squared length of its weights.

    It minimises the mean cross-entropy plus ``penalty / 2`` times the squared weights, in the principal components
    of the features, by Newton's method.

    Attributes:
        weights: float64 [D], of the features as they are given.
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
            features: [N, D], finite; one that is the same in all rows gets no weight.
            labels: [N], each 0 or 1, both at least once.
            components: how many principal components are kept at most.
            penalty: above 0.

        Raises:
            ValueError: the labels are not of two classes, or the shapes do not fit.
        """
        truth = np.asarray(labels, np.float64)
        if features.ndim != 2 or truth.shape != (len(features),):
            raise ValueError(
                f"features {list(features.shape)} and labels {list(truth.shape)} do not fit together"
            )
        if set(np.unique(truth).tolist()) != {0.0, 1.0}:
            raise ValueError("a logistic regression needs labels 0 and 1, and both of them")
        mean, scale = _standard(features)
        standard = ((features - mean) * scale).astype(np.float32)
        axes = principal_axes(standard, components)
        slope, bias = newton(standard @ axes, truth, penalty)
        weights = (axes @ slope) * scale
        return cls(weights, float(bias - weights @ mean))

    def logits(self, features: NDArray[np.floating]) -> Floats:
        """Logits of class 1, [N], for features [N, D]."""
        found: Floats = features @ self.weights + self.bias
        return found


def principal_components(features: NDArray[np.floating], most: int = COMPONENTS) -> Floats:
    """Standardised features [N, D] along the directions in which they vary most: [N, K], K at most ``most``."""
    mean, scale = _standard(features)
    standard = ((features - mean) * scale).astype(np.float32)
    found: Floats = standard @ principal_axes(standard, most)
    return found


def _standard(features: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """The mean of each feature and what makes its standard deviation 1: [D] each, 0 where it is always the same."""
    deviation = features.std(0, dtype=np.float64)
    scale = np.where(deviation > _FLAT, 1 / np.maximum(deviation, _FLAT), 0.0)
    return features.mean(0, dtype=np.float64), scale


def principal_axes(features: NDArray[np.float32], most: int) -> Floats:
    """The directions in which centred features [N, D] vary most, as columns [D, K]; K at most ``most``, N, D."""
    count, width = features.shape
    if count < width:
        values, vectors = np.linalg.eigh((features @ features.T).astype(np.float64))
    else:
        values, vectors = np.linalg.eigh((features.T @ features).astype(np.float64))
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
        chance = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
        slope = design.T @ (chance - truth) / count + ridge * solution
        curvature = (design.T * (chance * (1 - chance))) @ design / count
        curvature[np.diag_indices_from(curvature)] += ridge + 1e-12
        step = np.linalg.solve(curvature, slope)
        # Newton's decrement: twice what the step can still gain.
        if step @ slope < _TOLERANCE:
            break
        for halving in range(_HALVINGS):
            further = solution - step / 2**halving
            reached = loss(further)
            if reached <= current:
                break
        solution, current = further, reached
    return solution[:-1], float(solution[-1])


@dataclass(frozen=True)
class LinearBaseline:
    """A logistic regression on thumbnails of grey levels.

    Attributes:
        regression: on ``SIZE * SIZE`` features.
    """

    regression: LogisticRegression

    @classmethod
    def fit(cls, levels: NDArray[np.uint8], labels: NDArray[np.generic]) -> LinearBaseline:
        """Fit it to images.

        Args:
            levels: uint8 [N, S, S].
            labels: [N], each 0 or 1, both at least once.

        Raises:
            ValueError: the labels are not of two classes, or the shapes do not fit.
        """
        return cls(LogisticRegression.fit(thumbnails(levels), labels))

    def logits(self, levels: NDArray[np.uint8]) -> Floats:
        """Logits of class 1, float64 [N], for images uint8 [N, S, S] of any size."""
        return self.regression.logits(thumbnails(levels))

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint."""
        import torch

        return {"weights": torch.from_numpy(self.regression.weights.copy()), "bias": self.regression.bias}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> LinearBaseline:
        """Take it back from a checkpoint.

        Raises:
            ValueError, KeyError, TypeError: it is damaged.
        """
        weights = np.asarray(state["weights"], np.float64)
        bias = float(state["bias"])
        if weights.shape != (SIZE * SIZE,) or not (np.isfinite(weights).all() and np.isfinite(bias)):
            raise ValueError(f"the baseline's weights are not {SIZE * SIZE} finite numbers")
        return cls(LogisticRegression(weights, bias))
