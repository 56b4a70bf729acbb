"""Registers the trainer ``autoencoder`` and the models ``autoencoder`` and ``vae``.

:mod:`pneumo_autoencoder.trainer` has the three task hooks.
"""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ModelSpec, Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Task 5 of the report."""
    yield TrainerSpec(
        name="autoencoder",
        summary="Autoencoder that compresses and reconstructs radiographs of one class",
        trainer="pneumo_autoencoder.trainer:AutoencoderTrainer",
        settings="pneumo_autoencoder.settings:AutoencoderSettings",
        kind="autoencoder",
        model="autoencoder",
        presets=(
            Preset(name="source", summary="The report's recipe: 256 px, 100 epochs, the last 20 % validate"),
            Preset(
                name="quick",
                summary="Minutes on two CPU cores: the report's network at 64 px, split by patient",
                values={
                    "image_size": 64,
                    "batch_size": 16,
                    "epochs": 8,
                    "split": "patient",
                },
            ),
            Preset(
                name="strong",
                summary="Variational autoencoder at 64 px with a latent of 128 values, which can generate images",
                values={
                    "model": "vae",
                    "image_size": 64,
                    "channels": 1,
                    "batch_size": 32,
                    "epochs": 60,
                    "ema": 0.998,
                    "beta": 0.3,
                    "shift": 0.03,
                    "zoom": 0.05,
                    "brightness": 0.1,
                    "split": "patient",
                },
            ),
        ),
    )


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """The report's network (SOURCE 8), and a variational autoencoder."""
    yield ModelSpec(
        name="autoencoder",
        kind="autoencoder",
        summary="The report's convolutional autoencoder, 1,331,459 parameters; sizes divisible by 8",
        factory="pneumo_autoencoder.model:build_autoencoder",
    )
    yield ModelSpec(
        name="vae",
        kind="autoencoder",
        summary="Convolutional variational autoencoder with a vector as latent, generates images; 32 to 256 px",
        factory="pneumo_autoencoder.model:build_vae",
    )
