"""Binary metrics and curve points against scikit-learn, for random logits, ties, one class and bad input."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from pneumo_cli.evaluation.binary import (
    binary_metrics,
    confusion,
    precision_recall_points,
    roc_points,
)


def random_split(seed: int, size: int = 400, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    labels = (generator.random(size) < 0.7).astype(np.int64)
    logits = generator.normal(0, 2, size) + labels
    return (np.round(logits) if ties else logits), labels


def expected_metrics(logits: np.ndarray, labels: np.ndarray, threshold: float) -> dict[str, float]:
    probabilities = 1 / (1 + np.exp(-logits))
    predicted = (logits >= np.log(threshold / (1 - threshold))).astype(int)
    metrics = {
        "accuracy": reference.accuracy_score(labels, predicted),
        "precision": reference.precision_score(labels, predicted, zero_division=0),
        "recall": reference.recall_score(labels, predicted, zero_division=0),
        "specificity": reference.recall_score(labels, predicted, pos_label=0, zero_division=0),
        "f1": reference.f1_score(labels, predicted, zero_division=0),
        "mcc": reference.matthews_corrcoef(labels, predicted),
        "brier": np.mean((probabilities - labels) ** 2),
        "ece": calibration_error(probabilities, labels, 15),
    }
    if 0 < labels.sum() < labels.size:
        metrics["balanced_accuracy"] = reference.balanced_accuracy_score(labels, predicted)
        metrics["auc"] = reference.roc_auc_score(labels, logits)
        metrics["average_precision"] = reference.average_precision_score(labels, logits)
    return metrics


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int) -> float:
    """By its definition, bin by bin."""
    total = 0.0
    for k in range(bins):
        upper = probabilities < (k + 1) / bins if k + 1 < bins else True
        inside = (probabilities >= k / bins) & upper
        if inside.any():
            total += inside.mean() * abs(probabilities[inside].mean() - labels[inside].mean())
    return total


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("threshold", [0.5, 0.2, 0.93])
def test_metrics_equal_those_of_scikit_learn(ties: bool, threshold: float) -> None:
    logits, labels = random_split(1, ties=ties)
    measured = binary_metrics(logits, labels, threshold=threshold)
    assert measured == pytest.approx(expected_metrics(logits, labels, threshold), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(-20, 20), st.booleans()), min_size=1, max_size=40),
    st.sampled_from([0.1, 0.5, 0.77]),
)
@pytest.mark.filterwarnings("ignore::UserWarning")  # scikit-learn's, of a single class
def test_metrics_equal_those_of_scikit_learn_with_any_ties_and_classes(
    images: list[tuple[int, bool]], threshold: float
) -> None:
    logits = np.array([logit / 7 for logit, _ in images])
    labels = np.array([label for _, label in images], dtype=int)
    measured = binary_metrics(logits, labels, threshold=threshold)
    assert measured == pytest.approx(expected_metrics(logits, labels, threshold), abs=1e-9)


def test_a_logit_threshold_is_the_logit_of_the_threshold_and_does_not_saturate() -> None:
    logits, labels = random_split(6)
    assert binary_metrics(logits, labels, logit_threshold=np.log(0.2 / 0.8)) == binary_metrics(
        logits, labels, threshold=0.2
    )
    assert confusion([49.0, 51.0], [0, 1], logit_threshold=50.0).tolist() == [[1, 0], [0, 1]]
    for invalid in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite logit"):
            binary_metrics(logits, labels, logit_threshold=invalid)


def test_metrics_import_neither_torch_nor_torchmetrics() -> None:
    code = (
        "import sys; from pneumo_cli.evaluation.binary import binary_metrics; "
        "binary_metrics([0.0, 1.0], [0, 1]); assert not {'torch', 'torchmetrics'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_areas_are_exact_where_the_sigmoid_saturates() -> None:
    logits, labels = random_split(2)
    far = logits * 10 + 300  # every probability is 1.0 in double precision
    measured = binary_metrics(far, labels)
    assert measured["auc"] == pytest.approx(reference.roc_auc_score(labels, far), abs=1e-12)
    assert measured["average_precision"] == pytest.approx(
        reference.average_precision_score(labels, far), abs=1e-12
    )


def test_logits_between_zero_and_one_are_no_probabilities() -> None:
    assert binary_metrics([0.1, 0.2, 0.3], [1, 1, 1])["accuracy"] == 1.0


@pytest.mark.parametrize(("label", "recall"), [(0, 0.0), (1, 0.75)])
def test_with_one_class_the_areas_are_absent_and_nothing_is_nan(label: int, recall: float) -> None:
    measured = binary_metrics([-1.0, 2.0, 3.0, 4.0], [label] * 4)
    assert set(measured) == {"accuracy", "precision", "recall", "specificity", "f1", "mcc", "brier", "ece"}
    assert measured["recall"] == recall
    assert all(np.isfinite(value) for value in measured.values())


def test_precision_and_f1_are_zero_without_positive_predictions() -> None:
    measured = binary_metrics([-3.0, -2.0], [0, 1])
    assert (measured["precision"], measured["recall"], measured["f1"]) == (0.0, 0.0, 0.0)


def test_confusion_has_truth_in_rows_and_prediction_in_columns() -> None:
    logits, labels = [-1.0, -1.0, 2.0, -1.0, 2.0, 2.0, 2.0], [0, 0, 0, 1, 1, 1, 1]
    assert confusion(logits, labels).tolist() == [[2, 1], [1, 3]]
    assert confusion([5.0], [1]).tolist() == [[0, 0], [0, 1]]


def test_a_logit_on_the_threshold_is_positive_as_in_the_curves() -> None:
    assert confusion([0.0, -1e-12], [1, 1]).tolist() == [[0, 0], [1, 1]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_curve_points_equal_those_of_scikit_learn_with_any_ties(images: list[tuple[int, bool]]) -> None:
    logits = np.array([logit for logit, _ in images], dtype=float)
    labels = np.array([label for _, label in images], dtype=int)
    if not 0 < labels.sum() < labels.size:
        return
    fpr, tpr, thresholds = reference.roc_curve(labels, logits, drop_intermediate=False)
    points = roc_points(logits, labels)
    np.testing.assert_allclose(points.false_positive_rate, fpr)
    np.testing.assert_allclose(points.true_positive_rate, tpr)
    np.testing.assert_array_equal(points.threshold, thresholds)
    precision, recall, thresholds = reference.precision_recall_curve(labels, logits)
    found = precision_recall_points(logits, labels)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_array_equal(found.threshold, thresholds)


def test_every_point_of_the_curve_is_the_confusion_at_its_threshold() -> None:
    logits, labels = random_split(3, size=60, ties=True)
    points = roc_points(logits, labels)
    for fpr, tpr, logit in zip(*(part[1:-1] for part in points), strict=True):
        threshold = 1 / (1 + np.exp(0.25 - logit))  # between this whole number and the next lower one
        (tn, fp), (fn, tp) = confusion(logits, labels, threshold)
        assert fpr == pytest.approx(fp / (tn + fp))
        assert tpr == pytest.approx(tp / (fn + tp))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_tensors_give_the_same_results_as_arrays(dtype: torch.dtype) -> None:
    logits, labels = random_split(4, ties=True)  # whole numbers: exact in every type
    tensor = torch.tensor(logits, dtype=dtype, requires_grad=True)
    assert binary_metrics(tensor, torch.tensor(labels)) == binary_metrics(logits, labels)
    assert (confusion(tensor, torch.tensor(labels, dtype=torch.float32)) == confusion(logits, labels)).all()


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ([0.0, float("nan")], [0, 1], "1 of 2 logits are NaN or infinite"),
        ([0.0, float("-inf")], [0, 1], "1 of 2 logits are NaN or infinite"),
        ([0.0, 1.0], [0, 2], "a label is 2"),
        ([0.0, 1.0], [0, float("nan")], "a label is nan"),
        ([0.0, 1.0], [0], "shapes"),
        ([[0.0], [1.0]], [[0], [1]], "shapes"),
        ([], [], "no image"),
    ],
)
@pytest.mark.parametrize("function", [binary_metrics, confusion, roc_points, precision_recall_points])
def test_invalid_input_is_an_error(function, logits, labels, message) -> None:
    with pytest.raises(ValueError, match=message):
        function(logits, labels)


def test_curves_without_the_classes_they_need_and_thresholds_out_of_bounds_are_errors() -> None:
    with pytest.raises(ValueError, match="needs both classes"):
        roc_points([0.0, 1.0], [1, 1])
    with pytest.raises(ValueError, match="needs the positive class"):
        precision_recall_points([0.0, 1.0], [0, 0])
    for threshold in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="threshold"):
            confusion([0.0], [1], threshold)
