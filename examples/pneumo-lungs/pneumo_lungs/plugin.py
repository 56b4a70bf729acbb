"""Registers the dataset ``phantom-lungs``, the trainer ``segmentation`` and its network."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import DatasetSpec, ModelSpec, Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_datasets() -> Iterable[DatasetSpec]:
    """Images with a mask instead of a class."""
    yield DatasetSpec(
        name="phantom-lungs",
        summary="Synthetic chest radiographs with a mask of the lungs",
        factory="pneumo_lungs.dataset:open_dataset",
        settings="pneumo_lungs.settings:CohortSettings",
        synthetic=True,
    )


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Models of a kind of its own: images to one logit per pixel."""
    yield TrainerSpec(
        name="segmentation",
        summary="Segmentation of what a dataset has masks of, such as the lungs",
        trainer="pneumo_lungs.trainer:SegmentationTrainer",
        settings="pneumo_lungs.settings:SegmentationSettings",
        kind="segmenter",
        model="small-unet",
        presets=(Preset(name="quick", summary="Minutes on two CPU cores: 64 px, 6 epochs"),),
    )


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """A small U-Net."""
    yield ModelSpec(
        name="small-unet",
        kind="segmenter",
        summary="U-Net of four levels, 16 to 128 channels, 0.5 million parameters",
        factory="pneumo_lungs.model:build_unet",
    )
