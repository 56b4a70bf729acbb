"""The classification report: each number follows from the logits, and misclassified images are listed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pneumo_cli.data.decoding import decode_image, resize
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.calibration import fit_calibration
from pneumo_cli.evaluation.classification_report import Predictions, classification_report
from pneumo_cli.evaluation.confidence.intervals import (
    difference_intervals,
    metric_intervals,
    share_interval,
)
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting, fit_decision_rule
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.reports.figures.classification_report import with_figures

RADIOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "chest_xray"
Make = Callable[..., Predictions]


def reported(
    plain: Evaluation, found: Predictions, rule: DecisionRule, baseline: np.ndarray | None
) -> Evaluation:
    """As a trainer makes it: metrics and tables, then figures."""
    return with_figures(classification_report(plain, found, rule, baseline, 0), found, rule, 0)


@pytest.fixture(scope="module")
def found(predictions: Make) -> Predictions:
    """The predictions of the test set."""
    return predictions(seed=3)


@pytest.fixture(scope="module")
def evaluation(rule: DecisionRule, found: Predictions, gray_levels: Callable[..., np.ndarray]) -> Evaluation:
    """The report of a test split by that rule."""
    assert rule.baseline is not None
    plain = Evaluation({"loss": 0.25, **binary_metrics(found.logits, found.labels)})
    return reported(plain, found, rule, rule.baseline.logits(gray_levels(found.labels, 3)))


def test_metrics_are_those_at_the_operating_point_in_use(
    rule: DecisionRule, found: Predictions, evaluation: Evaluation
) -> None:
    expected = binary_metrics(
        found.logits, found.labels, logit_threshold=rule.named("screening").logit_threshold
    )
    for name in ("accuracy", "recall", "specificity", "precision", "f1", "mcc", "auc"):
        assert evaluation.metrics[name] == pytest.approx(expected[name])
    assert evaluation.metrics["loss"] == 0.25
    at_half = binary_metrics(found.logits, found.labels)
    assert evaluation.metrics["recall"] != at_half["recall"], "the point in use is not 0.5"
    temperature, bias = evaluation.details["temperature"], evaluation.details["bias"]
    calibrated = binary_metrics(found.logits / temperature + bias, found.labels)
    for name in ("brier", "ece"):
        assert evaluation.metrics[f"{name}_calibrated"] == pytest.approx(calibrated[name])
    assert evaluation.details["operating_points"]["screening"]["probability"] == pytest.approx(
        1 / (1 + np.exp(-rule.named("screening").logit_threshold / temperature - bias))
    )
    assert (temperature, bias) == (rule.calibration.temperature, rule.calibration.bias)
    assert evaluation.details["validation_prevalence"] == rule.prevalence
    assert evaluation.details["split_prevalence"] == pytest.approx(found.labels.mean())


def test_every_metric_but_the_loss_has_an_interval_that_contains_it(evaluation: Evaluation) -> None:
    assert set(evaluation.metrics) - set(evaluation.intervals) == {"loss"}
    for name, (low, high) in evaluation.intervals.items():
        assert low < high, name
        # The interval of the ECE is corrected for its upward bias, so it need not contain the plain value.
        if not name.startswith("ece"):
            assert low <= evaluation.metrics[name] <= high, name


def test_intervals_are_those_of_each_classifier_by_itself(
    rule: DecisionRule, found: Predictions, evaluation: Evaluation, gray_levels: Callable[..., np.ndarray]
) -> None:
    data, patients = (found.logits, found.labels, found.patients), np.array(found.patients)
    threshold = rule.point.logit_threshold
    alone = metric_intervals(*data, logit_threshold=threshold)
    for name, ends in alone.items():
        assert evaluation.intervals[name] == pytest.approx(ends, abs=1e-12), name
    for point in rule.points:
        shown = evaluation.details["operating_points"][point.name]["intervals"]
        assert set(shown) == {"recall", "specificity", "precision", "npv", "accuracy"}
        own = metric_intervals(*data, logit_threshold=point.logit_threshold)
        for name in ("recall", "specificity", "precision", "accuracy"):
            assert shown[name] == pytest.approx(own[name], abs=1e-12), name
        negative = found.logits < point.logit_threshold
        npv = share_interval(found.labels[negative] == 0, patients[negative])
        assert shown["npv"] == pytest.approx(npv, abs=1e-12)
    calibrated = metric_intervals(rule.calibrated(found.logits), *data[1:])
    for name in ("brier", "ece"):
        assert evaluation.intervals[f"{name}_calibrated"] == pytest.approx(calibrated[name], abs=1e-12)
    assert rule.baseline is not None
    simple = rule.baseline.logits(gray_levels(found.labels, 3))
    expected = difference_intervals(data[0], simple, *data[1:], logit_thresholds=(threshold, 0.0))
    for name, of in evaluation.details["baseline"]["differences"].items():
        assert tuple(of.values()) == pytest.approx(expected[name], abs=1e-12), name
    subtype = np.array(found.subtypes) != "virus"
    own = metric_intervals(
        found.logits[subtype], found.labels[subtype], patients[subtype], logit_threshold=threshold
    )
    for name in ("recall", "auc"):
        shown = evaluation.details["subtypes"]["bacteria"]["intervals"][name]
        assert shown == pytest.approx(own[name], abs=1e-12)


def test_the_metrics_of_each_operating_point_follow_from_its_confusion_matrix(evaluation: Evaluation) -> None:
    points = evaluation.details["operating_points"]
    assert list(points) == ["default", "balanced", "screening", "cost"]
    for point in points.values():
        (tn, fp), (fn, tp) = point["confusion"]
        assert tn + fp + fn + tp == 300
        assert point["metrics"]["recall"] == pytest.approx(tp / (tp + fn))
        assert point["metrics"]["precision"] == pytest.approx(tp / (tp + fp))
        assert point["metrics"]["npv"] == pytest.approx(tn / (tn + fn))
        for name, (low, high) in point["intervals"].items():
            assert low <= point["metrics"][name] <= high
    table = evaluation.tables[0]
    assert [row[0] for row in table.rows] == ["default", "balanced", "screening (in use)", "cost"]


def test_errors_are_all_misclassified_images_the_most_confident_first(
    rule: DecisionRule, found: Predictions, evaluation: Evaluation
) -> None:
    wrong = (found.logits >= rule.point.logit_threshold) != (found.labels == 1)
    errors = evaluation.details["errors"]
    assert errors["count"] == wrong.sum() > 5
    assert {row["name"] for row in errors["rows"]} == {found.names[i] for i in np.flatnonzero(wrong)}
    far = [
        abs(found.logits[found.names.index(row["name"])] - rule.point.logit_threshold)
        for row in errors["rows"]
    ]
    assert far == sorted(far, reverse=True)
    for row in errors["rows"]:
        assert row["truth"] != row["predicted"]
        assert row["patient"] == found.patients[found.names.index(row["name"])]
        assert bool(row["subtype"]) == (row["truth"] == "PNEUMONIA")


def test_each_subtype_is_evaluated_against_all_of_the_other_class(
    found: Predictions, evaluation: Evaluation
) -> None:
    subtypes = evaluation.details["subtypes"]
    assert list(subtypes) == ["bacteria", "virus"]
    assert sum(of["images"] for of in subtypes.values()) == found.labels.sum()
    assert subtypes["bacteria"]["recall"] > subtypes["virus"]["recall"]
    assert subtypes["bacteria"]["auc"] > subtypes["virus"]["auc"]


def test_the_network_is_compared_with_a_baseline_by_a_paired_difference(evaluation: Evaluation) -> None:
    baseline = evaluation.details["baseline"]
    difference = baseline["differences"]["auc"]
    assert difference["value"] == pytest.approx(evaluation.metrics["auc"] - baseline["metrics"]["auc"])
    assert difference["low"] < difference["value"] < difference["high"]
    assert baseline["larger_class"]["accuracy"] == pytest.approx(2 / 3, abs=0.01)


def test_delongs_interval_agrees_with_that_of_the_bootstrap(evaluation: Evaluation) -> None:
    delong = evaluation.details["delong"]
    low, high = evaluation.intervals["auc"]
    assert (delong["low"], delong["high"]) == pytest.approx((low, high), abs=0.02)


def test_details_are_json_and_every_figure_can_be_drawn(evaluation: Evaluation) -> None:
    json.dumps(dict(evaluation.details), allow_nan=False)
    names = [figure.name for figure in evaluation.figures]
    assert names == ["confusion-matrix", "roc", "precision-recall", "calibration", "predictive-values"]
    for figure in evaluation.figures:
        assert figure.draw().axes


def test_one_class_has_only_what_is_defined_for_it(rule: DecisionRule, found: Predictions) -> None:
    part = found.where(found.labels == 1)
    done = reported(Evaluation({"loss": 0.1}), part, rule, np.zeros(len(part.labels)))
    assert "auc" not in done.metrics
    assert "baseline" not in done.details
    assert done.details["operating_points"]["screening"]["confusion"][0] == [0, 0]
    assert done.figures == ()


def test_one_patient_has_no_intervals(rule: DecisionRule, found: Predictions) -> None:
    one = replace(found, patients=["the same"] * 300)
    done = reported(Evaluation({"loss": 0.1}), one, rule, None)
    assert done.intervals == {}
    for figure in done.figures:
        assert figure.draw().axes


def test_the_shift_of_a_weighted_loss_is_corrected_on_unseen_images(
    gray_levels: Callable[..., np.ndarray],
) -> None:
    """The logits are off by log odds, as after a loss that balances the classes."""

    def shifted(seed: int) -> Predictions:
        rng = np.random.default_rng(seed)
        exact = rng.normal(2, 2.5, 1500)
        labels = (rng.random(1500) < 1 / (1 + np.exp(-exact))).astype(np.int64)
        names = [str(i) for i in range(1500)]
        return Predictions(exact - 1.5, labels, names, names, [""] * 1500)

    seen = shifted(1)
    images = gray_levels(np.array([0, 1]), 0)[:, :8, :8]
    data = Fitting(("NORMAL", "PNEUMONIA"), seen.logits, seen.labels, images, np.array([0, 1]), images)
    fitted = fit_decision_rule(data, chosen="default", wanted_sensitivity=0.95, miss_cost=10, seed=0)
    done = reported(Evaluation({}), shifted(2), fitted, None)
    assert fitted.calibration.bias == pytest.approx(1.5, abs=0.3)
    assert done.metrics["ece_calibrated"] < 0.03 < 0.1 < done.metrics["ece"]
    assert done.metrics["brier_calibrated"] < done.metrics["brier"] - 0.01
    assert done.metrics["auc"] == binary_metrics(shifted(2).logits, shifted(2).labels)["auc"]


@pytest.mark.real_data
def test_calibration_improves_the_probabilities_of_real_radiographs_after_a_weighted_loss() -> None:
    """A regression with a class-balanced loss, as for networks: fitted, calibrated and tested on three sets."""
    files = sorted((RADIOGRAPHS / "train").rglob("*.jpeg"))[::4]
    if len(files) < 1000:
        pytest.skip(f"the radiographs are not at {RADIOGRAPHS}")
    patients = [re.sub(r"(?<=\d)[-_].*", "", path.stem.replace("NORMAL2-", "")) for path in files]
    thirds = np.random.default_rng(0).integers(0, 3, len(files))
    part = np.array([thirds[patients.index(patient)] for patient in patients])
    features = np.stack([resize(decode_image(path.read_bytes(), 16), 16).ravel() for path in files]) / 255
    labels = np.array([int(path.parent.name == "PNEUMONIA") for path in files])
    regression = LogisticRegression(C=1.0, class_weight="balanced", max_iter=300)
    regression.fit(features[part == 0], labels[part == 0])
    logits = regression.decision_function(features)
    calibrated = fit_calibration(logits[part == 1], labels[part == 1]).apply(logits)
    before, after = (binary_metrics(x[part == 2], labels[part == 2]) for x in (logits, calibrated))
    assert after["ece"] < before["ece"]
    assert after["brier"] < before["brier"]
