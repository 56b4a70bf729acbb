"""Ensembles of classifiers: the mean of calibrated logits, and its decision rule."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pneumo_cli.data.records import Record
from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.calibration import Calibration
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.ensemble import MemberPredictions, average, ensemble_rule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.inference.ensemble import evaluate_ensemble


def member(
    logits: list[float],
    temperature: float,
    threshold: float,
    index: list[int] | None = None,
    bias: float = 0.0,
) -> MemberPredictions:
    points = (OperatingPoint("default", 0.0, "d."), OperatingPoint("balanced", threshold, "b."))
    rule = DecisionRule(("NORMAL", "PNEUMONIA"), Calibration(temperature, bias), points, "balanced", 10, 0.5)
    positions = np.array(index if index is not None else range(len(logits)), np.int64)
    return MemberPredictions(Path("run"), 1, "print", rule, positions, np.array(logits), positions % 2)


def test_the_threshold_is_the_mean_of_the_members_thresholds_on_the_calibrated_scale() -> None:
    rng = np.random.default_rng(0)
    members = [
        member(rng.normal(size=50).tolist(), temperature, threshold, bias=bias)
        for temperature, threshold, bias in ((0.5, 0.3, 1.0), (2.0, -1.0, -3.0), (4.0, 2.0, 0.0))
    ]
    rule = ensemble_rule([one.rule for one in members])
    _, logits, _ = average(members)
    excess = np.mean(
        [(one.logits - one.rule.point.logit_threshold) / one.rule.calibration.temperature for one in members],
        axis=0,
    )
    assert logits - rule.point.logit_threshold == pytest.approx(excess, abs=1e-9)
    assert np.abs(excess).min() > 1e-6
    assert ((logits >= rule.point.logit_threshold) == (excess >= 0)).all()
    assert rule.chosen == "balanced"


def test_each_image_is_averaged_over_the_members_with_a_prediction_for_it() -> None:
    index, logits, labels = average([member([2.0, 4.0], 2.0, 0, [3, 0]), member([3.0], 1.0, 0, [3])])
    assert index.tolist() == [0, 3]
    assert logits.tolist() == [2.0, 2.0]
    assert labels.tolist() == [0, 1]
    biased = [member([2.0, 4.0], 2.0, 0, [3, 0], bias=1.0), member([3.0], 1.0, 0, [3], bias=-4.0)]
    assert average(biased)[1].tolist() == [3.0, 0.5]


def test_members_with_other_classes_or_other_data_form_no_ensemble() -> None:
    with pytest.raises(UsageError, match="different classes"):
        ensemble_rule([DecisionRule(("a", "b")), DecisionRule(("a", "c"))])
    one = member([1.0], 1, 0)
    with pytest.raises(UsageError, match="evaluated on different data"):
        average([one, dataclasses.replace(one, fingerprint="other")])


def test_probabilities_of_an_ensemble_are_calibrated() -> None:
    records = [Record(f"{i}", i % 2, f"p{i}", "test", f"d{i}", "") for i in range(40)]
    rng = np.random.default_rng(1)
    evaluation = evaluate_ensemble([member(rng.normal(size=40).tolist(), 2.0, 0.1)], records, seed=0)
    assert "brier_calibrated" in evaluation.metrics
    assert "brier" not in evaluation.metrics
    assert set(evaluation.intervals) <= set(evaluation.metrics)
