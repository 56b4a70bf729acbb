"""What can be said of each setting of a class: type, default, bounds, choices, flag and variable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pneumo_cli.registry import Registries
from pneumo_cli.settings.field_types import plain, type_of
from pneumo_cli.settings.parts import flag, flat_name
from pneumo_cli.settings.schema import SAMPLINGS, SPLITS
from pneumo_cli.settings.sources import variable


def setting_details(
    cls: type[BaseModel], part: str = "", choices: Mapping[str, Sequence[str]] | None = None
) -> list[dict[str, Any]]:
    """One entry per setting of a class, as JSON types.

    Args:
        part: the extension or observer whose settings they are; empty: they have no prefix.
        choices: the known values of texts that may have others, too.
    """
    details = []
    for name, info in cls.model_fields.items():
        own = type_of(cls, name)
        default = info.get_default(call_default_factory=True, validated_data={})
        flat = flat_name(part, name) if part else name
        details.append(
            {
                "name": name,
                "type": own.name if own is not None else "text",
                "optional": own is not None and own.optional,
                "default": plain(default, absolute=False),
                "bounds": bounds_of(info),
                "choices": list(
                    own.choices.values() if own is not None and own.choices else (choices or {}).get(name, ())
                ),
                "description": info.description or "",
                "flag": flag(flat),
                "variable": variable(flat),
            }
        )
    return details


def known_choices(registries: Registries) -> dict[str, list[str]]:
    """The known values of the settings whose values plugins may add."""
    return {
        "split": [*SPLITS, *registries.splits.named()],
        "sampling": [*SAMPLINGS, *registries.samplers.named()],
    }


def bounds_of(info: FieldInfo) -> dict[str, Any]:
    """A field's bounds: ``ge``, ``gt``, ``le``, ``lt``, and the lengths of a text or list."""
    names = ("ge", "gt", "le", "lt", "min_length", "max_length")
    found = {
        name: value
        for constraint in info.metadata
        for name in names
        if isinstance(value := getattr(constraint, name, None), (int, float)) and math.isfinite(value)
    }
    return {name: found[name] for name in names if name in found}


def bounds_in_words(bounds: Mapping[str, Any]) -> str:
    """Bounds of a value: ``at least 1, at most 9``."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(
        f"{words[name]} {value:g}" for name, value in bounds.items() if name in words and abs(value) < 2**31
    )


def type_in_words(setting: Mapping[str, Any]) -> str:
    """The type, or the choices, and the bounds of an entry of :func:`setting_details`: ``int (at least 1)``."""
    kind = "|".join(map(str, setting["choices"])) or setting["type"]
    words = bounds_in_words(setting["bounds"])
    return f"{kind} ({words})" if words else kind
