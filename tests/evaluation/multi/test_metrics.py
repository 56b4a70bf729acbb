"""Every metric equals torchmetrics' and scikit-learn's, also on degenerate splits."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import sklearn.metrics as reference
import torch
import torchmetrics.functional.classification as functional

from pneumo_cli.evaluation.multi.metrics import confusion_matrix, multi_metrics
from pneumo_cli.evaluation.multi.scores import decide, softmax
from tests.evaluation.multi.measured import averages, per_class_metrics

RNG = np.random.default_rng(0)
PLAIN = RNG.normal(size=(200, 4))
CLASSES = {
    "random": (PLAIN, RNG.integers(0, 4, 200)),
    "informative": (PLAIN + 2 * np.eye(4)[np.arange(200) % 4], np.arange(200) % 4),
    "ties": (PLAIN[RNG.integers(0, 20, 200)].round(), RNG.integers(0, 4, 200)),
    "a class absent": (PLAIN, RNG.integers(0, 3, 200)),
    "all predicted as one class": (PLAIN + np.array([0, 20, 0, 0]), RNG.integers(0, 4, 200)),
    "one class only": (PLAIN, np.full(200, 2)),
    "one image": (PLAIN[:1], np.array([1])),
    "saturated": (1e4 * PLAIN, RNG.integers(0, 4, 200)),
}
LABELS = RNG.integers(0, 2, (200, 4))
UNKNOWN = np.where(RNG.random((200, 4)) < 0.3, -1, LABELS)
MULTILABEL = {
    "random": (PLAIN, LABELS),
    "unknown labels": (PLAIN, UNKNOWN),
    "ties": (PLAIN.round(), UNKNOWN),
    "a label absent": (PLAIN, LABELS * [1, 1, 1, 0]),
    "a label always present": (PLAIN, np.maximum(LABELS, [0, 0, 0, 1])),
    "a label unknown": (PLAIN, np.where([True, True, True, False], UNKNOWN, -1)),
    "nothing predicted": (PLAIN - 20, LABELS),
    "one image": (PLAIN[:1], LABELS[:1]),
}
SHARES = ("recall", "specificity", "precision", "f1")


def is_defined(name: str, truth: np.ndarray) -> bool:
    """Whether the split leaves the value of a class's metric open."""
    positives, negatives = (truth == 1).any(), (truth == 0).any()
    if name in ("recall", "precision", "f1"):
        return bool(positives)
    return bool(negatives if name == "specificity" else positives and negatives)


