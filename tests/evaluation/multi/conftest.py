"""For tests of classifiers with K logits: simulated predictions of exclusive classes and of labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pneumo_cli.evaluation.arrays import sigmoid
from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.decision_rule import Fitting
from pneumo_cli.evaluation.multi.rule import MultiRule, fit_multi_rule
from pneumo_cli.evaluation.multi.scores import softmax

Make = Callable[..., Predictions]


@pytest.fixture(scope="session")
def predictions() -> Make:
    """``predictions(task, images, classes, seed)``: calibrated logits, two images per patient, a tenth unknown."""

    def make(task: str, images: int = 300, classes: int = 3, seed: int = 0) -> Predictions:
        rng = np.random.default_rng(seed)
        logits = 2 * rng.normal(size=(images, classes))
        if task == "multiclass":
            labels = (softmax(logits).cumsum(axis=1) > rng.random((images, 1))).argmax(axis=1)
        else:
            logits -= np.linspace(0, 3, classes)
            labels = (rng.random(logits.shape) < sigmoid(logits)).astype(np.int64)
            labels[rng.random(labels.shape) < 0.1] = -1
        return Predictions(
            logits,
            labels.astype(np.int64),
            [f"image{place}" for place in range(images)],
            [f"p{place // 2}" for place in range(images)],
            [("", "early", "late")[place % 3] for place in range(images)],
        )

    return make


@pytest.fixture(scope="session")
def gray_levels() -> Callable[..., np.ndarray]:
    """Images of 32 px that show the labels a little: ``gray_levels(labels, seed)``."""

    def make(labels: np.ndarray, seed: int) -> np.ndarray:
        levels = np.random.default_rng(seed).normal(100, 40, (len(labels), 32, 32))
        known = labels[:, None] if labels.ndim == 1 else np.maximum(labels, 0)
        for place in range(known.shape[1]):
            levels[:, 4 * place : 4 * place + 4] += 6 * known[:, place, None, None]
        return levels.clip(0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def rules(predictions: Make, gray_levels: Callable[..., np.ndarray]) -> dict[str, MultiRule]:
    """By task, a rule fitted on 300 validation images of three classes."""
    fitted = {}
    for task in ("multiclass", "multilabel"):
        validation, train = predictions(task, seed=1), predictions(task, seed=2).labels
        images = (gray_levels(train, 1), train, gray_levels(validation.labels, 2))
        data = Fitting(("normal", "bacteria", "virus"), 2 * validation.logits, validation.labels, *images)
        fitted[task] = fit_multi_rule(
            data, task, chosen="balanced", wanted_sensitivity=0.9, miss_cost=5.0, seed=0
        )
    return fitted
