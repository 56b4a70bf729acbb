"""What a report says of predictions: each number follows from the logits, and what is wrong is named."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pneumo_cli.assessment import Predictions, assess
from pneumo_cli.checkpoints import check_plain
from pneumo_cli.decision import DecisionRule, Fitting, fit_decision_rule, spread
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.result import Evaluation

CLASSES = ("NORMAL", "PNEUMONIA")


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
    return assess(plain, found, rule, rule.baseline.logits(levels(found.labels, 3)), seed=0)


def test_metrics_are_those_at_the_operating_point_in_use(rule: DecisionRule, assessed: Evaluation) -> None:
    found = predictions(seed=3)
    expected = binary_metrics(found.logits, found.labels, cut=rule.named("screening").cut)
    for name in ("accuracy", "recall", "specificity", "precision", "f1", "mcc", "auc"):
        assert assessed.metrics[name] == pytest.approx(expected[name])
    assert assessed.metrics["loss"] == 0.25
    at_half = binary_metrics(found.logits, found.labels)
    assert assessed.metrics["recall"] != at_half["recall"], "the point in use is not 0.5"
    calibrated = binary_metrics(found.logits / rule.temperature, found.labels)
    assert assessed.metrics["brier_calibrated"] == pytest.approx(calibrated["brier"])


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
    wrong = (found.logits >= rule.point.cut) != (found.labels == 1)
    errors = assessed.details["errors"]
    assert errors["count"] == wrong.sum() > 5
    assert {row["name"] for row in errors["rows"]} == {found.names[i] for i in np.flatnonzero(wrong)}
    far = [abs(found.logits[found.names.index(row["name"])] - rule.point.cut) for row in errors["rows"]]
    assert far == sorted(far, reverse=True)
    for row in errors["rows"]:
        assert row["truth"] != row["called"]
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
    done = assess(Evaluation({"loss": 0.1}), part, rule, np.zeros(len(part.labels)), seed=0)
    assert "auc" not in done.metrics
    assert "baseline" not in done.details
    assert done.details["operating_points"]["screening"]["confusion"][0] == [0, 0]
    assert done.figures == ()


def test_one_patient_alone_has_no_intervals(rule: DecisionRule) -> None:
    found = replace(predictions(seed=3), patients=["the same"] * 300)
    done = assess(Evaluation({"loss": 0.1}), found, rule, None, seed=0)
    assert done.intervals == {}
    for figure in done.figures:
        assert figure.draw().axes


# --- the rule ---------------------------------------------------------------------------------------------------


def test_a_rule_survives_the_checkpoint_to_the_bit(rule: DecisionRule, tmp_path) -> None:
    state = rule.state()
    check_plain(state)
    torch.save(state, tmp_path / "rule.pt")
    again = DecisionRule.from_state(torch.load(tmp_path / "rule.pt", weights_only=True))
    assert (again.temperature, again.points, again.chosen) == (rule.temperature, rule.points, rule.chosen)
    pictures = levels(np.array([0, 1, 1]), 9)
    assert rule.novelty is not None
    assert rule.baseline is not None
    assert again.novelty is not None
    assert again.baseline is not None
    assert np.array_equal(again.novelty.scores(pictures), rule.novelty.scores(pictures))
    assert np.array_equal(again.baseline.logits(pictures), rule.baseline.logits(pictures))


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": float("nan")},
        {"temperature": "warm"},
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
    assert (rule.point.cut, rule.temperature, rule.images, rule.classes) == (0.0, 1.0, 0, CLASSES)
    assert rule.probabilities(np.array([-800.0, 0.0, 800.0])).tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(UsageError, match="no operating point 'screening'"):
        rule.named("screening")


def test_few_or_small_images_leave_foreign_ones_untold_and_nothing_else() -> None:
    found = predictions(images=20)
    tiny = np.zeros((4, 8, 8), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None]
    data = Fitting(CLASSES, found.logits, found.labels, tiny, np.array([0, 1, 0, 1]), tiny)
    rule = fit_decision_rule(data, chosen="default", wanted_sensitivity=0.95, miss_cost=10, seed=0)
    assert rule.novelty is None
    assert rule.images == 20


def test_large_images_are_taken_in_part_spread_over_all() -> None:
    positions = np.arange(10_000)
    assert len(spread(positions, 64)) == 4096
    assert len(spread(positions, 1024)) == 256
    assert np.array_equal(spread(positions[:100], 1024), positions[:100])
    assert spread(positions, 64)[[0, -1]].tolist() == [0, 9999]
