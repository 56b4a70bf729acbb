"""Registers the trainer ``diffusion`` and the model ``denoising-unet``. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ModelSpec, Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Denoising diffusion, of one class or conditional on the class."""
    yield TrainerSpec(
        name="diffusion",
        summary="Denoising diffusion that generates radiographs, of one class or of a class of choice",
        trainer="pneumo_diffusion.trainer:DiffusionTrainer",
        settings="pneumo_diffusion.settings:DiffusionSettings",
        kind="diffusion",
        model="denoising-unet",
        presets=(
            Preset(name="standard", summary="32 px, 300 epochs: an hour on one CPU core"),
            Preset(
                name="quick",
                summary="Six minutes on one CPU core: narrower and shorter",
                values={"width": 48, "epochs": 150},
            ),
        ),
    )


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """One network; ``diffusion`` is a kind that this package adds."""
    yield ModelSpec(
        name="denoising-unet",
        kind="diffusion",
        summary="U-Net on 2 x 2 patches with attention at the coarsest level; sides that are multiples of 8",
        factory="pneumo_diffusion.model:build_unet",
    )
