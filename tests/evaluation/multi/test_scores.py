"""Scores against the rest give the class's probability, and decisions follow from them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pneumo_cli.evaluation.arrays import sigmoid
from pneumo_cli.evaluation.multi.scores import (
    as_one_vs_rest,
    class_truth,
    decide,
    log_softmax,
    one_vs_rest,
    softmax,
)

LOGITS = st.integers(2, 5).flatmap(
    lambda classes: arrays(np.float64, (4, classes), elements=st.floats(-1e4, 1e4, allow_nan=False))
)


@given(LOGITS)
def test_the_sigmoid_of_a_score_is_the_probability_of_the_class(logits: np.ndarray) -> None:
    scores = one_vs_rest(logits, "multiclass")
    assert np.isfinite(scores).all()
    expected = torch.softmax(torch.from_numpy(logits), 1).numpy()
    np.testing.assert_allclose(sigmoid(scores), expected, atol=1e-12)
    np.testing.assert_allclose(softmax(logits), expected, atol=1e-12)
    np.testing.assert_allclose(np.exp(log_softmax(logits)), expected, atol=1e-12)


@given(LOGITS)
def test_scores_are_the_logit_against_the_log_sum_exp_of_the_others(logits: np.ndarray) -> None:
    scores, tensor = one_vs_rest(logits, "multiclass"), torch.from_numpy(logits)
    for place in range(logits.shape[1]):
        others = torch.cat([tensor[:, :place], tensor[:, place + 1 :]], dim=1)
        expected = (tensor[:, place] - torch.logsumexp(others, dim=1)).numpy()
        np.testing.assert_allclose(scores[:, place], expected, atol=1e-9, rtol=1e-12)


def test_scores_differ_where_probabilities_are_saturated() -> None:
    scores = one_vs_rest([[1000.0, 0.0, 0.0], [1001.0, 0.0, 0.0]], "multiclass")
    assert scores[1, 0] - scores[0, 0] == pytest.approx(1)
    assert (sigmoid(scores)[:, 0] == 1).all()


def test_with_two_classes_the_score_is_the_difference_of_the_logits() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 2))
    scores = one_vs_rest(logits, "multiclass")
    np.testing.assert_allclose(scores[:, 1], logits[:, 1] - logits[:, 0], atol=1e-12)
    np.testing.assert_allclose(scores[:, 0], -scores[:, 1], atol=1e-12)


def test_labels_have_their_own_logits_as_scores() -> None:
    logits = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(one_vs_rest(logits, "multilabel"), logits)


@given(LOGITS)
def test_without_thresholds_the_largest_logit_is_predicted_the_first_of_equals(logits: np.ndarray) -> None:
    np.testing.assert_array_equal(decide(logits.round(-3), "multiclass"), logits.round(-3).argmax(axis=1))
    np.testing.assert_array_equal(decide(logits, "multilabel"), (logits >= 0).astype(int))


def test_a_higher_threshold_makes_a_class_rarer() -> None:
    logits = np.random.default_rng(0).normal(size=(500, 3))
    shares = [(decide(logits, "multiclass", [t, 0, 0]) == 0).mean() for t in (-2.0, 0.0, 2.0)]
    assert shares[0] > shares[1] > shares[2] > 0
    assert decide(logits, "multilabel", [1e3, -1e3, 0]).mean(axis=0)[:2].tolist() == [0, 1]


def test_truth_is_one_column_per_class_and_keeps_unknown_labels() -> None:
    assert class_truth([2, 0], "multiclass", 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert class_truth(torch.tensor([[1, -1], [0, 1]]), "multilabel", 2).tolist() == [[1, -1], [0, 1]]


@pytest.mark.parametrize(
    ("logits", "labels", "task", "thresholds", "message"),
    [
        (np.zeros((2, 3)), [0, 3], "multiclass", None, "a label is 3; the labels of 3 classes are 0 to 2"),
        (np.zeros((2, 3)), [0, -1], "multiclass", None, "a label is -1"),
        (np.zeros((2, 3)), [0, 0.5], "multiclass", None, "a label is 0.5"),
        (np.zeros((2, 3)), [[0, 1, 0]] * 2, "multiclass", None, r"labels have the shape \[2, 3\]"),
        (np.zeros((2, 3)), [0, 1], "multilabel", None, r"multilabel labels are \[N, 3\]"),
        (np.zeros((2, 2)), [[0, 2], [0, 0]], "multilabel", None, "a label is 2"),
        (np.zeros((2, 2)), [[0, np.nan], [0, 0]], "multilabel", None, "a label is nan"),
        (np.zeros((2, 3)), [0], "multiclass", None, "logits of 2 images and labels of 1"),
        (np.zeros((0, 3)), [], "multiclass", None, "there is no image"),
        (np.zeros((2, 1)), [0, 0], "multiclass", None, "K of at least 2"),
        (np.zeros(2), [0, 0], "multiclass", None, r"the shape \[2\]"),
        (np.array([[0, np.nan], [0, np.inf]]), [0, 1], "multiclass", None, "2 of 4 logits are NaN"),
        (np.zeros((2, 2)), [0, 1], "multiclass", [0.0], "there must be 2 finite logits"),
        (np.zeros((2, 2)), [0, 1], "multiclass", [0.0, np.inf], "there must be 2 finite logits"),
    ],
)
def test_wrong_input_is_refused_with_the_value(logits, labels, task, thresholds, message) -> None:
    with pytest.raises(ValueError, match=message):
        as_one_vs_rest(logits, labels, task, thresholds)


def test_metrics_import_no_torch() -> None:
    code = "import sys, pneumo_cli.evaluation.multi.intervals; print({'torch', 'torchmetrics'} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "set()\n"
