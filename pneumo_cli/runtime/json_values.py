"""Lenient readers for values from JSON and TOML files: nothing here raises.

A report may be from another version, or edited by hand; a value that is missing or of another type reads as empty.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any


def number(value: object) -> float | None:
    """A finite float; None for everything else (null, text, NaN, infinity, an int that is no float)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def number_ends(value: object) -> tuple[float, float] | None:
    """The two ends of an interval; None for everything else."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        return None
    low, high = number(value[0]), number(value[1])
    return None if low is None or high is None else (low, high)


def mapping(value: Any) -> Mapping[str, Any]:
    """The mapping; an empty one for everything else."""
    return value if isinstance(value, Mapping) else {}


def sequence(value: Any) -> Sequence[Any]:
    """The list; an empty one for everything else."""
    return value if isinstance(value, list | tuple) else ()


def text(value: Any) -> str:
    """The value as one line of text; empty for None."""
    return "" if value is None else " ".join(str(value).split())


def finite(value: Any) -> Any:
    """A JSON value with None in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def value_text(value: Any) -> str:
    """A setting's value as one would type it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str | int | float):
        return text(value) or "(empty)"
    return json.dumps(value, ensure_ascii=False, default=str)
