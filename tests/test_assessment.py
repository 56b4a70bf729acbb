"""What a report says of predictions: each number follows from the logits, and what is wrong is named."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from pneumo_cli.data.decoding import decode_image, resize
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.calibration import UNCALIBRATED, Calibration, fit_calibration
from pneumo_cli.evaluation.classification_report import Predictions, classification_report
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting, fit_decision_rule, spread
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.reports.figures.classification_report import with_figures
from pneumo_cli.runs.checkpoints import check_plain

CLASSES = ("NORMAL", "PNEUMONIA")
RADIOGRAPHS = Path(__file__).parents[2] / "shared" / "data" / "chest_xray"


def predictions(images: int = 300, seed: int = 0, noise: float = 1.0) -> Predictions:
    """Two images per patient; bacteria are easier to see than virus."""
    rng = np.random.default_rng(seed)
    patients = np.arange(images) // 2
    labels = (patients % 3 > 0).astype(np.int64)
    virus = (patients % 3 == 2) & (labels == 1)
    shift = np.where(labels == 1, np.where(virus, 1.0, 3.0), -2.0)
    logits = shift + noise * rng.normal(size=images)
    subtypes = np.where(labels == 0, "", np.where(virus, "virus", "bacteria"))
    return Predictions(
        logits, labels, [f"image{i}" for i in range(images)], [f"p{p}" for p in patients], subtypes.tolist()
    )


def reported(
    plain: Evaluation,
    found: Predictions,
    rule: DecisionRule,
    baseline: np.ndarray | None,
    seed: int,
) -> Evaluation:
    """As a trainer makes it: numbers and tables, and the figures beside them."""
    return with_figures(classification_report(plain, found, rule, baseline, seed), found, rule, seed)


def levels(labels: np.ndarray, seed: int) -> np.ndarray:
    """Images of 32 px, brighter where the label is 1."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(100, 25, (len(labels), 32, 32))
    return (noise + 12 * labels[:, None, None]).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def rule() -> DecisionRule:
    """Fitted on 300 validation images."""
    validation = predictions(seed=1)
    train = predictions(seed=2).labels
    data = Fitting(
        CLASSES,
        validation.logits,
        validation.labels,
        levels(train, 1),
        train,
        levels(validation.labels, 2),
    )
    return fit_decision_rule(data, chosen="screening", wanted_sensitivity=0.8, miss_cost=5.0, seed=0)


@pytest.fixture(scope="module")
def assessed(rule: DecisionRule) -> Evaluation:
    """Predictions of a test split, assessed by that rule."""
    found = predictions(seed=3)
    assert rule.baseline is not None
    plain = Evaluation({"loss": 0.25, **binary_metrics(found.logits, found.labels)})
    return reported(plain, found, rule, rule.baseline.logits(levels(found.labels, 3)), seed=0)


def test_metrics_are_those_at_the_operating_point_in_use(rule: DecisionRule, assessed: Evaluation) -> None:
    found = predictions(seed=3)
    expected = binary_metrics(
        found.logits, found.labels, logit_threshold=rule.named("screening").logit_threshold
    )
    for name in ("accuracy", "recall", "specificity", "precision", "f1", "mcc", "auc"):
        assert assessed.metrics[name] == pytest.approx(expected[name])
    assert assessed.metrics["loss"] == 0.25
    at_half = binary_metrics(found.logits, found.labels)
    assert assessed.metrics["recall"] != at_half["recall"], "the point in use is not 0.5"
    temperature, bias = assessed.details["temperature"], assessed.details["bias"]
    calibrated = binary_metrics(found.logits / temperature + bias, found.labels)
    for name in ("brier", "ece"):
        assert assessed.metrics[f"{name}_calibrated"] == pytest.approx(calibrated[name])
    assert assessed.details["operating_points"]["screening"]["probability"] == pytest.approx(
        1 / (1 + np.exp(-rule.named("screening").logit_threshold / temperature - bias))
    )
    assert (temperature, bias) == (rule.calibration.temperature, rule.calibration.bias)
    assert assessed.details["validation_prevalence"] == rule.prevalence
    assert assessed.details["split_prevalence"] == pytest.approx(found.labels.mean())


def test_every_metric_but_the_loss_has_an_interval_that_holds_it(assessed: Evaluation) -> None:
    assert set(assessed.metrics) - set(assessed.intervals) == {"loss"}
    for name, (low, high) in assessed.intervals.items():
        assert low < high, name
        # ECE is corrected for its bias upwards, so its interval need not hold the plain value.
        if not name.startswith("ece"):
            assert low <= assessed.metrics[name] <= high, name


def test_each_operating_point_has_a_confusion_matrix_that_its_shares_follow_from(
    assessed: Evaluation,
) -> None:
    points = assessed.details["operating_points"]
    assert list(points) == ["default", "balanced", "screening", "cost"]
    for point in points.values():
        (negatives, alarms), (misses, hits) = point["confusion"]
        assert negatives + alarms + misses + hits == 300
        assert point["metrics"]["recall"] == pytest.approx(hits / (hits + misses))
        assert point["metrics"]["precision"] == pytest.approx(hits / (hits + alarms))
        assert point["metrics"]["npv"] == pytest.approx(negatives / (negatives + misses))
        for name, (low, high) in point["intervals"].items():
            assert low <= point["metrics"][name] <= high
    table = assessed.tables[0]
    assert [row[0] for row in table.rows] == ["default", "balanced", "screening (in use)", "cost"]


