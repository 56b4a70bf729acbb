"""Values from all sources, with their origins, validated by their settings class. Errors name the origin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from pydantic import ValidationError

from pneumo_cli.errors import UsageError, nearest, shown
from pneumo_cli.settings.classes import part_class
from pneumo_cli.settings.parts import PartEntry, flag, flat_name
from pneumo_cli.settings.schema import DatasetSettings, MachineSettings, PartSettings, TrainerSettings
from pneumo_cli.settings.sources import FileValues, variable

AnySettings: TypeAlias = TrainerSettings | DatasetSettings | PartSettings | MachineSettings
SettingsClass: TypeAlias = type[AnySettings]


class LayeredValues(NamedTuple):
    """The values of a settings class before they are validated, with their origins.

    ``table`` stands before their names in messages and records: ``mixup.``.
    """

    cls: SettingsClass
    values: Mapping[str, Any]
    origins: Mapping[str, str]
    table: str = ""


def part_values(
    entry: PartEntry,
    file: FileValues,
    environment: Mapping[str, str],
    flags: Mapping[str, Mapping[str, Any]],
) -> LayeredValues:
    """The values of an extension or observer, from its table, the environment and flags.

    Raises:
        UsageError: the table has an unknown name.
    """
    part, cls = entry.spec.name, part_class(entry)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(cls.model_fields, "default")
    for name, value in file.tables.get(part, {}).items():
        if name not in cls.model_fields:
            raise UsageError(
                f"{file.label}: [{part}]: unknown setting {name!r}; {nearest(name, cls.model_fields)}"
            )
        values[name], origins[name] = value, file.label
    for name in cls.model_fields:
        flat = flat_name(part, name)
        if flat in environment:
            values[name], origins[name] = environment[flat], variable(flat)
        if name in flags.get(part, {}):
            values[name], origins[name] = flags[part][name], flag(flat)
    return LayeredValues(cls, values, origins, f"{part}.")


def validated(layered: Sequence[LayeredValues]) -> list[Any]:
    """An instance of each class.

    Raises:
        UsageError: names every value that is refused, and its origin.
    """
    problems, instances = [], []
    for one in layered:
        own = {name: value for name, value in one.values.items() if name in one.cls.model_fields}
        try:
            instances.append(one.cls(**own))
        except ValidationError as error:
            problems.append(_explain(error, one))
        except Exception as error:  # of a plugin's validator
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            problems.append(f"{one.cls.__module__}.{one.cls.__name__} fails: {reason}")
    if problems:
        raise UsageError("; ".join(problems))
    return instances


def _explain(error: ValidationError, layered: LayeredValues) -> str:
    parts = []
    for item in error.errors(include_url=False):
        message = " ".join(item["msg"].removeprefix("Value error, ").split())
        message = message[:1].lower() + message[1:]
        if item["loc"]:
            name, *place = item["loc"]
            origin = layered.origins.get(str(name), "default")
            number = f"item {place[0] + 1} of " if place and isinstance(place[0], int) else ""
            message = f"{number}{layered.table}{name} = {shown(item['input'])} ({origin}): {message}"
        elif layered.table:
            message = f"{layered.table.removesuffix('.')}: {message}"
        parts.append(message)  # without a place: settings that do not fit together, which the message names
    return "; ".join(parts)
