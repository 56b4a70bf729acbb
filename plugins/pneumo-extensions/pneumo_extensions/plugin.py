"""Registers the extensions. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ExtensionSpec, hookimpl

api_version = 1


@hookimpl
def register_extensions() -> Iterable[ExtensionSpec]:
    """Early stopping, mixup and compilation."""
    yield ExtensionSpec(
        name="early-stopping",
        summary="Ends training when the monitored metric has stopped improving",
        factory="pneumo_extensions.early_stopping:EarlyStopping",
        settings="pneumo_extensions.settings:EarlyStoppingSettings",
    )
    yield ExtensionSpec(
        name="mixup",
        summary="Trains on mixtures of two images and their labels (Zhang et al. 2018)",
        factory="pneumo_extensions.mixup:Mixup",
        settings="pneumo_extensions.settings:MixupSettings",
    )
    yield ExtensionSpec(
        name="compile",
        summary="Compiles the training step's forward and backward passes with torch.compile",
        factory="pneumo_extensions.compiled:Compile",
        settings="pneumo_extensions.settings:CompileSettings",
    )
