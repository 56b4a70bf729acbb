"""Registers the observer ``mlflow``. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ObserverSpec, hookimpl

api_version = 1


@hookimpl
def register_observers() -> Iterable[ObserverSpec]:
    """One tracker."""
    yield ObserverSpec(
        name="mlflow",
        summary="Records settings, metrics and figures with MLflow",
        factory="pneumo_mlflow.tracker:MLflow",
        settings="pneumo_mlflow.settings:MLflowSettings",
    )
