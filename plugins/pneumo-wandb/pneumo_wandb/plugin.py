"""Registers the observer ``wandb``. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ObserverSpec, hookimpl

api_version = 1


@hookimpl
def register_observers() -> Iterable[ObserverSpec]:
    """One tracker."""
    yield ObserverSpec(
        name="wandb",
        summary="Records settings, metrics and figures with Weights & Biases",
        factory="pneumo_wandb.tracker:Wandb",
        settings="pneumo_wandb.settings:WandbSettings",
    )
