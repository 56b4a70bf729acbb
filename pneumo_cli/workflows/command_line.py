"""The command line that asks for the same as a call of a function, and the values that its flags carry."""

from __future__ import annotations

import os
import sys
from enum import Enum
from pathlib import Path
from typing import Any

from pneumo_cli.settings.field_types import plain, to_text
from pneumo_cli.settings.parts import flag, flat_name
from pneumo_cli.settings.resolve import Resolved, plain_values


def flag_value(value: Any) -> Any:
    """A value of Python as flags carry it: text, so that it is read and refused in the same way.

    Scalars of NumPy and torch are what they stand for, arrays are lists, and a ``torch.device`` is its name. What
    is nothing of a flag stays as it is: the settings refuse it.
    """
    if hasattr(value, "tolist"):
        value = value.tolist()
    if (torch := sys.modules.get("torch")) is not None and isinstance(value, torch.device):
        return str(value)
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, (list, tuple)):
        return [flag_value(item) for item in value]
    if isinstance(value, str):
        return str(value)  # NumPy's texts show themselves as np.str_('…') in messages
    return to_text(value) if isinstance(value, (bool, int, float)) else value


def command_line(command: str, *arguments: str | os.PathLike[str], **flags: Any) -> list[str]:
    """The words of a command, from ``pneumo`` on.

    Args:
        flags: by name; None: not given. A bool becomes ``--NAME`` or ``--no-NAME``, a list one JSON text.
    """
    words = ["pneumo", command, *(os.fspath(one) for one in arguments)]
    for name, value in flags.items():
        if isinstance(value, bool):
            words.append(flag(name) if value else f"--no-{flag(name).removeprefix('--')}")
        elif value is not None:
            words += [flag(name), to_text(plain(value))]
    return words


def run_command(trainer: str, resolved: Resolved, *, preset: str | None, config: Path | None) -> list[str]:
    """The command of a run whose settings were given by a function call.

    Args:
        trainer: as it was named.
        preset, config: as they were named; the config's path becomes absolute.
    """
    given: dict[str, Any] = {}
    for settings in (resolved.trainer, resolved.options, resolved.machine):
        own = plain_values(settings)
        given |= {name: own[name] for name in own if resolved.origins[name] == flag(name)}
    for part in resolved.parts:
        own = {flat_name(part.name, name): value for name, value in plain_values(part.settings).items()}
        given |= {name: own[name] for name in own if flag(name) in resolved.origins.values()}
    parts = [part.asked_as or part.name for part in resolved.parts]
    asked = ",".join(parts) if resolved.origins.get("with") == "--with" else None
    where = None if config is None else config.absolute()
    return command_line("run", trainer, preset=preset, config=where, **{"with": asked}, **given)
