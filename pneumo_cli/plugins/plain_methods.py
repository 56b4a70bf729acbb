"""Methods of objects that a program gives or registers: what would not be called, or not in full, is refused."""

from __future__ import annotations

import difflib
import inspect
from types import ModuleType
from typing import Any

from pneumo_cli.plugins.hookspecs import LIFECYCLE_HOOKS, LifecycleHooks

_SIMILAR = 0.9  # epoch_finish, epoch_finnished; not epoch_ended
_YIELDING = "add_to_report"


def check_methods(plugin: object) -> None:
    """Refuse an object with methods that look like lifecycle hooks, and could not work as such.

    Raises:
        ValueError: one has nearly the name of a hook, is asynchronous or a generator, or has arguments that are
            never passed.
    """
    if isinstance(plugin, (ModuleType, type)):
        return
    for name in dir(type(plugin)):
        method = inspect.getattr_static(type(plugin), name)
        method = getattr(method, "__func__", method)  # of a static or class method
        if name.startswith("_") or not inspect.isroutine(method):
            continue
        if name in LIFECYCLE_HOOKS:
            _check_arguments(name, getattr(plugin, name))
        elif hasattr(method, "pneumo_impl"):
            continue  # the marker's name is checked with the hooks
        elif similar := difflib.get_close_matches(name, LIFECYCLE_HOOKS, n=1, cutoff=_SIMILAR):
            raise ValueError(
                f"its method {name} is not called: did you mean {similar[0]}? (begin its name with _ if it is "
                "for yourself)"
            )


def _check_arguments(name: str, method: Any) -> None:
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        raise ValueError(f"its method {name} is async, and hooks are not awaited")
    options = getattr(method, "pneumo_impl", None) or {}
    wraps = options.get("wrapper") or options.get("hookwrapper")
    if inspect.isgeneratorfunction(method) and name != _YIELDING and not wraps:
        raise ValueError(f"its method {name} has a yield, with which nothing of it is carried out")
    known = list(inspect.signature(getattr(LifecycleHooks, name)).parameters)[1:]
    takes = f"it takes {' and '.join(known)}, or some of these"
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    for one in inspect.signature(method).parameters.values():
        if one.kind in several:
            raise ValueError(f"its method {name} has *{one.name}, and {takes} by name")
        if one.name in known and one.default is not one.empty:
            raise ValueError(
                f"its method {name} has a default for {one.name}, which is then not passed; {takes}"
            )
        if one.name not in known and one.default is one.empty:
            raise ValueError(f"its method {name} takes {one.name!r}; {takes}")