def check_class(found: dict, scores: np.ndarray, truth: np.ndarray, predicted: np.ndarray) -> None:
    """Compare the metrics of one class, of its known images, with scikit-learn's and torchmetrics'."""
    probabilities = np.where(scores >= 0, 1.0, np.exp(-np.abs(scores))) / (1 + np.exp(-np.abs(scores)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "recall": reference.recall_score(truth, predicted, zero_division=0),
            "specificity": reference.recall_score(1 - truth, 1 - predicted, zero_division=0),
            "precision": reference.precision_score(truth, predicted, zero_division=0),
            "f1": reference.f1_score(truth, predicted, zero_division=0),
            "mcc": reference.matthews_corrcoef(truth, predicted),
            "balanced_accuracy": reference.balanced_accuracy_score(truth, predicted),
        }
        if 0 < truth.sum() < truth.size:
            expected["auc"] = reference.roc_auc_score(truth, scores)
            expected["average_precision"] = reference.average_precision_score(truth, scores)
    for name, value in expected.items():
        assert (name in found) == is_defined(name, truth), name
        if name in found:
            assert found[name] == pytest.approx(value, abs=1e-6), name
    assert found["brier"] == pytest.approx(
        reference.brier_score_loss(truth, probabilities, pos_label=1), abs=1e-9
    )
    calibration = functional.binary_calibration_error(
        torch.from_numpy(probabilities), torch.from_numpy(truth), n_bins=15, norm="l1"
    )
    assert found["ece"] == pytest.approx(float(calibration), abs=1e-6)


@pytest.mark.parametrize("case", CLASSES)
def test_each_class_equals_scikit_learn_against_the_rest(case: str) -> None:
    logits, labels = CLASSES[case]
    predicted = logits.argmax(axis=1)
    found = per_class_metrics(logits, labels, "multiclass")
    for place, metrics in enumerate(found):
        others = np.delete(logits, place, axis=1)
        scores = (torch.from_numpy(logits[:, place]) - torch.logsumexp(torch.from_numpy(others), 1)).numpy()
        # Rounded, because torch's vectors and their rest differ in the last digit.
        check_class(metrics, scores.round(9), (labels == place).astype(int), (predicted == place).astype(int))
        assert "accuracy" not in metrics


@pytest.mark.parametrize("case", MULTILABEL)
def test_each_label_equals_scikit_learn_on_the_images_where_it_is_known(case: str) -> None:
    logits, labels = MULTILABEL[case]
    for place, metrics in enumerate(per_class_metrics(logits, labels, "multilabel")):
        known = labels[:, place] >= 0
        if not known.any():
            assert metrics == {}
            continue
        scores, truth = logits[known, place], labels[known, place]
        check_class(metrics, scores, truth, (scores >= 0).astype(int))
        assert metrics["accuracy"] == pytest.approx(((scores >= 0) == truth).mean())


@pytest.mark.parametrize("case", ["random", "informative", "ties", "all predicted as one class", "saturated"])
def test_averages_of_classes_equal_those_of_torchmetrics(case: str) -> None:
    logits, labels = CLASSES[case]
    found = averages(logits, labels, "multiclass")
    predicted, truth = torch.from_numpy(logits), torch.from_numpy(labels)
    probabilities = torch.from_numpy(softmax(logits))
    functions = {
        "recall": functional.multiclass_recall,
        "specificity": functional.multiclass_specificity,
        "precision": functional.multiclass_precision,
        "f1": functional.multiclass_f1_score,
    }
    for average in ("macro", "micro", "weighted"):
        for name, function in functions.items():
            if name == "precision" and case == "all predicted as one class":
                continue  # torchmetrics' macro precision leaves out classes that are never predicted
            expected = function(predicted, truth, num_classes=4, average=average)
            assert found[average][name] == pytest.approx(float(expected), abs=1e-6), (average, name)
    if case != "saturated":  # equal probabilities of different logits
        for average in ("macro", "weighted"):
            area = functional.multiclass_auroc(probabilities, truth, num_classes=4, average=average)
            precision = functional.multiclass_average_precision(
                probabilities, truth, num_classes=4, average=average
            )
            assert found[average]["auc"] == pytest.approx(float(area), abs=1e-6)
            assert found[average]["average_precision"] == pytest.approx(float(precision), abs=1e-6)
    if case in ("random", "informative"):
        one_hot = np.eye(4, dtype=int)[labels]
        for name, function in (
            ("auc", reference.roc_auc_score),
            ("average_precision", reference.average_precision_score),
        ):
            expected = function(one_hot.ravel(), probabilities.numpy().ravel())
            assert found["micro"][name] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("case", ["random", "unknown labels", "ties", "nothing predicted"])
def test_averages_of_labels_equal_those_of_torchmetrics_without_unknown_ones(case: str) -> None:
    logits, labels = MULTILABEL[case]
    found = averages(logits, labels, "multilabel")
    scores, truth = torch.sigmoid(torch.from_numpy(logits)), torch.from_numpy(labels)
    # torchmetrics predicts a label above, not at, its threshold.
    decided = torch.from_numpy((logits >= 0).astype(float))
    options = {"num_labels": 4, "ignore_index": -1}
    for average in ("macro", "micro", "weighted"):
        for name, function in (
            ("recall", functional.multilabel_recall),
            ("specificity", functional.multilabel_specificity),
            ("precision", functional.multilabel_precision),
            ("f1", functional.multilabel_f1_score),
        ):
            expected = function(decided, truth, average=average, **options)
            assert found[average][name] == pytest.approx(float(expected), abs=1e-6), (average, name)
        for name, function in (
            ("auc", functional.multilabel_auroc),
            ("average_precision", functional.multilabel_average_precision),
        ):
            expected = function(scores, truth, average=average, **options)
            assert found[average][name] == pytest.approx(float(expected), abs=1e-6), (average, name)
    accuracy = functional.multilabel_accuracy(decided, truth, average="micro", **options)
    assert found["micro"]["accuracy"] == pytest.approx(float(accuracy), abs=1e-6)
    flat = multi_metrics(logits, labels, "multilabel")
    some = (labels >= 0).any(axis=1)  # torchmetrics counts images without a known label as right
    exact = functional.multilabel_exact_match(decided[some], truth[some], **options)
    assert flat["exact_match"] == pytest.approx(float(exact), abs=1e-6)
    macro = functional.multilabel_accuracy(decided, truth, average="macro", **options)
    assert flat["accuracy"] == pytest.approx(float(macro), abs=1e-6)


@pytest.mark.parametrize("case", CLASSES)
def test_flat_metrics_of_classes_equal_those_of_scikit_learn(case: str) -> None:
    logits, labels = CLASSES[case]
    predicted = logits.argmax(axis=1)
    found = multi_metrics(logits, labels, "multiclass")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["accuracy"] == pytest.approx(reference.accuracy_score(labels, predicted))
        assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(labels, predicted), abs=1e-9)
        # Over the classes with images, as scikit-learn's.
        balanced = reference.balanced_accuracy_score(labels, predicted)
    assert found["balanced_accuracy"] == found["recall"] == pytest.approx(balanced)
    if len(set(labels.tolist())) == 4:
        f1 = reference.f1_score(labels, predicted, average="macro", zero_division=0)
        assert found["f1"] == pytest.approx(f1)
        area = reference.roc_auc_score(labels, softmax(logits), multi_class="ovr")
        if case != "saturated":
            assert found["auc"] == pytest.approx(area, abs=1e-9)


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_no_metric_is_nan_and_flat_ones_are_means_of_those_that_classes_have(task: str) -> None:
    for logits, labels in (CLASSES if task == "multiclass" else MULTILABEL).values():
        flat = multi_metrics(logits, labels, task)
        per_class = per_class_metrics(logits, labels, task)
        values = [*flat.values(), *(value for each in per_class for value in each.values())]
        assert all(math.isfinite(value) for value in values)
        for name, value in flat.items():
            own = [each[name] for each in per_class if name in each]
            if name not in ("accuracy", "exact_match", "mcc", "balanced_accuracy"):
                assert value == pytest.approx(np.mean(own)), name
        assert ("auc" in flat) == any("auc" in each for each in per_class)


