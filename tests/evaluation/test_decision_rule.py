"""The decision rule: fitting, checkpoints of all versions, adjustment to a prevalence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.calibration import UNCALIBRATED, Calibration
from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting, fit_decision_rule, spread
from pneumo_cli.runs.checkpoints import check_plain

CLASSES = ("NORMAL", "PNEUMONIA")


def test_a_rule_survives_a_checkpoint_exactly(
    rule: DecisionRule, gray_levels: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    state = rule.state()
    check_plain(state)
    torch.save(state, tmp_path / "rule.pt")
    again = DecisionRule.from_state(torch.load(tmp_path / "rule.pt", weights_only=True))
    assert (again.calibration, again.points, again.chosen) == (rule.calibration, rule.points, rule.chosen)
    images = gray_levels(np.array([0, 1, 1]), 9)
    assert rule.ood_detector is not None
    assert rule.baseline is not None
    assert again.ood_detector is not None
    assert again.baseline is not None
    assert np.array_equal(again.ood_detector.scores(images), rule.ood_detector.scores(images))
    assert np.array_equal(again.baseline.logits(images), rule.baseline.logits(images))


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


def test_the_default_rule_is_a_probability_of_one_half() -> None:
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


def test_a_rule_of_an_early_checkpoint_has_no_bias(rule: DecisionRule) -> None:
    state = rule.state()
    del state["bias"]
    old = DecisionRule.from_state(state)
    assert old.calibration == Calibration(rule.calibration.temperature, 0.0)
    assert old.points == rule.points


def test_probabilities_are_adjusted_to_a_prevalence_and_decisions_are_not(
    rule: DecisionRule, predictions: Callable[..., Predictions]
) -> None:
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


def test_with_few_or_small_images_only_the_detectors_are_missing(
    predictions: Callable[..., Predictions],
) -> None:
    found = predictions(images=20)
    tiny = np.zeros((4, 8, 8), np.uint8) + np.arange(4, dtype=np.uint8)[:, None, None]
    data = Fitting(CLASSES, found.logits, found.labels, tiny, np.array([0, 1, 0, 1]), tiny)
    rule = fit_decision_rule(data, chosen="default", wanted_sensitivity=0.95, miss_cost=10, seed=0)
    assert (rule.ood_detector, rule.orientation) == (None, None)
    assert rule.images == 20


def test_some_positions_are_taken_evenly_spaced_and_fewer_for_large_images() -> None:
    positions = np.arange(10_000)
    assert len(spread(positions, 64)) == 4096
    assert len(spread(positions, 1024)) == 256
    assert np.array_equal(spread(positions[:100], 1024), positions[:100])
    assert spread(positions, 64)[[0, -1]].tolist() == [0, 9999]
