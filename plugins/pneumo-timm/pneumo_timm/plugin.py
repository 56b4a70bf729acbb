"""The plugin ``timm``: all models that the installed timm lists, as one family."""

from __future__ import annotations

from collections.abc import Iterable

from pneumo_cli.api import ModelFamily, hookimpl

api_version = 1


@hookimpl
def register_models() -> Iterable[ModelFamily]:
    """The family ``timm/``: its models are looked up in timm when one is named."""
    yield ModelFamily(
        name="timm",
        kind="classifier",
        summary="timm's image classifiers (ConvNeXt V2, DINOv2, ViT, ...): pneumo list-models timm/",
        members="pneumo_timm.catalog:members",
    )
