"""Registers the trainer ``cnn`` and the model ``cnn``.

Imported at every start of the program, so it names heavy modules and does not import them.
:mod:`pneumo_cnn.trainer` says where the three task hooks come from.
"""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ModelSpec, Preset, TrainerSpec, hookimpl
from pneumo_cli.settings import STRONG

api_version = 1


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Task 1 of the report."""
    yield TrainerSpec(
        name="cnn",
        summary="Convolutional network trained from scratch",
        trainer="pneumo_cnn.trainer:CnnTrainer",
        settings="pneumo_cnn.settings:CnnSettings",
        kind="classifier",
        model="cnn",
        presets=(
            Preset(
                name="source",
                summary="The report's recipe: 256 px, image-level split, best validation accuracy",
            ),
            Preset(
                name="quick",
                summary="Minutes on two CPU cores: 64 px, split by patient, best AUC",
                values={
                    "image_size": 64,
                    "epochs": 3,
                    "lr_step": 1,
                    "lr_gamma": 0.6,
                    "rotation": 10.0,
                    "split": "patient",
                    "monitor": "auc",
                },
            ),
            Preset(
                name="strong",
                summary="Our best: 128 px, scanner augmentation, subtypes, EMA of the weights, best AUC",
                values={
                    **STRONG,
                    "image_size": 128,
                    "epochs": 12,
                    "batch_size": 16,
                    "lr": 0.001,
                },
            ),
        ),
    )


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """The report's network (SOURCE 3)."""
    yield ModelSpec(
        name="cnn",
        kind="classifier",
        summary="Four stages of two 3x3 convolutions, 64 to 512 channels, 4.7 million parameters",
        factory="pneumo_cnn.model:build_cnn",
    )
