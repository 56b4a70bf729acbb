"""The trainer passes its conformance suite, with and without cached features, and the defaults are the report's."""

from __future__ import annotations

from typing import ClassVar

from pneumo_cli.testing import TrainerConformance, TrainerRunConformance
from pneumo_fine_tuning.settings import FineTuningSettings

SMALL = {"image_size": 32, "batch_size": 16}


class TestAugmented(TrainerConformance):
    name = "fine-tuning"
    settings: ClassVar = SMALL


class TestFrozenStagesComputedOnce(TrainerRunConformance):
    name = "fine-tuning"
    settings: ClassVar = {**SMALL, "model": "mobilenet-v3-small", "augment": False}


class TestCachedViews(TrainerRunConformance):
    name = "fine-tuning"
    settings: ClassVar = {**SMALL, "feature_views": 2}


class TestStrongSettings(TrainerRunConformance):
    """EMA, a schedule per update, layer-wise learning rates: all of it resumes to the same bits."""

    name = "fine-tuning"
    settings: ClassVar = {
        **SMALL,
        "optimizer": "adamw",
        "schedule": "cosine",
        "warmup": 0.5,
        "layer_decay": 0.9,
        "decay_norms": False,
        "ema": 0.9,
        "label_smoothing": 0.1,
        "flip_tta": True,
        "standardize": True,
        "zoom": 0.2,
        "shift": 0.1,
        "gamma": 0.3,
        "border": 0.1,
        "blur": 1.0,
        "feature_views": 2,
    }


def test_its_defaults_are_the_reports() -> None:
    s = FineTuningSettings()
    assert (s.freeze, s.freeze_mode, s.weights) == (0.66, "strict", "imagenet")
    assert (s.lr, s.epochs, s.batch_size, s.image_size) == (0.005, 20, 16, 256)
    assert (s.optimizer, s.momentum, s.nesterov, s.weight_decay) == ("sgd", 0.9, True, 1e-5)
    assert (s.schedule, s.lr_step, s.lr_gamma, s.monitor, s.augment) == ("step", 5, 0.5, "accuracy", True)
