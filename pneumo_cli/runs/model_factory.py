"""Building registered models."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Entry
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.specs import ModelSpec, load_reference


def build_registered(entry: Entry[ModelSpec], options: Mapping[str, Any]) -> torch.nn.Module:
    """Call a registered model's factory with those of the options, ``name`` among them, that it takes.

    Raises:
        UsageError: the factory cannot be imported, fails, or returns no module.
    """
    who = f"the model {entry.spec.name} ({entry.provenance})"
    options = {**options, "name": entry.spec.name}
    with plugin_errors(f"{who} cannot be imported from {entry.spec.factory}"):
        factory = load_reference(entry.spec.factory)
    parameters = inspect.signature(factory).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        options = {name: value for name, value in options.items() if name in parameters}
    with plugin_errors(f"{who} cannot be built", passing=(UsageError,)):
        model = factory(**options)
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"{who} returned {type(model).__name__}, not a torch.nn.Module")
    return model
