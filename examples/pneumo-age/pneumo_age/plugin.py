"""Registers the dataset ``phantom-age``, the trainer ``age`` and its network. Imported at every start."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import DatasetSpec, ModelSpec, Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_datasets() -> Iterable[DatasetSpec]:
    """Images with a number instead of a class."""
    yield DatasetSpec(
        name="phantom-age",
        summary="Synthetic chest radiographs with the age of each child",
        factory="pneumo_age.dataset:open_dataset",
        settings="pneumo_age.settings:CohortSettings",
        synthetic=True,
    )


@hookimpl
def register_trainers() -> Iterable[TrainerSpec]:
    """Any registered classifier can be its network: a number is one output, as a logit is."""
    yield TrainerSpec(
        name="age",
        summary="Regression of a number that the dataset gives, such as the age",
        trainer="pneumo_age.trainer:AgeTrainer",
        settings="pneumo_age.settings:AgeSettings",
        kind="classifier",
        model="age-net",
        presets=(Preset(name="quick", summary="Minutes on two CPU cores: 96 px, 25 epochs"),),
    )


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """A small network."""
    yield ModelSpec(
        name="age-net",
        kind="classifier",
        summary="Five convolutions and one linear layer, 0.4 million parameters",
        factory="pneumo_age.model:build_net",
    )
