"""What ``pneumo show`` says of each setting: type, default, bounds, choices, flag and variable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from pneumo_cli.cli.flags import bounds_in_words, bounds_of
from pneumo_cli.cli.output import cell_text, print_table
from pneumo_cli.settings.field_types import plain, type_of
from pneumo_cli.settings.parts import flag, flat_name
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


def print_details(cls: type[BaseModel], part: str = "") -> None:
    """Print a table of the settings of a class."""
    rows = []
    for one in setting_details(cls, part):
        words = bounds_in_words(cls.model_fields[one["name"]])
        kind = "|".join(map(str, one["choices"])) or one["type"]
        default = "" if one["default"] is None else cell_text(one["default"])
        rows.append([one["flag"], f"{kind} ({words})" if words else kind, default, one["description"]])
    print_table(["setting", "type", "default", "meaning"], rows)
