"""The flags of a command, made from a settings model.

The flags carry text; only the settings model parses and checks it, so that a wrong value gets the same message
whether it came from a flag, the environment or a file.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pneumo_cli.cli.path_arguments import with_homes
from pneumo_cli.settings.renamed import RENAMED, SWITCHES


def parameters(
    settings: type[BaseModel], panel: str, defaults: Mapping[str, Any], only: Iterable[str] | None = None
) -> list[inspect.Parameter]:
    """One keyword parameter per field, for a typer command's ``__signature__``.

    Args:
        panel: the section of the flags in ``--help``.
        defaults: defaults to show instead of the fields' own.
        only: the fields to take; None: all.
    """
    chosen = settings.model_fields if only is None else {n: settings.model_fields[n] for n in only}
    current = [_parameter(name, info, panel, defaults) for name, info in chosen.items()]
    former = {old: chosen[new] for old, new in RENAMED.items() if new in chosen and old not in chosen}
    switches = [old for old, switch in SWITCHES.items() if switch.name in chosen and old not in chosen]
    return [
        *current,
        *(_parameter(name, info, panel, defaults, hidden=True) for name, info in former.items()),
        *(_parameter(name, _SWITCH, panel, {}, hidden=True) for name in switches),
    ]


def with_parameters(function: Callable[..., None], flags: list[inspect.Parameter]) -> Callable[..., None]:
    """Give a function that takes ``**values`` the signature that typer reads."""
    function.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]
    return with_homes(function)


def _parameter(
    name: str, info: FieldInfo, panel: str, defaults: Mapping[str, Any], *, hidden: bool = False
) -> inspect.Parameter:
    kind = _unwrapped(info.annotation)
    flag = "--" + name.replace("_", "-")
    default = defaults.get(name, info.get_default(call_default_factory=True))
    text = (info.description or "").replace("[", r"\[")
    bounds = _bounds(info)
    if text.partition(" ")[0][-1:] not in (",", ":"):  # else it begins with a value, such as "auto: …"
        text = text[:1].upper() + text[1:]
    text += f" ({bounds})." if bounds else "."
    shown: Any = str(default) if default not in (None, "") else False
    options: dict[str, Any] = {"help": text, "rich_help_panel": panel, "hidden": hidden}
    if kind is bool:
        names = (f"{flag}/--no-{flag.removeprefix('--')}",)
        shown = "yes" if default else "no"
        annotation: Any = Annotated[bool | None, typer.Option(*names, show_default=shown, **options)]
    else:
        choices = [str(choice) for choice in get_args(kind)] if get_origin(kind) is Literal else []
        options["metavar"] = "|".join(choices) if choices else _METAVARS.get(kind, "TEXT")
        if choices:
            options["autocompletion"] = _completing(choices)
        annotation = Annotated[str | None, typer.Option(flag, show_default=shown, **options)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


_SWITCH = FieldInfo(annotation=bool, default=None)
"""A former yes-or-no flag."""
_METAVARS: dict[Any, str] = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}


def _completing(choices: list[str]) -> Callable[[str], list[str]]:
    def complete(incomplete: str) -> list[str]:
        return [choice for choice in choices if choice.startswith(incomplete)]

    return complete


def _unwrapped(annotation: Any) -> Any:
    """The type behind ``X | None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [argument for argument in get_args(annotation) if argument is not type(None)]
        return inner[0] if len(inner) == 1 else str
    return annotation


def _bounds(info: FieldInfo) -> str:
    """The field's bounds in words: ``at least 1, at most 9``."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(
        f"{word} {value:g}"
        for constraint in info.metadata
        for attribute, word in words.items()
        if (value := getattr(constraint, attribute, None)) is not None and abs(value) < 2**31
    )
