"""A plugin that ends the program in the middle of its work: ``sys.exit(0)`` in a training step is no success."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import FrameType

from pneumo_cli.errors import PneumoError

_OWN = "pneumo_cli"


def is_failure(error: BaseException) -> bool:
    """Whether a SystemExit or GeneratorExit comes from the work of a command, not from a plugin's own command.

    A command's function may end the program with an exit code of its own. Below it, pneumo called a plugin's code.
    """
    if not isinstance(error, SystemExit):
        return True
    modules = [_module(frame) for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(name.startswith(f"{_OWN}.") and not name.startswith(f"{_OWN}.cli.") for name in modules)


def exit_failure(error: BaseException) -> PneumoError:
    """An error that names the code that raised a SystemExit or GeneratorExit, and its distribution."""
    value = f"({error.code!r})" if isinstance(error, SystemExit) else ""
    raised = f"{type(error).__name__}{value}"
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if distribution := _plugin_of(_module(frame).partition(".")[0]):
            where = f"{Path(frame.f_code.co_filename).name}, line {line}, in {frame.f_code.co_name}"
            return PneumoError(f"the plugin {distribution} ended the program with {raised} ({where})")
    frame, line = list(traceback.walk_tb(error.__traceback__))[-1]
    return PneumoError(f"{raised} ended the program ({frame.f_code.co_filename}, line {line})")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _plugin_of(package: str) -> str:
    """The distribution, with its version, of a plugin that a package is of; empty if it is no plugin's."""
    from importlib.metadata import entry_points

    if package == _OWN:
        return ""
    for point in entry_points(group="pneumo"):
        own = point.dist
        if own is not None and point.module.partition(".")[0] == package:
            return f"{own.name} {own.version}"
    return ""
