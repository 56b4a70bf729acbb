"""The linear baseline is the logistic regression of scikit-learn, and survives a checkpoint."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.metrics import roc_auc_score

from pneumo_cli.evaluation.linear_baseline import (
    LinearBaseline,
    LogisticRegression,
    newton,
    principal_axes,
    thumbnails,
)


def discs(count: int, seed: int, side: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Noise; a bright disc in the middle of those of class 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    y, x = np.ogrid[:side, :side]
    disc = (y - side / 2) ** 2 + (x - side / 2) ** 2 < (side / 6) ** 2
    levels = rng.normal(100, 25, (count, side, side)) + 12 * disc * labels[:, None, None]
    return levels.clip(0, 255).astype(np.uint8), labels


def test_newton_finds_the_minimum_that_scikit_learn_finds() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(400, 7))
    labels = (features @ rng.normal(size=7) + rng.normal(size=400) > 0.8).astype(float)
    weights, bias = newton(features, labels, 0.02)
    reference = Reference(C=1 / (0.02 * 400), tol=1e-10, max_iter=1000).fit(features, labels)
    assert weights == pytest.approx(reference.coef_[0], abs=1e-4)
    assert bias == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_separable_or_imbalanced_classes_give_finite_logits() -> None:
    features = np.concatenate([np.zeros((500, 3)), np.full((1, 3), 1e3)])
    labels = np.repeat([0, 1], [500, 1])
    found = LogisticRegression.fit(features, labels).logits(features)
    assert np.isfinite(found).all()
    assert found[500] > found[:500].max()


@pytest.mark.parametrize("shape", [(30, 100), (100, 30)])
def test_principal_axes_are_orthonormal_and_have_the_largest_variance(shape: tuple[int, int]) -> None:
    features = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    features[:, 3] *= 10
    features -= features.mean(0)
    axes = principal_axes(features, 5)
    assert axes.shape == (shape[1], 5)
    assert axes.T @ axes == pytest.approx(np.eye(5), abs=1e-4)
    largest = np.linalg.svd(features, compute_uv=False)[:5]
    assert np.linalg.norm(features @ axes, axis=0) == pytest.approx(largest, rel=1e-3)


def test_a_bright_disc_is_learnt_and_detected_in_images_of_another_size() -> None:
    levels, labels = discs(400, 1)
    model = LinearBaseline.fit(levels, labels)
    unseen, truth = discs(200, 2)
    larger, _ = discs(200, 2, side=128)
    assert roc_auc_score(truth, model.logits(unseen)) > 0.95
    assert roc_auc_score(truth, model.logits(larger)) > 0.95


def test_the_state_survives_a_checkpoint_exactly() -> None:
    levels, labels = discs(100, 1)
    model = LinearBaseline.fit(levels, labels)
    buffer = io.BytesIO()
    torch.save(model.state(), buffer)
    buffer.seek(0)
    again = LinearBaseline.from_state(torch.load(buffer, weights_only=True))
    assert np.array_equal(again.logits(levels), model.logits(levels))


@pytest.mark.parametrize(
    "state",
    [{}, {"weights": torch.zeros(3), "bias": 0.0}, {"weights": torch.full((1024,), torch.nan), "bias": 0.0}],
)
def test_a_damaged_state_is_an_error(state: dict[str, object]) -> None:
    with pytest.raises((KeyError, ValueError)):
        LinearBaseline.from_state(state)


@pytest.mark.parametrize("labels", [np.zeros(10), np.ones(10), np.arange(10), np.zeros(9)])
def test_labels_other_than_both_classes_are_an_error(labels: np.ndarray) -> None:
    with pytest.raises(ValueError, match="labels"):
        LinearBaseline.fit(np.zeros((10, 32, 32), np.uint8), labels)


def test_thumbnails_are_means_over_areas() -> None:
    levels = np.zeros((1, 64, 64), np.uint8)
    levels[0, :2, :2] = [[0, 255], [255, 255]]
    found = thumbnails(levels)
    assert found.shape == (1, 1024)
    assert found.dtype == np.float32
    assert found[0, 0] == pytest.approx(0.75)
    assert found[0, 1:].max() == 0
    with pytest.raises(ValueError, match="px"):
        thumbnails(np.zeros((2, 8, 9), np.uint8))
