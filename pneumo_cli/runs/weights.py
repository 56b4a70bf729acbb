"""The weights of a checkpoint, and loading them into a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pneumo_cli.errors import UsageError


def evaluation_weights(state: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint that its run is evaluated with: their moving average if there is one."""
    average = state.get("average")
    if not average:
        return dict(state["model"])
    prefix = "module."  # AveragedModel's
    return {name.removeprefix(prefix): value for name, value in average.items() if name.startswith(prefix)}


def load_weights(model: torch.nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Load a checkpoint's weights into a model.

    Raises:
        UsageError: they are those of another model.
    """
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"the checkpoint does not fit the model that the installed plugins build: {reason}"
        ) from error
