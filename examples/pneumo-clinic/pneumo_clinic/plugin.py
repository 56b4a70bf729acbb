"""Registers the dataset ``clinic``. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import DatasetSpec, hookimpl

api_version = 1


@hookimpl
def register_datasets() -> Iterable[DatasetSpec]:
    """The archive of a clinic: a table of studies and a folder of films."""
    yield DatasetSpec(
        name="clinic",
        summary="Radiographs of a clinic: films/ and the table studies.csv",
        factory="pneumo_clinic.dataset:open_clinic",
        needs_root=True,
        instructions="name the folder or zip file that holds studies.csv and films/ with --data-root",
        settings="pneumo_clinic.settings:ClinicSettings",
        recognize="pneumo_clinic.settings:is_clinic",
    )
