"""Registers the dataset ``phantom``."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import DatasetSpec, hookimpl

api_version = 1


@hookimpl
def register_datasets() -> Iterable[DatasetSpec]:
    yield DatasetSpec(
        name="phantom",
        summary="Synthetic paediatric chest radiographs, generated from simulated anatomy; no download",
        factory="pneumo_phantom.dataset:open_dataset",
        synthetic=True,
        settings="pneumo_phantom.settings:PhantomSettings",
    )
