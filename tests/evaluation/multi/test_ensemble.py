"""Ensembles of classifiers with K logits: geometric means of probabilities, and thresholds that move along."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.calibration import Calibration
from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.ensemble import MemberPredictions, average, ensemble_rule
from pneumo_cli.evaluation.multi.calibration import ClassCalibration
from pneumo_cli.evaluation.multi.metrics import multi_metrics
from pneumo_cli.evaluation.multi.points import MultiPoint
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.evaluation.operating_points import OperatingPoint

Make = Callable[..., Predictions]


def member(found: Predictions, task: str, temperature: float, thresholds: list[float]) -> MemberPredictions:
    classes = tuple("abc"[: found.logits.shape[1]])
    biases = np.linspace(-temperature, temperature, len(classes))
    calibration = ClassCalibration(tuple(Calibration(temperature, float(bias)) for bias in biases))
    point = MultiPoint("balanced", tuple(thresholds), "b.", ("b.",) * len(classes))
    prevalence = (0.5,) * len(classes)
    rule = MultiRule(task, classes, calibration, (point,), "balanced", 10, prevalence)
    index = np.arange(len(found.labels))
    return MemberPredictions(Path("run"), 1, "print", rule, index, found.logits, found.labels)


def test_the_probabilities_are_the_geometric_mean_of_the_members(predictions: Make) -> None:
    found = predictions("multiclass", 50)
    members = [
        member(found, "multiclass", 0.5, [0, 0, 0]),
        member(Predictions(-found.logits[::-1], *_rest(found)), "multiclass", 2.0, [0, 0, 0]),
    ]
    index, logits, labels = average(members)
    rule = ensemble_rule([one.rule for one in members])
    powers = np.prod([one.rule.probabilities(one.logits) for one in members], axis=0) ** 0.5
    expected = powers / powers.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rule.probabilities(logits), expected, atol=1e-12)
    np.testing.assert_array_equal(labels, found.labels)
    assert index.tolist() == list(range(50))


def test_labels_are_averaged_as_binary_classifiers_and_unknown_ones_are_kept(predictions: Make) -> None:
    found = predictions("multilabel", 50)
    first = member(found, "multilabel", 0.5, [0.5, 0, 1])
    second = member(found, "multilabel", 3.0, [-0.5, 1, 1])
    _, logits, labels = average([first, second])
    np.testing.assert_array_equal(labels, found.labels)
    assert (labels == -1).any()
    rule = ensemble_rule([first.rule, second.rule])
    binary = []
    for one, thresholds in ((first, [0.5, 0, 1]), (second, [-0.5, 1, 1])):
        points = (OperatingPoint("default", 0.0, "d."), OperatingPoint("balanced", thresholds[0], "b."))
        calibration = one.rule.calibration.classes[0]
        binary.append(DecisionRule(("no", "a"), calibration, points, "balanced", 10, 0.5))
    assert rule.point.logit_thresholds[0] == pytest.approx(ensemble_rule(binary).point.logit_threshold)
    excess = np.mean(
        [
            (one.logits - np.array(one.rule.point.logit_thresholds)) / one.rule.calibration.arrays()[0]
            for one in (first, second)
        ],
        axis=0,
    )
    np.testing.assert_array_equal(rule.decide(logits), (excess >= 0).astype(int))


def test_two_exclusive_classes_keep_each_members_decisions(predictions: Make) -> None:
    found = predictions("multiclass", 200, 2)
    alone = member(found, "multiclass", 0.7, [0.4, -0.3])
    _, logits, _ = average([alone, alone])
    rule = ensemble_rule([alone.rule, alone.rule])
    np.testing.assert_array_equal(rule.decide(logits), alone.rule.decide(found.logits))
    assert rule.point.rule == "b."


def test_the_decisions_of_more_classes_nearly_stay_those_of_the_members(predictions: Make) -> None:
    found = predictions("multiclass", 500)
    alone = member(found, "multiclass", 0.7, [0.5, -0.5, 0.2])
    rule = ensemble_rule([alone.rule])
    _, logits, _ = average([alone])
    assert (rule.decide(logits) == alone.rule.decide(found.logits)).mean() > 0.9


def test_each_image_is_averaged_over_the_members_with_a_prediction_for_it(predictions: Make) -> None:
    found = predictions("multilabel", 4)
    whole = member(found, "multilabel", 1.0, [0, 0, 0])
    part = MemberPredictions(
        Path("run"), 1, "print", whole.rule, np.array([2]), found.logits[:1], found.labels[2:3]
    )
    index, logits, _ = average([whole, part])
    assert index.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(logits[[0, 1, 3]], whole.calibrated[[0, 1, 3]])
    np.testing.assert_allclose(logits[2], (whole.calibrated[2] + part.calibrated[0]) / 2)


def test_a_member_alone_has_the_metrics_at_its_own_point(predictions: Make) -> None:
    found = predictions("multiclass", 100)
    alone = member(found, "multiclass", 2.0, [1.0, 0.0, -1.0])
    assert alone.metrics() == multi_metrics(found.logits, found.labels, "multiclass", [1.0, 0.0, -1.0])


def test_other_classes_or_another_task_form_no_ensemble(predictions: Make) -> None:
    rule = MultiRule.unfitted(("a", "b"), "multiclass")
    with pytest.raises(UsageError, match=r"different tasks \(multiclass, multilabel\)"):
        ensemble_rule([rule, MultiRule.unfitted(("a", "b"), "multilabel")])
    with pytest.raises(UsageError, match=r"different tasks \(multiclass, binary\)"):
        ensemble_rule([rule, DecisionRule(("a", "b"))])
    with pytest.raises(UsageError, match="different classes"):
        ensemble_rule([rule, MultiRule.unfitted(("a", "b", "c"), "multiclass")])


def test_an_ensemble_has_the_prevalence_of_all_validation_images() -> None:
    rules = [
        MultiRule(
            "multilabel",
            ("a", "b"),
            ClassCalibration.none(2),
            MultiRule.unfitted(("a", "b"), "multilabel").points,
            images=images,
            prevalence=prevalence,
        )
        for images, prevalence in ((10, (0.2, 0.4)), (30, (0.6, 0.0)))
    ]
    rule = ensemble_rule(rules)
    assert rule.images == 40
    assert rule.prevalence == pytest.approx((0.5, 0.1))
    unfitted = ensemble_rule([MultiRule.unfitted(("a", "b"), "multilabel")] * 2)
    assert not unfitted.is_calibrated


def _rest(found: Predictions) -> tuple:
    return found.labels, found.names, found.patients, found.subtypes
