"""Functions that plugins add: ``pneumo_cli.compare`` of pneumo-compare, and so on."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

from pneumo_cli._exports import public_names
from pneumo_cli.errors import EXITS, nearest, with_type
from pneumo_cli.installation import absent_text, bundled_in
from pneumo_cli.registry import Entry
from pneumo_cli.specs import FunctionSpec, load_reference
from pneumo_cli.workflows.argument_types import checking
from pneumo_cli.workflows.background import carried_out, stoppable
from pneumo_cli.workflows.caller import Caller
from pneumo_cli.workflows.display import progress_for
from pneumo_cli.workflows.failures import one_line_errors
from pneumo_cli.workflows.installed import installed, loading

_PACKAGE = "pneumo_cli"
Result = TypeVar("Result")
_checking = lru_cache(checking)  # so that each use of a name gets the same function


def find(name: str) -> Any:
    """The function of a plugin.

    What it raises is a :class:`~pneumo_cli.errors.PneumoError` of one line.

    Raises:
        AttributeError: no installed plugin has it; the distribution that does is named.
    """
    missing = f"module {_PACKAGE!r} has no attribute {name!r}"
    if loading():
        raise AttributeError(missing)
    plugins = installed()
    for entry in plugins.functions.entries():
        if entry.spec.name == name:
            return _made(entry)
    if bundled := bundled_in("function", name):
        raise AttributeError(f"{missing}: it {absent_text(bundled, plugins.why_absent(bundled))}")
    similar = nearest(name, [*public_names(_PACKAGE), *plugins.functions.names()])
    raise AttributeError(f"{missing}; {similar}" if similar.startswith("did") else missing)


def names() -> list[str]:
    """The names of all functions of plugins."""
    return [] if loading() else installed().functions.names()


def _made(entry: Entry[FunctionSpec]) -> Callable[..., Any]:
    spec = entry.spec
    try:
        function = load_reference(spec.function)
    except (Exception, *EXITS) as error:
        raise AttributeError(
            f"the function {spec.name} ({entry.provenance}) cannot be imported from {spec.function}: "
            f"{with_type(error)}"
        ) from error
    found: Callable[..., Any] = _checking(function)
    return found


def carry_out(work: Callable[[Caller], Result], progress: bool | None = None) -> Result:
    """The result of a function's work, which Ctrl-C stops in good order, with its progress shown.

    Args:
        work: called with what the one who asks has: the plugins, and where progress is shown.
        progress: whether it is shown; None: as it suits a notebook, a terminal or a log.

    Raises:
        PneumoError: it failed, whatever the work raises.
    """
    with one_line_errors(), progress_for(progress) as shown:
        caller = Caller(
            installed(), (), stoppable(shown.progress), console=shown.console, displays=shown.observers
        )
        return carried_out(lambda: work(caller))