def test_errors_are_all_that_was_called_wrong_the_surest_first(
    rule: DecisionRule, assessed: Evaluation
) -> None:
    found = predictions(seed=3)
    wrong = (found.logits >= rule.point.logit_threshold) != (found.labels == 1)
    errors = assessed.details["errors"]
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


def test_subtypes_are_judged_alone_against_all_of_the_other_class(assessed: Evaluation) -> None:
    subtypes = assessed.details["subtypes"]
    assert list(subtypes) == ["bacteria", "virus"]
    assert sum(of["images"] for of in subtypes.values()) == predictions(seed=3).labels.sum()
    assert subtypes["bacteria"]["recall"] > subtypes["virus"]["recall"]
    assert subtypes["bacteria"]["auc"] > subtypes["virus"]["auc"]


def test_a_network_stands_beside_a_baseline_with_a_paired_difference(assessed: Evaluation) -> None:
    baseline = assessed.details["baseline"]
    difference = baseline["differences"]["auc"]
    assert difference["value"] == pytest.approx(assessed.metrics["auc"] - baseline["metrics"]["auc"])
    assert difference["low"] < difference["value"] < difference["high"]
    assert baseline["larger_class"]["accuracy"] == pytest.approx(2 / 3, abs=0.01)


def test_deLongs_interval_agrees_with_that_of_the_bootstrap(assessed: Evaluation) -> None:
    delong = assessed.details["delong"]
    low, high = assessed.intervals["auc"]
    assert (delong["low"], delong["high"]) == pytest.approx((low, high), abs=0.02)


def test_what_is_found_is_json_and_draws_every_figure(assessed: Evaluation) -> None:
    json.dumps(dict(assessed.details), allow_nan=False)
    names = [figure.name for figure in assessed.figures]
    assert names == ["confusion-matrix", "roc", "precision-recall", "calibration", "predictive-values"]
    for figure in assessed.figures:
        assert figure.draw().axes


def test_one_class_alone_has_what_is_defined_for_it(rule: DecisionRule) -> None:
    found = predictions(seed=3)
    part = found.where(found.labels == 1)
    done = reported(Evaluation({"loss": 0.1}), part, rule, np.zeros(len(part.labels)), seed=0)
    assert "auc" not in done.metrics
    assert "baseline" not in done.details
    assert done.details["operating_points"]["screening"]["confusion"][0] == [0, 0]
    assert done.figures == ()


def test_one_patient_alone_has_no_intervals(rule: DecisionRule) -> None:
    found = replace(predictions(seed=3), patients=["the same"] * 300)
    done = reported(Evaluation({"loss": 0.1}), found, rule, None, seed=0)
    assert done.intervals == {}
    for figure in done.figures:
        assert figure.draw().axes


# --- the rule ---------------------------------------------------------------------------------------------------


def test_a_rule_survives_the_checkpoint_to_the_bit(rule: DecisionRule, tmp_path) -> None:
    state = rule.state()
    check_plain(state)
    torch.save(state, tmp_path / "rule.pt")
    again = DecisionRule.from_state(torch.load(tmp_path / "rule.pt", weights_only=True))
    assert (again.calibration, again.points, again.chosen) == (rule.calibration, rule.points, rule.chosen)
    pictures = levels(np.array([0, 1, 1]), 9)
    assert rule.ood_detector is not None
    assert rule.baseline is not None
    assert again.ood_detector is not None
    assert again.baseline is not None
    assert np.array_equal(again.ood_detector.scores(pictures), rule.ood_detector.scores(pictures))
    assert np.array_equal(again.baseline.logits(pictures), rule.baseline.logits(pictures))


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": float("nan")},
        {"temperature": "warm"},
        {"temperature": 0.0},
        {"bias": float("inf")},
        {"bias": None},
        {"prevalence": 1.5},
        {"points": [{"name": "default"}]},
        {"points": []},
        {"chosen": "no-such-point"},
        {"classes": ["one"]},
        {"novelty": {"mean": 1}},
        {"baseline": {"weights": torch.zeros(3)}},
    ],
)
def test_a_damaged_rule_is_an_error_of_one_line(rule: DecisionRule, change: dict) -> None:
    with pytest.raises(PneumoError) as raised:
        DecisionRule.from_state({**rule.state(), **change})
    assert "\n" not in str(raised.value)


def test_without_anything_fitted_the_rule_is_one_half() -> None:
    rule = DecisionRule.from_state({}, CLASSES)
    assert (rule.point.logit_threshold, rule.calibration, rule.images, rule.classes) == (
        0.0,
        UNCALIBRATED,
        0,
        CLASSES,
    )
    assert rule.probabilities(np.array([-800.0, 0.0, 800.0])).tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(UsageError, match="no operating point 'screening'"):
        rule.named("screening")


