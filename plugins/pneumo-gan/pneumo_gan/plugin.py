"""Registers the trainer ``gan`` and the models ``gan`` and ``dcgan``.

:mod:`pneumo_gan.trainer` has the three task hooks.
"""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ModelSpec, Preset, TrainerSpec, hookimpl

api_version = 1

_PHANTOMS = {"phantom": {"train_images": 5232}}
"""As many images as the report's data, and so as many updates per epoch."""


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Task 4 of the report."""
    yield TrainerSpec(
        name="gan",
        summary="Generative adversarial network that generates radiographs of one class",
        trainer="pneumo_gan.trainer:GanTrainer",
        settings="pneumo_gan.settings:GanSettings",
        kind="gan",
        model="gan",
        presets=(
            Preset(
                name="source",
                summary="The report's recipe: 32 px, 200 epochs, all training images",
                options=_PHANTOMS,
            ),
            Preset(
                name="quick",
                summary="A minute on two CPU cores: the report's networks, small batches, EMA of the weights",
                values={
                    "epochs": 40,
                    "batch_size": 32,
                    "lr": 0.0002,
                    "beta1": 0.5,
                    "beta2": 0.99,
                    "ema": 0.995,
                },
            ),
            Preset(
                name="strong",
                summary="Convolutional networks at 64 px, EMA of the weights, split by patient, best KID",
                values={
                    "model": "dcgan",
                    "image_size": 64,
                    "epochs": 100,
                    "batch_size": 32,
                    "lr": 0.0002,
                    "lr_ratio": 2.0,
                    "beta1": 0.5,
                    "beta2": 0.99,
                    "ema": 0.998,
                    "r1": 0.05,
                    "r1_every": 16,
                    "translate": 0.06,
                    "split": "patient",
                    "keep": "kid",
                },
                options=_PHANTOMS,
            ),
        ),
    )


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """The report's networks (SOURCE 7), and a convolutional pair."""
    yield ModelSpec(
        name="gan",
        kind="gan",
        summary="The report's two multilayer perceptrons, 1.7 million parameters each at 32 px; any size",
        factory="pneumo_gan.model:build_gan",
    )
    yield ModelSpec(
        name="dcgan",
        kind="gan",
        summary="Convolutional generator and discriminator, 16 to 256 px",
        factory="pneumo_gan.model:build_dcgan",
    )
