"""The rule of K classes: probabilities, decisions, operating points, and its state in a checkpoint."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting
from pneumo_cli.evaluation.linear_baseline import LinearBaseline
from pneumo_cli.evaluation.multi.baseline import MultiBaseline
from pneumo_cli.evaluation.multi.rule import MultiRule, fit_multi_rule, rule_from_state
from pneumo_cli.evaluation.multi.scores import as_one_vs_rest
from pneumo_cli.evaluation.operating_points import choose_operating_points

Make = Callable[..., Predictions]
TASKS = ("multiclass", "multilabel")


@pytest.mark.parametrize("task", TASKS)
def test_the_thresholds_of_each_class_are_those_of_the_binary_rule(
    rules: dict[str, MultiRule], predictions: Make, task: str
) -> None:
    validation = predictions(task, seed=1)
    split = as_one_vs_rest(2 * validation.logits, validation.labels, task)
    assert [point.name for point in rules[task].points] == ["default", "balanced", "screening", "cost"]
    for place in range(3):
        known = split.truth[:, place] >= 0
        expected = choose_operating_points(
            split.scores[known, place], split.truth[known, place], sensitivity=0.9, miss_cost=5.0
        )
        for ours, theirs in zip(rules[task].points, expected, strict=True):
            assert ours.logit_thresholds[place] == theirs.logit_threshold
            if ours.name != "default":
                assert ours.per_class[place] == theirs.rule


def test_probabilities_are_calibrated(rules: dict[str, MultiRule], predictions: Make) -> None:
    for task in TASKS:
        rule, found = rules[task], predictions(task, 2000, seed=5)
        logits = 2 * found.logits
        probabilities = rule.probabilities(logits)
        assert probabilities.shape == (2000, 3)
        if task == "multiclass":
            np.testing.assert_allclose(probabilities.sum(axis=1), 1)
        for place in range(3):
            truth = as_one_vs_rest(logits, found.labels, task).truth[:, place]
            known = truth >= 0
            assert probabilities[known, place].mean() == pytest.approx(truth[known].mean(), abs=0.06)
        assert rule.is_calibrated
        assert rule.calibration.classes[0].temperature > 1.2


def test_decisions_follow_the_point_in_use(rules: dict[str, MultiRule], predictions: Make) -> None:
    logits = 2 * predictions("multilabel", seed=4).logits
    rule = rules["multilabel"]
    assert rule.chosen == "balanced"
    np.testing.assert_array_equal(
        rule.decide(logits), (logits >= np.array(rule.point.logit_thresholds)).astype(int)
    )
    screening = rule.at("screening")
    assert (screening.decide(logits) >= rule.at("default").decide(logits)).mean() > 0.9
    # Thresholds as probabilities split the images as the decisions do.
    np.testing.assert_array_equal(
        rule.decide(logits), (rule.probabilities(logits) >= rule.probabilities_at(rule.point)).astype(int)
    )
    classes = rules["multiclass"]
    logits = 2 * predictions("multiclass", seed=4).logits
    np.testing.assert_array_equal(classes.at("default").decide(logits), logits.argmax(axis=1))
    excess = classes.scores(logits) - np.array(classes.point.logit_thresholds)
    np.testing.assert_array_equal(classes.decide(logits), excess.argmax(axis=1))
    with pytest.raises(UsageError, match="no operating point 'screning'; did you mean screening"):
        rule.at("screning")


def test_a_binary_rule_decides_likewise() -> None:
    assert DecisionRule(("a", "b")).decide([-1.0, 0.0, 2.0]).tolist() == [0, 1, 1]
    assert DecisionRule.task == "binary"


def test_another_prevalence_is_refused(rules: dict[str, MultiRule]) -> None:
    with pytest.raises(UsageError, match=r"0\.2 is that of one of two classes"):
        rules["multiclass"].for_prevalence(0.2)


@pytest.mark.parametrize("task", TASKS)
def test_a_checkpoint_keeps_the_rule(rules: dict[str, MultiRule], predictions: Make, task: str) -> None:
    rule, file = rules[task], io.BytesIO()
    torch.save(rule.state(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    assert state["task"] == task
    restored = rule_from_state(state, (), "binary")
    assert isinstance(restored, MultiRule)
    for name in ("task", "classes", "calibration", "points", "chosen", "images", "prevalence"):
        assert getattr(restored, name) == getattr(rule, name), name
    levels = np.random.default_rng(0).integers(0, 255, (5, 64, 64)).astype(np.uint8)
    assert rule.baseline is not None
    assert restored.baseline is not None
    np.testing.assert_array_equal(restored.baseline.logits(levels), rule.baseline.logits(levels))
    assert restored.ood_detector is not None
    np.testing.assert_array_equal(restored.probabilities(np.eye(3)), rule.probabilities(np.eye(3)))


def test_a_state_without_a_task_is_binary_and_an_empty_one_is_of_the_given_task() -> None:
    binary = DecisionRule(("a", "b")).state()
    assert "task" not in binary
    assert rule_from_state(binary, ("x", "y", "z"), "multiclass") == DecisionRule(("a", "b"))
    assert rule_from_state({}, ("a", "b"), "binary") == DecisionRule(("a", "b"))
    unfitted = rule_from_state({}, ("a", "b", "c"), "multiclass")
    assert isinstance(unfitted, MultiRule)
    assert not unfitted.is_calibrated
    assert unfitted.decide([[0.0, 2.0, 1.0]]).tolist() == [1]
    assert unfitted.point.rule == "The most probable class before calibration; not chosen by the data."


def _without(key: str) -> Callable[[dict[str, Any]], object]:
    return lambda state: state.pop(key)


DAMAGES: dict[str, Callable[[dict[str, Any]], object]] = {
    **{f"no {key}": _without(key) for key in ("classes", "points", "temperature", "prevalence", "baseline")},
    "another task": lambda state: state.update(task="regression"),
    "one class": lambda state: state.update(classes=["a"]),
    "a class more": lambda state: state["classes"].append("d"),
    "a bias less": lambda state: state["bias"].pop(),
    "an infinite bias": lambda state: state.update(bias=[0.0, 0.0, float("inf")]),
    "temperatures that are no list": lambda state: state.update(temperature=1.0),
    "a prevalence above 1": lambda state: state.update(prevalence=[0.1, 0.2, 1.5]),
    "a threshold less": lambda state: state["points"][0]["logit_thresholds"].pop(),
    "a threshold NaN": lambda state: state["points"][1].update(logit_thresholds=[0.0, 0.0, float("nan")]),
    "a point that is no mapping": lambda state: state.update(points=["default"]),
    "a baseline of another shape": lambda state: state["baseline"].update(weights=torch.zeros(2, 1024)),
    "a baseline of NaN": lambda state: state["baseline"].update(bias=[0.0, 0.0, float("nan")]),
    "an unknown point in use": lambda state: state.update(chosen="best"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_state_is_refused_in_one_line(rules: dict[str, MultiRule], damage: str) -> None:
    state = rules["multiclass"].state()
    DAMAGES[damage](state)
    with pytest.raises(PneumoError) as refused:
        rule_from_state(state, (), "multiclass")
    assert "\n" not in str(refused.value)


def test_the_baseline_of_a_class_is_the_binary_one_against_the_rest(
    predictions: Make, gray_levels: Callable[..., np.ndarray]
) -> None:
    labels = predictions("multiclass", 200, seed=7).labels
    levels, others = gray_levels(labels, 1), gray_levels(labels, 2)
    several = MultiBaseline.fit(levels, labels, "multiclass", 3)
    for place in range(3):
        binary = LinearBaseline.fit(levels, (labels == place).astype(int))
        probability = np.exp(several.logits(others)[:, place])
        expected = 1 / (1 + np.exp(-binary.logits(others)))
        np.testing.assert_allclose(probability, expected, atol=1e-9)


def test_the_baseline_of_a_label_leaves_out_unknown_ones_and_is_constant_without_both_values(
    predictions: Make, gray_levels: Callable[..., np.ndarray]
) -> None:
    labels = predictions("multilabel", 200, 4, seed=7).labels
    labels[:, 1], labels[:, 2] = 0, -1
    levels = gray_levels(labels, 1)
    fitted = MultiBaseline.fit(levels, labels, "multilabel", 4)
    logits = fitted.logits(levels)
    np.testing.assert_allclose(logits[:, 1], -np.log(201))
    assert not logits[:, 2].any()
    unknown = labels[:, 0] < 0
    assert unknown.sum() > 5
    flipped = labels.copy()
    flipped[:, 3] = 1 - np.maximum(flipped[:, 3], 0)
    again = MultiBaseline.fit(levels, flipped, "multilabel", 4)
    np.testing.assert_array_equal(again.weights[0], fitted.weights[0])
    with pytest.raises(ValueError, match="200 images and labels of 199"):
        MultiBaseline.fit(levels, labels[1:], "multilabel", 4)


def test_a_class_without_validation_images_keeps_the_threshold_0(
    predictions: Make, gray_levels: Callable[..., np.ndarray]
) -> None:
    found = predictions("multiclass", 120)
    labels = np.minimum(found.labels, 1)
    levels = gray_levels(labels, 0)
    data = Fitting(("a", "b", "c"), found.logits, labels, levels, labels, levels)
    rule = fit_multi_rule(data, "multiclass", chosen="default", wanted_sensitivity=0.9, miss_cost=5.0, seed=0)
    assert not rule.is_calibrated
    assert rule.prevalence[2] == 0
    assert rule.named("cost").logit_thresholds[2] == 0
    assert "not chosen" in rule.named("cost").per_class[2]
    assert rule.named("cost").logit_thresholds[0] != 0
