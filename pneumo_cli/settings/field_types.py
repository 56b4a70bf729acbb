"""The types that a setting may have (listed in :mod:`pneumo_cli.settings.schema`), and how text becomes a value.

Flags and environment variables are text, and files hold what TOML has. Every type here can be written in all of
them and read back to the same value. Must not import torch.
"""

from __future__ import annotations

import json
import types
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

_SCALARS: dict[Any, str] = {bool: "bool", int: "int", float: "float", str: "str", Path: "path"}
_LISTS: tuple[Any, ...] = (list, tuple)
SUPPORTED = "bool, int, float, str, Path, Literal, Enum, X | None, and lists and tuples of these"


@dataclass(frozen=True)
class FieldType:
    """The type of a setting.

    Attributes:
        scalar: ``bool``, ``int``, ``float``, ``str``, ``Path``, a Literal or an Enum; of a list, that of its items.
        choices: the values of a Literal or an Enum, by their text; empty for other types.
        is_list: whether it is a list or tuple.
        optional: whether it may be None.
    """

    scalar: Any
    choices: dict[str, Any]
    is_list: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """In one word, as ``pneumo show --json`` has it: ``int``, ``choice``, ``list of float``."""
        one = "choice" if self.choices else _SCALARS[self.scalar]
        return f"list of {one}" if self.is_list else one

    def read(self, value: Any) -> Any:
        """What pydantic can check, from the text of a flag or variable, or from what a file has."""
        if not self.is_list:
            return self._item(value)
        items = split_list(value) if isinstance(value, str) else value
        return [self._item(item) for item in items] if isinstance(items, _LISTS) else items

    def _item(self, value: Any) -> Any:
        return self.choices.get(value, value) if isinstance(value, str) else value


def split_list(text: str) -> list[Any]:
    """The items of a list in text: separated by commas, or in JSON, where items may have commas themselves."""
    if text.lstrip().startswith("["):
        try:
            return list(json.loads(text))
        except (ValueError, RecursionError):
            pass  # "[a],b" are two texts
    return [item.strip() for item in text.split(",")] if text.strip() else []


def field_type(annotation: Any) -> FieldType:
    """Read the type of a setting.

    Raises:
        TypeError: it is none that can be written and read everywhere; says what to use.
    """
    annotation = _bare(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if len(inner) > 1 or len(inner) == len(arguments):
            raise TypeError(f"{_name(annotation)} is a union of several types: choose one of them")
        return replace(field_type(inner[0]), optional=True)
    if annotation in _LISTS or origin in _LISTS:
        items = [_bare(argument) for argument in arguments if argument is not Ellipsis]
        if not items:
            raise TypeError(f"{_name(annotation)} does not say of what: use list[int] or tuple[str, ...]")
        if any(item != items[0] for item in items):
            raise TypeError(f"{_name(annotation)} has items of several types: use a setting for each")
        one = field_type(items[0])
        if one.is_list or one.optional:
            raise TypeError(f"{_name(annotation)} has items that are no scalars: {SUPPORTED}")
        return replace(one, is_list=True)
    if origin is Literal:
        return FieldType(annotation, _choices(annotation, arguments))
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return FieldType(annotation, _choices(annotation, [member.value for member in annotation]))
    if annotation not in _SCALARS:
        raise TypeError(f"{_name(annotation)} is no type of a setting: {SUPPORTED}")
    return FieldType(annotation, {})


def _bare(annotation: Any) -> Any:
    """The type without the bounds of ``Annotated[int, Field(ge=1)]``."""
    while get_origin(annotation) is Annotated:
        annotation = get_args(annotation)[0]
    return annotation


def _choices(annotation: Any, values: Any) -> dict[str, Any]:
    wrong = [value for value in values if isinstance(value, bool) or not isinstance(value, (str, int))]
    if wrong:
        raise TypeError(
            f"{_name(annotation)} has the choice {wrong[0]!r}: choices are texts or whole numbers"
        )
    choices = {str(value): value for value in values}
    if len(choices) < len(list(values)) or not choices:
        raise TypeError(f"{_name(annotation)} has {'two choices of one text' if choices else 'no choices'}")
    return choices


def _name(annotation: Any) -> str:
    return (
        annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)
    )


@lru_cache(maxsize=4096)
def type_of(cls: Any, name: str) -> FieldType | None:
    """The type of a field of a settings class; None if it is none of those supported."""
    try:
        return field_type(cls.model_fields[name].annotation)
    except TypeError:
        return None


def plain(value: Any, *, absolute: bool = True) -> Any:
    """A value of a setting as a TOML type.

    Args:
        absolute: whether paths become absolute.
    """
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value.absolute() if absolute else value)
    if isinstance(value, _LISTS):
        return [plain(item, absolute=absolute) for item in value]
    return value


def to_text(value: Any) -> str:
    """A plain value as a flag or an environment variable writes it."""
    if isinstance(value, list):
        return json.dumps(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
