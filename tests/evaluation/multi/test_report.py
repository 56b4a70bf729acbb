"""The report of K classes: each number follows from the logits, per class, averaged, and in the tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.multi.metrics import multi_metrics
from pneumo_cli.evaluation.multi.report import multi_report
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.evaluation.result import Evaluation, NamedTable
from tests.evaluation.multi.measured import averages, per_class_metrics

Make = Callable[..., Predictions]
TASKS = ("multiclass", "multilabel")


@pytest.fixture(scope="module")
def found(predictions: Make) -> dict[str, Predictions]:
    """By task, the predictions of the test set."""
    plain = {task: predictions(task, seed=3) for task in TASKS}
    return {task: replace(each, logits=2 * each.logits) for task, each in plain.items()}


@pytest.fixture(scope="module")
def reports(
    rules: dict[str, MultiRule], found: dict[str, Predictions], gray_levels: Callable[..., np.ndarray]
) -> dict[str, Evaluation]:
    """By task, the report of the test set."""
    made = {}
    for task, rule in rules.items():
        assert rule.baseline is not None
        baseline = rule.baseline.logits(gray_levels(found[task].labels, 3))
        made[task] = multi_report(Evaluation({"loss": 0.25}), found[task], rule, baseline, 0)
    return made


@pytest.mark.parametrize("task", TASKS)
def test_metrics_are_those_at_the_operating_point_in_use(
    rules: dict[str, MultiRule], found: dict[str, Predictions], reports: dict[str, Evaluation], task: str
) -> None:
    rule, data, report = rules[task], found[task], reports[task]
    thresholds = rule.point.logit_thresholds
    expected = multi_metrics(data.logits, data.labels, task, thresholds)
    for name, value in expected.items():
        assert report.metrics[name] == pytest.approx(value), name
    assert report.metrics["loss"] == 0.25
    assert expected["recall"] != multi_metrics(data.logits, data.labels, task)["recall"]
    after = multi_metrics(rule.calibrated(data.logits), data.labels, task)
    assert report.metrics["brier_calibrated"] == pytest.approx(after["brier"])
    assert report.metrics["brier_calibrated"] < report.metrics["brier"]
    per_class = per_class_metrics(data.logits, data.labels, task, thresholds)
    for each, values in zip(report.details["classes"], per_class, strict=True):
        assert {name: each["metrics"][name] for name in values} == pytest.approx(values)
        assert set(each["metrics"]) - set(values) == {"brier_calibrated", "ece_calibrated"}
        assert set(each["intervals"]) == set(each["metrics"])
    for name, values in averages(data.logits, data.labels, task, thresholds).items():
        assert report.details["averages"][name]["metrics"] == pytest.approx(values)
        assert set(report.details["averages"][name]["intervals"]) == set(values)


@pytest.mark.parametrize("task", TASKS)
def test_every_metric_but_the_loss_has_an_interval_that_contains_it(
    reports: dict[str, Evaluation], task: str
) -> None:
    report = reports[task]
    assert set(report.metrics) - set(report.intervals) == {"loss"}
    for name, (low, high) in report.intervals.items():
        assert low < high, name
        if not name.startswith("ece"):
            assert low <= report.metrics[name] <= high, name


@pytest.mark.parametrize("task", TASKS)
def test_details_and_outputs_are_plain_and_follow_the_decisions(
    rules: dict[str, MultiRule], found: dict[str, Predictions], reports: dict[str, Evaluation], task: str
) -> None:
    rule, data, report = rules[task], found[task], reports[task]
    details = report.details
    assert json.loads(json.dumps(details, allow_nan=False))["task"] == task
    np.testing.assert_array_equal(report.outputs["predicted"], rule.decide(data.logits))
    np.testing.assert_array_equal(report.outputs["probabilities"], rule.probabilities(data.logits))
    matrix = np.array(details["confusion"])
    if task == "multiclass":
        assert matrix.sum() == 300
        assert np.trace(matrix) / 300 == pytest.approx(report.metrics["accuracy"])
        assert matrix.sum(axis=1).tolist() == [each["positives"] for each in details["classes"]]
        assert matrix.sum(axis=0).tolist() == [each["predicted"] for each in details["classes"]]
    else:
        known = (data.labels >= 0).sum(axis=0)
        assert matrix.shape == (3, 2, 2)
        assert matrix.sum(axis=(1, 2)).tolist() == known.tolist()
        assert [each["images"] for each in details["classes"]] == known.tolist()
        used = details["operating_points"][rule.chosen]["classes"]
        cells = [[[each["tn"], each["fp"]], [each["fn"], each["tp"]]] for each in used]
        assert matrix.tolist() == cells
    assert details["calibration"] == {**rule.calibration.plain(), "fitted": True}


@pytest.mark.parametrize("task", TASKS)
def test_shares_at_each_operating_point_follow_from_its_counts(
    reports: dict[str, Evaluation], task: str
) -> None:
    details = reports[task].details
    assert list(details["operating_points"]) == ["default", "balanced", "screening", "cost"]
    for point in details["operating_points"].values():
        for each, of in zip(point["classes"], details["classes"], strict=True):
            tp, fn, fp, tn = (each[name] for name in ("tp", "fn", "fp", "tn"))
            assert tp + fn == of["positives"]
            assert tp + fn + fp + tn == of["images"]
            shares = {"recall": (tp, fn), "specificity": (tn, fp), "precision": (tp, fp), "npv": (tn, fn)}
            for name, (hits, misses) in shares.items():
                assert each["metrics"][name] == pytest.approx(hits / (hits + misses))
                low, high = each["intervals"][name]
                assert low <= each["metrics"][name] <= high
    used = details["operating_points"][details["operating_point"]]["classes"]
    for each, of in zip(used, details["classes"], strict=True):
        assert each["metrics"]["recall"] == pytest.approx(of["metrics"]["recall"])
        assert each["intervals"]["recall"] == pytest.approx(of["intervals"]["recall"])


def test_errors_of_classes_are_the_misclassified_images_the_most_confident_first(
    rules: dict[str, MultiRule], found: dict[str, Predictions], reports: dict[str, Evaluation]
) -> None:
    rule, data = rules["multiclass"], found["multiclass"]
    errors = reports["multiclass"].details["errors"]
    predicted = rule.decide(data.logits)
    wrong = predicted != data.labels
    assert errors["count"] == wrong.sum() == sum(errors["classes"].values())
    assert errors["of"] == 300
    excess = rule.scores(data.logits) - np.array(rule.point.logit_thresholds)
    probabilities, confidence = rule.probabilities(data.logits), []
    for row in errors["rows"]:
        image = data.names.index(row["name"])
        assert row["class"] == row["truth"] == rule.classes[data.labels[image]] != row["predicted"]
        assert row["predicted"] == rule.classes[predicted[image]]
        assert row["probability"] == pytest.approx(probabilities[image, predicted[image]])
        assert row["patient"] == data.patients[image]
        confidence.append(excess[image, predicted[image]] - excess[image, data.labels[image]])
    assert confidence == sorted(confidence, reverse=True)
    for name, count in errors["classes"].items():
        assert sum(row["class"] == name for row in errors["rows"]) == min(count, 200 // 3)


def test_errors_of_labels_name_the_label_and_leave_out_unknown_ones(
    rules: dict[str, MultiRule], found: dict[str, Predictions], reports: dict[str, Evaluation]
) -> None:
    rule, data = rules["multilabel"], found["multilabel"]
    errors = reports["multilabel"].details["errors"]
    wrong = (rule.decide(data.logits) != data.labels) & (data.labels >= 0)
    assert list(errors["classes"].values()) == wrong.sum(axis=0).tolist()
    assert errors["count"] == wrong.any(axis=1).sum()
    assert errors["count"] / errors["of"] == pytest.approx(1 - reports["multilabel"].metrics["exact_match"])
    for row in errors["rows"]:
        image, label = data.names.index(row["name"]), rule.classes.index(row["class"])
        assert wrong[image, label]
        present = bool(data.labels[image, label])
        assert row["truth"] == (row["class"] if present else f"no {row['class']}")
        assert row["predicted"] == (f"no {row['class']}" if present else row["class"])


def test_the_baseline_is_compared_in_pairs(reports: dict[str, Evaluation]) -> None:
    for report in reports.values():
        baseline = report.details["baseline"]
        for name in ("accuracy", "auc"):
            one = baseline["differences"][name]
            assert one["value"] == pytest.approx(report.metrics[name] - baseline["metrics"][name])
            assert one["low"] <= one["value"] <= one["high"]
        assert baseline["differences"]["auc"]["low"] > 0
        assert 0.3 < baseline["larger_class"]["accuracy"] < 0.9


def test_each_subtype_of_a_class_is_evaluated_against_the_other_classes(
    found: dict[str, Predictions], reports: dict[str, Evaluation]
) -> None:
    subtypes = reports["multiclass"].details["subtypes"]
    assert list(subtypes) == ["normal", "bacteria", "virus"]
    kinds = np.array(found["multiclass"].subtypes)
    for place, of in enumerate(subtypes.values()):
        assert list(of) == ["early", "late"]
        for kind, values in of.items():
            own = (kinds == kind) & (found["multiclass"].labels == place)
            assert values["images"] == own.sum()
            predicted = reports["multiclass"].outputs["predicted"]
            assert values["recall"] == pytest.approx((predicted[own] == place).mean())
    assert "subtypes" not in reports["multilabel"].details


def test_tables_have_a_row_per_class_and_match_their_heads(reports: dict[str, Evaluation]) -> None:
    for task, report in reports.items():
        tables = {table.title: table for table in report.tables}
        for table in report.tables:
            assert all(len(row) == len(table.head) for row in table.rows), table.title
        first = next(iter(tables.values()))
        assert [row[0] for row in first.rows] == ["normal", "bacteria", "virus"]
        assert "Operating point balanced, chosen on the validation images" in tables
        assert ("Confusion matrix" in tables) == (task == "multiclass")
        assert tables["Compared with simpler baselines"].head[2] == "Macro ROC AUC"
        kind = "class" if task == "multiclass" else "label"
        assert f"one for each {kind}" in tables["Compared with simpler baselines"].note
        averages = next(table for title, table in tables.items() if title.startswith("Averages"))
        assert ("each class against the rest" in averages.note) == (task == "multiclass")
        shown = f"{report.details['classes'][0]['metrics']['auc']:.3f} ("
        assert first.rows[0][first.head.index("ROC AUC")].startswith(shown)


def test_the_default_operating_point_is_not_said_to_be_chosen(
    rules: dict[str, MultiRule], found: dict[str, Predictions]
) -> None:
    for task, rule in rules.items():
        report = multi_report(Evaluation({}), found[task], rule.at("default"), None, 0)
        assert "Operating point default" in [table.title for table in report.tables]
        assert "PPV without" not in report.tables[0].note


def test_a_ppv_of_no_prediction_is_explained(found: dict[str, Predictions]) -> None:
    logits = found["multiclass"].logits - [0, 0, 100]
    rule = MultiRule.unfitted(("normal", "bacteria", "virus"), "multiclass")
    report = multi_report(Evaluation({}), replace(found["multiclass"], logits=logits), rule, None, 0)
    assert report.tables[0].note.endswith("A PPV without an interval: nothing is predicted.")


def test_an_extension_keeps_its_results_and_an_unfitted_rule_reports_no_calibration(
    found: dict[str, Predictions],
) -> None:
    own = NamedTable("Own", ("a",), (("b",),))
    rule = MultiRule.unfitted(("normal", "bacteria", "virus"), "multiclass")
    plain = Evaluation({"own": 1.0}, tables=(own,), details={"own": 1}, outputs={"index": np.arange(300)})
    report = multi_report(plain, found["multiclass"], rule, None, 0)
    assert report.tables[0] is own
    assert report.details["own"] == report.metrics["own"] == 1
    assert "index" in report.outputs
    assert not any("calibrated" in name for name in report.metrics)
    assert "baseline" not in report.details
    assert "How the operating points were chosen" not in [table.title for table in report.tables]


def test_degenerate_splits_have_a_report(rules: dict[str, MultiRule], predictions: Make) -> None:
    rule = rules["multilabel"]
    found = predictions("multilabel", 30)
    for labels in (np.full((30, 3), -1), np.zeros((30, 3), np.int64), found.labels[:1]):
        data = replace(
            found,
            logits=found.logits[: len(labels)],
            labels=labels,
            names=found.names[: len(labels)],
            patients=["p"] * len(labels),
            subtypes=[""] * len(labels),
        )
        report = multi_report(Evaluation({}), data, rule, np.zeros((len(labels), 3)), 0)
        json.dumps(report.details, allow_nan=False)
        assert np.isfinite(list(report.metrics.values())).all()
    single = predictions("multiclass", 30)
    one = replace(single, labels=np.ones(30, np.int64))
    report = multi_report(Evaluation({}), one, rules["multiclass"], np.zeros((30, 3)), 0)
    json.dumps(report.details, allow_nan=False)
    assert "auc" not in report.metrics
