"""``~`` in the paths of a command line, where the shell leaves it: ``--out=~/x``. Settings expand their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, get_args

from pneumo_cli.errors import UsageError
from pneumo_cli.runtime.home import expand_home


def with_homes(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same command, called with ``~`` expanded in its paths: values of type Path, and lists of PATH texts."""

    @wraps(command)
    def expanding(**values: Any) -> Any:
        lists = _lists_of_paths(command)
        return command(**{name: _expanded(value, name in lists) for name, value in values.items()})

    return expanding


def _lists_of_paths(command: Callable[..., Any]) -> set[str]:
    """The parameters that take several paths or globs as text, whose metavar is PATH."""
    parameters = inspect.signature(command, eval_str=True).parameters
    return {
        name
        for name, parameter in parameters.items()
        if any(getattr(info, "metavar", None) == "PATH" for info in get_args(parameter.annotation))
    }


def _expanded(value: Any, paths: bool) -> Any:
    """A path, or each of several, with ``~`` expanded; anything else as it is.

    Args:
        paths: whether the texts of a list are paths.

    Raises:
        UsageError: a home folder is not known.
    """
    if isinstance(value, (list, tuple)):
        kinds = (Path, str) if paths else Path
        return type(value)(_with_home(item) if isinstance(item, kinds) else item for item in value)
    return _with_home(value) if isinstance(value, Path) else value


def _with_home(path: Any) -> Any:
    try:
        return type(path)(expand_home(str(path)))
    except ValueError as error:
        raise UsageError(f"{str(path)!r}: {error}") from None
