"""The plugin ``torchvision``: its classifiers, from one table."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ModelSpec, hookimpl
from pneumo_torchvision.families import FAMILIES

api_version = 1

_MODULE = "pneumo_torchvision.models"


@hookimpl
def register_models() -> Iterable[ModelSpec]:
    """One model per row of the table."""
    for name, family in FAMILIES.items():
        yield ModelSpec(
            name=name,
            kind="classifier",
            summary=family.summary,
            factory=f"{_MODULE}:build",
            weights=f"{_MODULE}:imagenet",
            stages=f"{_MODULE}:stages",
        )
