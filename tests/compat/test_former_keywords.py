"""Keywords of version 0.1 are accepted, with a warning; checkpoints keep its keys."""

from __future__ import annotations

import numpy as np
import pytest

from pneumo_cli.evaluation import DecisionRule, OperatingPoint, binary_metrics
from pneumo_cli.evaluation.confidence.intervals import difference_intervals, metric_intervals

LOGITS = np.linspace(-2, 2, 40)
LABELS = np.arange(40) % 3 > 0
PATIENTS = np.arange(40)


def test_a_threshold_may_be_called_cut() -> None:
    with pytest.warns(DeprecationWarning, match="cut is logit_threshold now"):
        assert binary_metrics(LOGITS, LABELS, cut=1.0) == binary_metrics(LOGITS, LABELS, logit_threshold=1.0)
    with pytest.warns(DeprecationWarning, match="cut is logit_threshold now"):
        former = metric_intervals(LOGITS, LABELS, PATIENTS, cut=1.0)
    assert former == metric_intervals(LOGITS, LABELS, PATIENTS, logit_threshold=1.0)
    with pytest.warns(DeprecationWarning, match="cuts is logit_thresholds now"):
        former = difference_intervals(LOGITS, -LOGITS, LABELS, PATIENTS, cuts=(0.0, 1.0))
    assert former == difference_intervals(LOGITS, -LOGITS, LABELS, PATIENTS, logit_thresholds=(0.0, 1.0))


def test_a_checkpoint_keeps_the_keys_of_its_operating_points() -> None:
    rule = DecisionRule(("NORMAL", "PNEUMONIA"), points=(OperatingPoint("default", 0.25, "By hand."),))
    (point,) = rule.state()["points"]
    assert point == {"name": "default", "cut": 0.25, "rule": "By hand."}
    (restored,) = DecisionRule.from_state(rule.state()).points
    assert restored.logit_threshold == 0.25
