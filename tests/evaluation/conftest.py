"""For tests of decision rules and classification reports: simulated predictions, and a rule fitted on some."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting, fit_decision_rule


@pytest.fixture(scope="session")
def predictions() -> Callable[..., Predictions]:
    """Predictions of images: ``predictions(images, seed)``; two images per patient, bacteria easier than virus."""

    def make(images: int = 300, seed: int = 0) -> Predictions:
        rng = np.random.default_rng(seed)
        patients = np.arange(images) // 2
        labels = (patients % 3 > 0).astype(np.int64)
        virus = (patients % 3 == 2) & (labels == 1)
        shift = np.where(labels == 1, np.where(virus, 1.0, 3.0), -2.0)
        logits = shift + rng.normal(size=images)
        names, of = [f"image{i}" for i in range(images)], [f"p{patient}" for patient in patients]
        subtypes = np.where(labels == 0, "", np.where(virus, "virus", "bacteria"))
        return Predictions(logits, labels, names, of, subtypes.tolist())

    return make


@pytest.fixture(scope="session")
def gray_levels() -> Callable[..., np.ndarray]:
    """Images of 32 px, brighter where the label is 1: ``gray_levels(labels, seed)``."""

    def make(labels: np.ndarray, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).normal(100, 25, (len(labels), 32, 32))
        return (noise + 12 * labels[:, None, None]).clip(0, 255).astype(np.uint8)

    return make


@pytest.fixture(scope="session")
def rule(predictions: Callable[..., Predictions], gray_levels: Callable[..., np.ndarray]) -> DecisionRule:
    """Fitted on 300 validation images."""
    validation, train = predictions(seed=1), predictions(seed=2).labels
    images = (gray_levels(train, 1), train, gray_levels(validation.labels, 2))
    data = Fitting(("NORMAL", "PNEUMONIA"), validation.logits, validation.labels, *images)
    return fit_decision_rule(data, chosen="screening", wanted_sensitivity=0.8, miss_cost=5.0, seed=0)