def test_a_rule_from_before_there_was_a_bias_is_read_with_none(rule: DecisionRule) -> None:
    state = rule.state()
    del state["bias"]
    old = DecisionRule.from_state(state)
    assert old.calibration == Calibration(rule.calibration.temperature, 0.0)
    assert old.points == rule.points


def test_probabilities_are_carried_over_to_a_prevalence_and_decisions_stay(rule: DecisionRule) -> None:
    logits = predictions(seed=3).logits
    rare = rule.for_prevalence(0.01)
    gain = np.log(0.01 / 0.99) - np.log(rule.prevalence / (1 - rule.prevalence))
    np.testing.assert_allclose(rare.calibrated(logits), rule.calibrated(logits) + gain)
    assert (rare.points, rare.prevalence, rare.assumed) == (rule.points, rule.prevalence, 0.01)
    back = rare.for_prevalence(rule.prevalence)
    np.testing.assert_allclose(back.probabilities(logits), rule.probabilities(logits))
    with pytest.raises(ValueError, match="prevalence"):
        rule.for_prevalence(1.0)
    for nothing in (DecisionRule(CLASSES), DecisionRule(CLASSES, images=10, prevalence=1.0)):
        with pytest.raises(UsageError, match="were not calibrated"):
            nothing.for_prevalence(0.1)


def test_what_a_weighted_loss_shifts_is_put_right_in_the_assessment_of_unseen_images() -> None:
    """Logits off by the log odds of the share, as a loss that balances the classes leaves them."""

    def shifted(seed: int) -> Predictions:
        rng = np.random.default_rng(seed)
        exact = rng.normal(2, 2.5, 1500)
        labels = (rng.random(1500) < 1 / (1 + np.exp(-exact))).astype(np.int64)
        names = [str(i) for i in range(1500)]
        return Predictions(exact - 1.5, labels, names, names, [""] * 1500)

    seen = shifted(1)
    pictures = levels(np.array([0, 1]), 0)[:, :8, :8]
    data = Fitting(CLASSES, seen.logits, seen.labels, pictures, np.array([0, 1]), pictures)
    fitted = fit_decision_rule(data, chosen="default", wanted_sensitivity=0.95, miss_cost=10, seed=0)
    done = reported(Evaluation({}), shifted(2), fitted, None, seed=0)
    assert fitted.calibration.bias == pytest.approx(1.5, abs=0.3)
    assert done.metrics["ece_calibrated"] < 0.03 < 0.1 < done.metrics["ece"]
    assert done.metrics["brier_calibrated"] < done.metrics["brier"] - 0.01
    assert done.metrics["auc"] == binary_metrics(shifted(2).logits, shifted(2).labels)["auc"]


@pytest.mark.real_data
def test_probabilities_of_real_radiographs_mean_what_they_say_after_a_weighted_loss() -> None:
    """A regression whose loss balances the classes, as the networks' does; fitted, calibrated, judged on others."""
    found = sorted((RADIOGRAPHS / "train").rglob("*.jpeg"))[::4]
    if len(found) < 1000:
        pytest.skip(f"the radiographs are not at {RADIOGRAPHS}")
    patients = [re.sub(r"(?<=\d)[-_].*", "", path.stem.replace("NORMAL2-", "")) for path in found]
    thirds = np.random.default_rng(0).integers(0, 3, len(found))
    part = np.array([thirds[patients.index(patient)] for patient in patients])
    features = np.stack([resize(decode_image(path.read_bytes(), 16), 16).ravel() for path in found]) / 255
    labels = np.array([int(path.parent.name == "PNEUMONIA") for path in found])
    regression = LogisticRegression(C=1.0, class_weight="balanced", max_iter=300)
    regression.fit(features[part == 0], labels[part == 0])
    logits = regression.decision_function(features)
    calibrated = fit_calibration(logits[part == 1], labels[part == 1]).apply(logits)
    before, after = (binary_metrics(x[part == 2], labels[part == 2]) for x in (logits, calibrated))
    assert after["ece"] < before["ece"]
    assert after["brier"] < before["brier"]


def test_few_or_small_images_leave_foreign_ones_untold_and_nothing_else() -> None:
    found = predictions(images=20)
    tiny = np.zeros((4, 8, 8), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None]
    data = Fitting(CLASSES, found.logits, found.labels, tiny, np.array([0, 1, 0, 1]), tiny)
    rule = fit_decision_rule(data, chosen="default", wanted_sensitivity=0.95, miss_cost=10, seed=0)
    assert rule.ood_detector is None
    assert rule.images == 20


def test_large_images_are_taken_in_part_spread_over_all() -> None:
    positions = np.arange(10_000)
    assert len(spread(positions, 64)) == 4096
    assert len(spread(positions, 1024)) == 256
    assert np.array_equal(spread(positions[:100], 1024), positions[:100])
    assert spread(positions, 64)[[0, -1]].tolist() == [0, 9999]
