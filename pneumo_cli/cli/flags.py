"""The flags of a command, made from a settings model.

The flags carry text; only the settings model parses and checks it, so that a wrong value gets the same message
whether it came from a flag, the environment or a file.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import BaseModel

from pneumo_cli.cli.path_arguments import with_homes
from pneumo_cli.settings.classes import RESERVED, part_class
from pneumo_cli.settings.details import bounds_in_words, bounds_of
from pneumo_cli.settings.field_types import FieldType, plain, split_list, to_text, type_of
from pneumo_cli.settings.parts import flag, kind_of, part_fields, shared_names
from pneumo_cli.settings.renamed import RENAMED, SWITCHES
from pneumo_cli.settings.schema import TrainerSettings

if TYPE_CHECKING:
    from pneumo_cli.registry import Registries


def parameters(
    settings: type[BaseModel],
    panel: str,
    defaults: Mapping[str, Any],
    only: Iterable[str] | None = None,
    choices: Mapping[str, Sequence[str]] | None = None,
) -> list[inspect.Parameter]:
    """One keyword parameter per field, for a typer command's ``__signature__``.

    Args:
        panel: the section of the flags in ``--help``.
        defaults: defaults to show instead of the fields' own.
        only: the fields to take; None: all.
        choices: the values to show of texts for which there are known ones.
    """
    chosen = list(settings.model_fields) if only is None else list(only)

    def one(name: str, field: str, *, hidden: bool = False) -> inspect.Parameter:
        known = (choices or {}).get(field, ())
        return _parameter(name, settings, field, panel, defaults.get(field), known, hidden=hidden)

    former = {old: new for old, new in RENAMED.items() if new in chosen and old not in chosen}
    switches = [old for old, switch in SWITCHES.items() if switch.name in chosen and old not in chosen]
    return [
        *(one(name, name) for name in chosen),
        *(one(old, new, hidden=True) for old, new in former.items()),
        *(_parameter(old, TrainerSettings, _SWITCH, panel, False, hidden=True) for old in switches),
    ]


def part_parameters(registries: Registries, others: Collection[str]) -> list[inspect.Parameter]:
    """A keyword parameter for each setting of an installed extension or observer.

    Its flag is ``--NAME-FIELD``, and ``--FIELD`` where this is nothing else. Where several parts have this field,
    ``--FIELD`` is that of the one that takes part.

    Args:
        others: the names of all other parameters of the command.
    """
    taken = {*others, *RESERVED, *(f"no_{name}" for name in others)}
    fields = {name: owners for name, owners in part_fields(registries).items() if name not in taken}
    found = []
    for name, owners in fields.items():
        (entry, field), *_ = owners
        short = [
            other for other, own in fields.items() if field in (other, *(own_field for _, own_field in own))
        ]
        flags = [flag(name)] + ([flag(field)] if field not in taken and short == [name] else [])
        panel = f"{kind_of(entry).capitalize()} {entry.spec.name} (--with {entry.spec.name})"
        found.append(_parameter(name, part_class(entry), field, panel, None, flags=flags))
    for name, owners in shared_names(fields, taken).items():
        kinds = [type_of(part_class(entry), field) or _TEXT for entry, field in owners]
        if (
            len({(kind.is_list, kind.scalar is bool) for kind in kinds}) == 1
        ):  # else they are written differently
            found.append(_parameter(name, part_class(owners[0][0]), name, "", None, hidden=True))
    return found


def with_parameters(function: Callable[..., None], flags: list[inspect.Parameter]) -> Callable[..., None]:
    """Give a function that takes ``**values`` the signature that typer reads."""

    @functools.wraps(function)
    def called(*arguments: Any, **values: Any) -> None:
        function(*arguments, **with_lists(flags, values))

    called.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    return with_homes(called)


def with_lists(flags: Iterable[inspect.Parameter], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of flags, those of lists as settings read them.

    A list that is given once is a text, which the settings split; of one that is repeated the items of all texts.
    """
    joined = dict(values)
    for one in flags:
        # Not in a callback: typer makes a list of the characters of a text that it returns, and None of no items.
        if isinstance(one, _ListParameter) and (texts := joined.get(one.name)):
            several = [item for text in texts for item in split_list(text)]
            joined[one.name] = texts[0] if len(texts) == 1 else several
    return joined


class _ListParameter(inspect.Parameter):
    """The flag of a setting that is a list."""


def _parameter(
    name: str,
    settings: type[BaseModel],
    field: str,
    panel: str,
    default: Any,
    known: Sequence[str] = (),
    *,
    flags: Sequence[str] = (),
    hidden: bool = False,
) -> inspect.Parameter:
    """The parameter of a field.

    Args:
        default: to show in place of the field's own; None: its own.
        known: values to show.
        flags: if they are not that of the name.
    """
    info, own = settings.model_fields[field], type_of(settings, field) or _TEXT
    flags = flags or [flag(name)]
    if default is None:
        default = info.get_default(call_default_factory=True, validated_data={})
    text = (info.description or "").replace("[", r"\[")
    bounds = bounds_in_words(bounds_of(info))
    if text.partition(" ")[0][-1:] not in (",", ":"):  # else it begins with a value, such as "auto: …"
        text = text[:1].upper() + text[1:]
    text += f" ({bounds})." if bounds else "."
    options: dict[str, Any] = {"help": text, "rich_help_panel": panel, "hidden": hidden}
    if own.scalar is bool and not own.is_list:
        names = [f"{one}/--no-{one.removeprefix('--')}" for one in flags]
        shown: Any = "yes" if default else "no"
        annotation: Any = Annotated[bool | None, typer.Option(*names, show_default=shown, **options)]
    else:
        choices = list(known) or list(own.choices)
        metavar = "|".join(choices) if choices else _METAVARS.get(own.scalar, "TEXT")
        options["metavar"] = f"{metavar},..." if own.is_list else metavar
        options["show_default"] = _shown(plain(default, absolute=False)) or False
        if choices:
            options["autocompletion"] = _completing(choices)
        if own.is_list:
            annotation = Annotated[list[str] | None, typer.Option(*flags, **options)]
        else:
            annotation = Annotated[str | None, typer.Option(*flags, **options)]
    kind = _ListParameter if own.is_list else inspect.Parameter
    return kind(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_TEXT = FieldType(str, {})
_SWITCH = "evaluate_test"
"""A yes-or-no setting, for the flag of a former one."""
_METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}


def _completing(choices: list[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _shown(value: Any) -> str:
    """A plain default in ``--help``."""
    if isinstance(value, list):
        return ",".join(map(to_text, value))
    return "" if value is None else to_text(value)
