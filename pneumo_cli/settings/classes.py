"""The settings classes that plugins name: imported, and checked once.

A class that cannot be used is an error of its own plugin only, which names the distribution, the field and what to
use instead.
"""

from __future__ import annotations

import keyword
import re
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.registry import Entry
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.settings.field_types import field_type, plain, to_text
from pneumo_cli.settings.schema import DatasetSettings, MachineSettings, PartSettings, TrainerSettings
from pneumo_cli.specs import DatasetSpec, ExtensionSpec, ObserverSpec, TrainerSpec, load_reference

_Settings = TypeVar("_Settings", TrainerSettings, DatasetSettings, PartSettings)
RESERVED = frozenset(
    {
        *("config", "dry_run", "help", "json", "origin", "plugin", "preset", "print_config", "run"),
        *("trainer", "with"),
    }
)
"""Names of flags, keys and tables that are no settings."""


def settings_class(entry: Entry[TrainerSpec]) -> type[TrainerSettings]:
    """Import a trainer's settings class.

    Raises:
        UsageError: the plugin's reference does not lead to one, or it has a field that cannot be a setting.
    """
    return _imported(entry, TrainerSettings, f"the settings of trainer {entry.spec.name}")


def options_class(entry: Entry[DatasetSpec]) -> type[DatasetSettings]:
    """Import the class of a dataset's options; the base class, which has none, if it has no own.

    Raises:
        UsageError: the plugin's reference does not lead to one, or an option has the name of a setting.
    """
    spec = entry.spec
    if not spec.settings:
        return DatasetSettings
    cls = _imported(entry, DatasetSettings, f"the options of dataset {spec.name}")
    taken = cls.model_fields.keys() & TrainerSettings.model_fields.keys()
    if taken:
        raise UsageError(
            f"the option {min(taken)} of dataset {spec.name} ({entry.provenance}) has the name of a setting"
        )
    return cls


def part_class(entry: Entry[ExtensionSpec] | Entry[ObserverSpec]) -> type[PartSettings]:
    """Import the settings class of an extension or observer; the base class, which has none, if it has no own.

    Raises:
        UsageError: the plugin's reference does not lead to one, or it has a field that cannot be a setting.
    """
    if not entry.spec.settings:
        return PartSettings
    kind = "extension" if isinstance(entry.spec, ExtensionSpec) else "observer"
    return _imported(entry, PartSettings, f"the settings of {kind} {entry.spec.name}")


def _imported(entry: Entry[Any], base: type[_Settings], what: str) -> type[_Settings]:
    """Import the class that a spec names as its ``settings``, and check it.

    Args:
        base: of which it has to be a subclass.
        what: it describes, for messages.
    """
    reference = entry.spec.settings
    with plugin_errors(f"{what} ({entry.provenance}) cannot be imported from {reference}"):
        cls = load_reference(reference)
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(f"{reference} ({entry.provenance}) is not a subclass of {base.__name__}")
    if problem := _problem(cls):
        raise UsageError(f"{what} ({entry.provenance}, {reference}) cannot be used: {problem}")
    return cls


@lru_cache(maxsize=1024)
def _problem(cls: type[TrainerSettings | DatasetSettings | PartSettings]) -> str:
    """Why a settings class cannot be used, and what to use instead; empty if it can."""
    if hidden := getattr(cls, "__private_attributes__", None):
        return f"the field {min(hidden)} begins with an underscore and is no setting: rename it"
    reserved = (
        frozenset() if issubclass(cls, PartSettings) else RESERVED | MachineSettings.model_fields.keys()
    )
    for name, info in cls.model_fields.items():
        if name in reserved:
            return f"the field {name} has a name that pneumo uses itself: rename it"
        if reason := _field_problem(name, info):
            return f"the field {name} {reason}"
    for name in getattr(cls, "main_settings", None) or ():
        if name not in cls.model_fields:
            return f"main_settings names {name!r}, which is no field; {nearest(str(name), cls.model_fields)}"
    return _defaults_problem(cls)


def _field_problem(name: str, info: FieldInfo) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        return (
            "cannot be a flag and a variable: use lower-case letters, digits and underscores, and no keyword"
        )
    if info.alias or info.validation_alias or info.serialization_alias:
        return "has an alias: a setting has one name"
    try:
        field_type(info.annotation)
    except TypeError as error:
        return f"has a type that cannot be written as a flag or in a file: {error}"
    if info.is_required():
        return "has no default: every setting has one"
    return ""


def _defaults_problem(cls: type[TrainerSettings | DatasetSettings | PartSettings]) -> str:
    """What is wrong with the defaults: all of them have to be valid, also as text."""
    try:
        defaults = cls()
        again = cls()
        values: dict[str, Any] = {
            name: plain(getattr(defaults, name), absolute=False) for name in cls.model_fields
        }
        for name, value in values.items():
            if value is not None and field_type(cls.model_fields[name].annotation).optional:
                return f"the field {name} may be None, which nobody can write: use None as its default"
        if defaults != again:
            return "a default differs from call to call, so that ranks would not agree: use a fixed one"
        texts: dict[str, Any] = {name: to_text(value) for name, value in values.items() if value is not None}
        cls(**texts)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        if not first["loc"]:  # settings that do not fit together: something has to be chosen in each run
            return ""
        reason = " ".join(first["msg"].removeprefix("Value error, ").split())
        as_text = " as text" if isinstance(first["input"], str) else ""
        return f"the default {first['input']!r} of the field {first['loc'][0]} is refused{as_text}: {reason}"
    except Exception as error:
        return " ".join(f"its defaults fail: {type(error).__name__}: {error}".split())
    return ""
