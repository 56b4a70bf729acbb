"""The trainer passes its conformance suite, and has the defaults and counts of the report's task 2 (SOURCE 5)."""

from __future__ import annotations

import json
from typing import ClassVar

import pytest

pytest.register_assert_rewrite("pneumo_cli.testing")

from pneumo_cli.testing import TrainerConformance, TrainerRunConformance, invoke  # noqa: E402
from pneumo_feature_extraction.settings import FeatureExtractionSettings  # noqa: E402

SMALL = {"image_size": 32, "batch_size": 16}


class TestFeaturesComputedOnce(TrainerConformance):
    name = "feature-extraction"
    settings: ClassVar = SMALL


class TestAugmented(TrainerRunConformance):
    name = "feature-extraction"
    settings: ClassVar = {**SMALL, "model": "mobilenet-v3-small", "augment": True}


def test_its_defaults_are_the_reports() -> None:
    s = FeatureExtractionSettings()
    assert (s.lr, s.epochs, s.batch_size, s.image_size, s.weights) == (0.005, 20, 16, 256, "imagenet")
    assert (s.optimizer, s.momentum, s.nesterov, s.weight_decay) == ("sgd", 0.9, True, 1e-5)
    assert (s.schedule, s.lr_step, s.lr_gamma, s.monitor, s.augment) == ("step", 5, 0.5, "accuracy", True)
    assert s.freeze_mode == "strict"


def test_the_reports_counts_are_shown() -> None:
    content = json.loads(invoke("show", "feature-extraction", "--preset", "cached", "--json").stdout)
    assert content["model"] == "efficientnet-b7"
    assert content["layers"]["parameters"] == 63_789_521
    assert content["layers"]["trainable"] == 2_561
    assert content["facts"] == {"Parameter tensors": "711, of which the first 709 are frozen"}
    text = invoke("show", "feature-extraction", "--preset", "source").stdout
    assert "efficientnet-b7" in text
    assert "711, of which the first 709 are frozen" in text
    assert "Total parameters      63,789,521" in text
    assert "Trainable parameters  2,561" in text
