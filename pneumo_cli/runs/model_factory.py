"""Calling the factory of a registered model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Entry
from pneumo_cli.specs import ModelSpec, load_reference


def build_registered(entry: Entry[ModelSpec], options: Mapping[str, Any]) -> torch.nn.Module:
    """Call a registered model's factory with those options that it takes; its ``name`` is one of them.

    Raises:
        UsageError: the factory cannot be imported, fails, or returns no module.
    """
    who = f"the model {entry.spec.name} ({entry.provenance})"
    options = {**options, "name": entry.spec.name}
    try:
        factory = load_reference(entry.spec.factory)
    except Exception as error:
        raise UsageError(
            f"{who} cannot be imported from {entry.spec.factory}: {type(error).__name__}: {error}"
        ) from error
    taken = inspect.signature(factory).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        options = {name: value for name, value in options.items() if name in taken}
    try:
        model = factory(**options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{who} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"{who} returned {type(model).__name__}, not a torch.nn.Module")
    return model
