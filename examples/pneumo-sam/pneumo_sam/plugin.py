"""Registers the extension ``sam``. Imported at every start of the program, so it imports little."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ExtensionSpec, hookimpl

api_version = 1


@hookimpl
def register_extensions() -> Iterable[ExtensionSpec]:
    """Off unless ``--with sam`` asks for it."""
    yield ExtensionSpec(
        name="sam",
        summary="Sharpness-aware minimization: two passes per step, towards flat minima (Foret et al. 2021)",
        factory="pneumo_sam.sam:SharpnessAware",
        settings="pneumo_sam.settings:SamSettings",
    )
