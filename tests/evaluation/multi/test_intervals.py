"""Intervals over patients of K classes: as for two classes, and wide where little is known."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.confidence.intervals import difference_intervals, metric_intervals, share_interval
from pneumo_cli.evaluation.multi.intervals import (
    decision_intervals,
    multi_difference_intervals,
    multi_intervals,
    resamples_for,
)
from pneumo_cli.evaluation.multi.metrics import multi_metrics
from pneumo_cli.evaluation.multi.resamples import ClassResamples
from pneumo_cli.evaluation.multi.scores import as_one_vs_rest, class_truth, decide
from tests.evaluation.multi.measured import averages, per_class_metrics

Make = Callable[..., Predictions]


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_resample_has_the_metrics_of_its_images(predictions: Make, task: str) -> None:
    found = predictions(task, 120)
    split = as_one_vs_rest(found.logits.round(1), found.labels, task)
    codes = np.arange(120) // 2
    drawn = ClassResamples(split, task, codes, pooled=True)
    times = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=5).astype(float).T
    drawn.add(times)
    for row, weights in enumerate(times.T):
        images = np.repeat(np.arange(120), weights[codes].astype(int))
        logits, labels = found.logits.round(1)[images], found.labels[images]
        expected = per_class_metrics(logits, labels, task)
        for place, each in drawn.classes.items():
            for name, value in expected[place].items():
                assert each.metrics[name][row] == pytest.approx(value, abs=1e-9), name
        assert drawn.pooled is not None
        for name, value in averages(logits, labels, task)["micro"].items():
            assert drawn.pooled.metrics[name][row] == pytest.approx(value, abs=1e-9), name
        flat = multi_metrics(logits, labels, task)
        whole = flat["accuracy"] if task == "multiclass" else flat["exact_match"]
        assert drawn.right[row] == pytest.approx(whole)
        if task == "multiclass":
            assert drawn.correlations[row] == pytest.approx(flat["mcc"])


def test_two_exclusive_classes_have_the_intervals_of_a_binary_classifier(predictions: Make) -> None:
    found = predictions("multiclass", 200, 2)
    score = found.logits[:, 1] - found.logits[:, 0]
    binary = metric_intervals(score, found.labels, found.patients, seed=5)
    several = multi_intervals(found.logits, found.labels, found.patients, "multiclass", seed=5)
    for name, ends in several.per_class[1].items():
        assert ends == pytest.approx(binary[name]), name
    assert set(several.per_class[1]) == set(binary) - {"accuracy"}
    for name in ("accuracy", "mcc", "brier", "ece", "balanced_accuracy", "auc"):
        assert several.flat[name] == pytest.approx(binary[name], abs=1e-9), name
    other = found.logits + np.array([0, 0.7])
    differences = difference_intervals(score, score + 0.7, found.labels, found.patients, seed=5)
    both = multi_difference_intervals(found.logits, other, found.labels, found.patients, "multiclass", seed=5)
    for name in ("accuracy", "mcc", "brier", "ece"):
        assert both[name] == pytest.approx(differences[name], abs=1e-9), name


def test_a_label_has_the_intervals_of_a_binary_classifier_of_its_own(predictions: Make) -> None:
    found = predictions("multilabel", 200, 4)
    labels = np.abs(found.labels)  # none unknown, so that the draws are the same
    several = multi_intervals(found.logits, labels, found.patients, "multilabel", [0.5, 0, 0, -1], seed=2)
    for place, threshold in ((0, 0.5), (3, -1.0)):
        binary = metric_intervals(
            found.logits[:, place], labels[:, place], found.patients, logit_threshold=threshold, seed=2
        )
        assert several.per_class[place].keys() == binary.keys()
        for name, ends in several.per_class[place].items():
            assert ends == pytest.approx(binary[name]), name


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_every_metric_has_an_interval_that_contains_it(predictions: Make, task: str) -> None:
    found = predictions(task)
    ends = multi_intervals(found.logits, found.labels, found.patients, task)
    pairs = [(multi_metrics(found.logits, found.labels, task), ends.flat)]
    pairs += zip(per_class_metrics(found.logits, found.labels, task), ends.per_class, strict=True)
    means = averages(found.logits, found.labels, task)
    pairs += [(means[name], ends.averages[name]) for name in means]
    for metrics, intervals in pairs:
        assert set(metrics) == set(intervals)
        for name, (low, high) in intervals.items():
            assert low < high, name
            if name != "ece":  # corrected for the upward bias of the value
                assert low <= metrics[name] <= high, name


def test_intervals_of_averages_cover_the_truth(predictions: Make) -> None:
    names = ("auc", "recall", "f1", "brier")
    truth = {task: multi_metrics(*_of(predictions(task, 60_000, seed=99)), task) for task in _TASKS}
    covered, trials = 0, 0
    for seed in range(12):
        for task in _TASKS:
            found = predictions(task, 240, seed=seed)
            ends = multi_intervals(found.logits, found.labels, found.patients, task).flat
            covered += sum(ends[name].low <= truth[task][name] <= ends[name].high for name in names)
            trials += len(names)
    assert covered / trials >= 0.87


def test_the_interval_of_a_macro_average_keeps_the_uncertainty_of_a_class_without_errors() -> None:
    labels = np.arange(90) % 3
    logits = 5 * np.eye(3)[labels]
    ends = multi_intervals(logits, labels, np.arange(90), "multiclass")
    assert ends.flat["recall"].high == 1
    assert 0.9 < ends.flat["recall"].low < 0.99
    assert 0.9 < ends.flat["auc"].low < 1


def test_unknown_labels_and_classes_without_images_leave_no_interval_and_no_nan(predictions: Make) -> None:
    found = predictions("multilabel", 60, 4)
    labels = found.labels.copy()
    labels[:, 1], labels[:, 2] = -1, 0
    labels[1:, 3] = -1
    labels[0, 3] = 1
    ends = multi_intervals(found.logits, labels, found.patients, "multilabel")
    assert ends.per_class[1] == ends.per_class[3] == {}
    assert set(ends.per_class[2]) == {"accuracy", "specificity", "brier", "ece"}
    every = [*ends.flat.values(), *(value for of in ends.averages.values() for value in of.values())]
    assert np.isfinite(np.array(every)).all()
    assert multi_intervals(found.logits, np.full((60, 4), -1), found.patients, "multilabel").flat == {}


def test_resamples_without_an_image_where_a_label_is_known_leave_its_calibration_error_an_interval(
    predictions: Make,
) -> None:
    found = predictions("multilabel", 60)
    labels = np.abs(found.labels)
    labels[6:, 0] = -1  # known for three of thirty patients
    ends = multi_intervals(found.logits, labels, found.patients, "multilabel").per_class[0]["ece"]
    known = metric_intervals(found.logits[:6, 0], labels[:6, 0], found.patients[:6])["ece"]
    assert 0 <= ends.low < ends.high
    assert ends.high > known.high / 2


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_intervals_of_probabilities_alone_are_those_among_all(predictions: Make, task: str) -> None:
    found = predictions(task, 200)
    data = (found.logits, found.labels, found.patients, task)
    every, some = multi_intervals(*data), multi_intervals(*data, probabilities=True)
    names = ("brier", "ece")
    pairs = [(some.flat, every.flat), *zip(some.per_class, every.per_class, strict=True)]
    pairs += [(some.averages[name], every.averages[name]) for name in ("macro", "weighted")]
    for few, many in pairs:
        assert few == {name: many[name] for name in names}


def test_a_single_patient_has_no_interval(predictions: Make) -> None:
    found = predictions("multiclass", 20)
    data = (found.labels, ["p"] * 20, "multiclass")
    assert multi_intervals(found.logits, *data).flat == {}
    assert multi_difference_intervals(found.logits, -found.logits, *data) == {}
    decided = {"default": class_truth(found.labels, "multiclass", 3)}
    assert decision_intervals(decided["default"], decided, ["p"] * 20) == {"default": [{}, {}, {}]}


def test_intervals_at_operating_points_are_those_of_shares(predictions: Make) -> None:
    found = predictions("multilabel", 200)
    truth = class_truth(np.abs(found.labels), "multilabel", 3)
    decided = {
        name: decide(found.logits, "multilabel", [t] * 3) for name, t in (("low", -2.0), ("high", -0.5))
    }
    ends = decision_intervals(truth, decided, found.patients, seed=1)
    whole = multi_intervals(found.logits, truth, found.patients, "multilabel", [-0.5] * 3, seed=1)
    for place in range(3):
        for name in ("recall", "specificity", "precision"):
            assert ends["high"][place][name] == pytest.approx(whole.per_class[place][name])
        negative = decided["high"][:, place] == 0
        alone = share_interval(truth[negative, place] == 0, np.array(found.patients)[negative])
        assert ends["high"][place]["npv"] == pytest.approx(alone, abs=0.02)
    assert ends["low"][0]["recall"].low > ends["high"][0]["recall"].low


@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_a_difference_is_that_of_the_flat_metrics_and_detects_a_worse_classifier(
    predictions: Make, task: str
) -> None:
    found = predictions(task)
    worse = found.logits + 2 * np.random.default_rng(5).normal(size=found.logits.shape)
    data = (found.labels, found.patients, task)
    differences = multi_difference_intervals(found.logits, worse, *data)
    ours, theirs = (multi_metrics(logits, found.labels, task) for logits in (found.logits, worse))
    assert set(differences) == set(ours)
    for name, one in differences.items():
        assert one.value == pytest.approx(ours[name] - theirs[name])
        assert one.low <= one.value <= one.high
        assert (one.p < 0.05) == (not one.low <= 0 <= one.high)
    assert differences["auc"].low > 0
    assert differences["auc"].p < 0.001
    equal = multi_difference_intervals(found.logits, found.logits, *data)
    assert {tuple(one) for one in equal.values()} == {(0, 0, 0, 1)}
    swapped = multi_difference_intervals(worse, found.logits, *data)
    assert swapped["auc"].value == pytest.approx(-differences["auc"].value)


def test_wrong_input_is_refused(predictions: Make) -> None:
    found = predictions("multiclass", 20)
    with pytest.raises(ValueError, match="20 images have one patient each"):
        multi_intervals(found.logits, found.labels, ["p"], "multiclass")
    with pytest.raises(ValueError, match="different numbers of classes"):
        multi_difference_intervals(
            found.logits, found.logits[:, :2], found.labels % 2, found.patients, "multiclass"
        )


def test_a_thousand_resamples_of_a_test_set_take_well_under_a_second(predictions: Make) -> None:
    found = predictions("multiclass", 624)
    assert resamples_for(624, 3) == 1000
    start = time.process_time()
    multi_intervals(found.logits, found.labels, found.patients, "multiclass")
    assert time.process_time() - start < 1


def test_memory_is_bounded_and_huge_splits_have_fewer_resamples(predictions: Make) -> None:
    found = predictions("multilabel", 4000, 10)
    tracemalloc.start()
    multi_intervals(found.logits, found.labels, found.patients, "multilabel")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 2**20  # all resamples of all pairs would be 320 MB in each array
    assert resamples_for(25_000, 14) == 571
    assert resamples_for(10**6, 14) == 250


_TASKS = ("multiclass", "multilabel")


def _of(found: Predictions) -> tuple[np.ndarray, np.ndarray]:
    return found.logits, found.labels
