"""The request that ``open_predictor`` receives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pneumo_cli.registry import Registries


@dataclass(frozen=True)
class PredictorRequest:
    """How a trained model is to be opened.

    Attributes:
        registries: everything that is installed, by name.
        operating_point: name of the operating point to decide at; empty: the model's own.
        checkpoint: ``best`` or ``last``.
        flags: settings that replace the model's own, such as ``device``.
        overlays: whether saliency maps will be requested.
    """

    registries: Registries
    operating_point: str = ""
    checkpoint: str = "best"
    flags: Mapping[str, Any] = field(default_factory=dict)
    overlays: bool = False
