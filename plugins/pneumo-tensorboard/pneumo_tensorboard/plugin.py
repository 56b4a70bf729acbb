"""Registers the observer ``tensorboard``. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ObserverSpec, hookimpl

api_version = 1


@hookimpl
def register_observers() -> Iterable[ObserverSpec]:
    """One tracker."""
    yield ObserverSpec(
        name="tensorboard",
        summary="Metrics and figures for TensorBoard, in the run folder",
        factory="pneumo_tensorboard.tracker:TensorBoard",
        settings="pneumo_tensorboard.settings:TensorBoardSettings",
    )
