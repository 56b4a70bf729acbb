"""Everything that a plugin module imports. Imports neither torch nor pydantic.

A whole plugin package is two files. ``pyproject.toml`` names the plugin module::

    [project]
    name = "pneumo-tiny"
    version = "0.1.0"
    dependencies = ["pneumo-cli"]

    [project.entry-points.pneumo]
    tiny = "pneumo_tiny.plugin"

and ``pneumo_tiny/plugin.py`` registers what it adds::

    from pneumo_cli.api import ModelSpec, hookimpl

    api_version = 1

    @hookimpl
    def register_models():
        yield ModelSpec(
            name="tiny", kind="classifier", summary="Two layers", factory="pneumo_tiny.model:build"
        )

``pip install`` it, and ``pneumo list-models`` shows it. All hooks: :mod:`pneumo_cli.plugins.hookspecs`.
"""

from __future__ import annotations

import pluggy

from pneumo_cli.specs import (
    DatasetSpec,
    DecoderSpec,
    ExtensionSpec,
    ExtractorSpec,
    FunctionSpec,
    HealthCheck,
    ModelFamily,
    ModelSpec,
    ObserverSpec,
    Preset,
    SamplerSpec,
    SplitSpec,
    TrainerSpec,
)

__all__ = [
    "API_VERSION",
    "DatasetSpec",
    "DecoderSpec",
    "ExtensionSpec",
    "ExtractorSpec",
    "FunctionSpec",
    "HealthCheck",
    "ModelFamily",
    "ModelSpec",
    "ObserverSpec",
    "Preset",
    "SamplerSpec",
    "SplitSpec",
    "TrainerSpec",
    "hookimpl",
]

API_VERSION = 1
"""The version of the hooks. A plugin module states the one it was written for as ``api_version``."""

hookimpl = pluggy.HookimplMarker("pneumo")
"""Marks a function, or a method, as the implementation of the hook of its name."""