def test_a_split_without_any_known_label_has_no_metrics() -> None:
    unknown = np.full((5, 3), -1)
    assert multi_metrics(PLAIN[:5, :3], unknown, "multilabel") == {}
    assert averages(PLAIN[:5, :3], unknown, "multilabel") == {"macro": {}, "micro": {}, "weighted": {}}


def test_metrics_follow_the_decision_at_the_thresholds() -> None:
    logits, labels = CLASSES["informative"]
    thresholds = [1.0, -2.0, 0.5, 0.0]
    predicted = decide(logits, "multiclass", thresholds)
    assert (predicted != logits.argmax(axis=1)).any()
    found = multi_metrics(logits, labels, "multiclass", thresholds)
    assert found["accuracy"] == pytest.approx((predicted == labels).mean())
    assert found["f1"] == pytest.approx(reference.f1_score(labels, predicted, average="macro"))
    plain = multi_metrics(logits, labels, "multiclass")
    assert all(found[name] == plain[name] for name in ("auc", "average_precision", "brier", "ece"))
    labelled = per_class_metrics(PLAIN, LABELS, "multilabel", thresholds)
    for place, metrics in enumerate(labelled):
        expected = reference.recall_score(LABELS[:, place], PLAIN[:, place] >= thresholds[place])
        assert metrics["recall"] == pytest.approx(expected)


@pytest.mark.parametrize("case", CLASSES)
def test_the_confusion_matrix_counts_true_by_predicted_class(case: str) -> None:
    logits, labels = CLASSES[case]
    predicted = logits.argmax(axis=1)
    found = confusion_matrix(predicted, labels, 4)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, reference.confusion_matrix(labels, predicted, labels=range(4)))


@pytest.mark.parametrize("case", MULTILABEL)
def test_the_confusion_matrix_of_a_label_counts_known_images(case: str) -> None:
    logits, labels = MULTILABEL[case]
    predicted = decide(logits, "multilabel")
    found = confusion_matrix(predicted, labels, 4)
    expected = functional.multilabel_confusion_matrix(
        torch.from_numpy(predicted), torch.from_numpy(labels), num_labels=4, ignore_index=-1
    )
    np.testing.assert_array_equal(found, expected.numpy())


def test_a_prediction_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="a label is 4"):
        confusion_matrix([4], [0], 4)
    with pytest.raises(ValueError, match="a prediction is -1"):
        confusion_matrix([[-1, 0]], [[1, 0]], 2)
    with pytest.raises(ValueError, match="labels of 1 images and predictions of 2"):
        confusion_matrix([0, 1], [0], 2)
