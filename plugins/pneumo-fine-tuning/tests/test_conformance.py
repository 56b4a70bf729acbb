"""What every trainer does, asked of this one: images anew in every epoch, and frozen stages computed once."""

from __future__ import annotations

from typing import ClassVar

from pneumo_cli.testing import TrainerConformance

SMALL = {"model": "mobilenet-v3-small", "weights": "none", "image_size": 32, "batch_size": 16}


class TestAugmented(TrainerConformance):
    name = "fine-tuning"
    settings: ClassVar = SMALL


class TestCachedViews(TrainerConformance):
    name = "fine-tuning"
    settings: ClassVar = {**SMALL, "feature_views": 2}


class TestEverythingOfTheStrongPreset(TrainerConformance):
    """Averaged weights, a schedule per update, layer-wise rates: all of it resumes to the same bits."""

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
        "flip_test": True,
        "standardize": True,
        "zoom": 0.2,
        "shift": 0.1,
        "gamma": 0.3,
        "border": 0.1,
        "blur": 1.0,
        "feature_views": 2,
    }
