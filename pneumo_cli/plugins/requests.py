"""What hooks are asked with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pneumo_cli.registry import Registries


@dataclass(frozen=True)
class PredictorRequest:
    """How a trained model is to be taken.

    Attributes:
        registries: everything that is installed, by name.
        operating_point: the name of the one to decide at; empty: the model's own.
        checkpoint: ``best`` or ``last``.
        flags: settings that replace the model's own, such as ``device``.
        overlays: whether maps of what each decision rests on will be asked for.
    """

    registries: Registries
    operating_point: str = ""
    checkpoint: str = "best"
    flags: Mapping[str, Any] = field(default_factory=dict)
    overlays: bool = False
