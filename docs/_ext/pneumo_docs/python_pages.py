"""Pages of hooks, functions and public names, which autodoc fills in from the docstrings."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sphinx.pycode import ModuleAnalyzer

import pneumo_cli
from pneumo_cli import errors
from pneumo_cli._exports import public_names
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.plugins.hookspecs import HOOKS
from pneumo_docs.markdown import code, page, plain, table, toctree

_NAMED_IN_MODULES = ("pneumo_cli.api", "pneumo_cli.testing")
"""Public packages that list their names as ``__all__``."""
_TITLES = {
    "RegistrationHooks": "Registration hooks",
    "TaskHooks": "Task hooks",
    "AroundHooks": "Around hooks",
    "LifecycleHooks": "Lifecycle hooks",
    "ProgramHooks": "Program hooks",
}


def rooms() -> list[str]:
    """The packages that have public names, the front door first."""
    package = Path(pneumo_cli.__file__).parent
    stubs = [
        ".".join(stub.parent.relative_to(package.parent).parts) for stub in package.rglob("__init__.pyi")
    ]
    return sorted([*stubs, *_NAMED_IN_MODULES])


def names_of(room: str) -> list[str]:
    """The public names of a package, sorted."""
    module = importlib.import_module(room)
    return sorted(module.__all__ if room in _NAMED_IN_MODULES else public_names(room), key=str.lower)


def hook_page() -> str:
    """Every hook, with its docstring and example."""
    parts = []
    for group in HOOKS:
        text = inspect.getdoc(group) or ""
        methods = [name for name in vars(group) if not name.startswith("_")]
        parts += [f"## {_TITLES[group.__name__]}", _rst([text])]
        for name in methods:
            parts += [
                f"### {code(name)}",
                _rst([f".. automethod:: {group.__module__}.{group.__name__}.{name}"]),
            ]
    text = inspect.getdoc(importlib.import_module(HOOKS[1].__module__)) or ""
    introduction = (
        "A plugin implements hooks with `@hookimpl`; [writing a plugin](../plugins.md) begins with a whole "
    )
    introduction += "one, and [objects](../objects.md) says what hooks receive."
    return page("Hooks", introduction, _rst([text.partition("\n\n")[2]]), *parts)


def _rst(lines: Iterable[str]) -> str:
    return "\n".join(["```{eval-rst}", *lines, "```"])


def python_pages(plugins: Plugins) -> dict[str, str]:
    """The pages of the Python API, by the names of their files."""
    found = rooms()
    pages = {f"python/{_file(room)}": _room_page(room) for room in found if room != "pneumo_cli"}
    own = [name for name in names_of("pneumo_cli") if inspect.isfunction(_found("pneumo_cli", name)[1])]
    classes = [name for name in names_of("pneumo_cli") if name not in own]
    added = [
        (
            code(f"pneumo.{entry.spec.name}"),
            _distribution(entry.provenance.distribution),
            plain(entry.spec.summary),
        )
        for entry in plugins.functions.entries()
    ]
    references = [entry.spec.function.replace(":", ".") for entry in plugins.functions.entries()]
    pages["python/index"] = page(
        "Python",
        "```python\nimport pneumo_cli as pneumo\n\n"
        'result = pneumo.run("cnn", preset="quick", dataset="phantom")\nresult.metrics["test"]["auc"]\n```',
        "The functions have the names and the settings of the commands and give the same numbers. "
        "What goes wrong is an exception with the line that the command prints "
        "([errors and exit codes](../exit-codes.md)).",
        "## Functions",
        _rst(_directives("pneumo_cli", own)),
        "## Functions of plugins",
        table(("Function", "From", "What it does"), added) or "No installed plugin adds functions.",
        _rst(f".. autofunction:: {reference}\n" for reference in references) if references else "",
        "## Results and errors",
        _rst(_directives("pneumo_cli", classes)),
        "## Public names",
        "What plugins and scripts import; all of them in one table: [public names](../../public-names.md).",
        "\n".join(f"- [`{room}`]({_file(room)}.md)" for room in found if room != "pneumo_cli"),
        toctree(_file(room) for room in found if room != "pneumo_cli"),
    )
    return pages


def _distribution(name: str) -> str:
    return f"[{name}](../plugins/{name}.md)"


def _file(room: str) -> str:
    return room.rpartition(".")[2]


def _room_page(room: str) -> str:
    source = Path(str(importlib.import_module(room).__file__)).read_text(encoding="utf-8")
    text = (
        ast.get_docstring(ast.parse(source)) or ""
    )  # a package that can be called, too, shows its function's
    return page(code(room), _rst([text]), _rst(_directives(room, names_of(room))))


def _directives(room: str, names: Sequence[str]) -> list[str]:
    lines = []
    for name in names:
        home, value = _found(room, name)
        if not (inspect.isclass(value) or inspect.isroutine(value)):
            lines += [f".. py:data:: {room}.{name}", "", f"   {_attribute_text(room, name)}", ""]
            continue
        lines += [f".. {_directive(value)}:: {home}.{name}"]
        if inspect.isclass(value) and not hasattr(value, "model_fields"):
            lines += ["   :members:"]
        lines += [""]
    return lines


def _found(room: str, name: str) -> tuple[str, Any]:
    """The module to import a public name from, and its value. A module of the name hides it in its package."""
    hidden = room not in _NAMED_IN_MODULES and importlib.util.find_spec(f"{room}.{name}") is not None
    home = public_names(room)[name] if hidden else room
    return home, getattr(importlib.import_module(home), name)


def _directive(value: Any) -> str:
    if inspect.isclass(value):
        return "autoexception" if issubclass(value, BaseException) else "autoclass"
    return "autofunction"


def _attribute_text(room: str, name: str) -> str:
    """The string below a constant, in whichever module of its package it is."""
    for module in [*sys.modules]:
        if module.startswith(room) and name in vars(sys.modules[module]):
            texts = ModuleAnalyzer.for_module(module).find_attr_docs()
            if text := texts.get(("", name)):
                return " ".join(" ".join(text).split())
    return ""


def error_page() -> str:
    """The errors of one hierarchy, with the exit codes of commands that end by them."""
    found = [
        value
        for value in vars(errors).values()
        if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == errors.__name__
    ]
    rows = []
    for one in found:
        number = getattr(one, "exit_code", None)
        exit_code = "130 (Ctrl-C), 143 (SIGTERM)" if one is errors.Interrupted else str(number or "")
        text = " ".join((inspect.getdoc(one) or "").replace("``", "`").split())
        rows.append((code(one.__name__), code(one.__bases__[0].__name__), exit_code, plain(text)))
    return page(
        "Errors and exit codes",
        "In Python what goes wrong is one of these exceptions, whose text is one line; a command prints that line "
        "and ends with the exit code. 0: it has done what it was asked. `PNEUMO_DEBUG=1` shows tracebacks.",
        table(("Error", "Is a", "Exit code", "When"), rows),
        "A command that has done its work and found something says so with 1, too: `pneumo data check` and "
        "`pneumo data audit` (problems), `pneumo predict` (unreadable files), `pneumo check` (broken rules).",
    )
