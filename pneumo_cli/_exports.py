"""Lazy public names of a package: those in its stub, each imported when it is first used.

The ``__init__.pyi`` states the public names for readers and type checkers. It is read at the first use of a name,
so that importing one module of a package stays cheap.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any


@cache
def public_names(package: str) -> dict[str, str]:
    """The public names of an imported package such as ``pneumo_cli.data``, each with its module."""
    stub = Path(str(sys.modules[package].__file__)).with_suffix(".pyi")
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return {
        alias.name: str(node.module)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def has_name(package: str, name: str) -> bool:
    """Whether a package has a public name, or a module, of this name."""
    return name in public_names(package) or importlib.util.find_spec(f"{package}.{name}") is not None


def exporting(package: str, otherwise: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """Return ``__getattr__`` for a package; ``otherwise`` is called with names that are not public."""

    def find(name: str) -> Any:
        if not name.startswith("__"):
            if home := public_names(package).get(name):
                return getattr(importlib.import_module(home), name)
            if otherwise is not None:
                return otherwise(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find


class _CallablePackage(ModuleType):
    """A package that can be called as the public function of its name: ``pneumo_cli.runs(folder)``."""

    def _function(self) -> Callable[..., Any]:
        package, _, name = self.__name__.rpartition(".")
        found: Callable[..., Any] = getattr(importlib.import_module(public_names(package)[name]), name)
        return found

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._function()(*arguments, **options)

    @property
    def __signature__(self) -> Any:
        from inspect import signature  # here, since every command imports this module

        return signature(self._function())

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        name = self.__name__.rpartition(".")[2]
        own = f"As a package: {vars(self).get('__doc__')}"
        signature = str(self.__signature__).replace("'", "")
        return f"{name}{signature}\n\n{self._function().__doc__}\n{own}"


def make_callable(package: str) -> None:
    """Let an imported package be called as the public function that has its name, in the package above it."""
    sys.modules[package].__class__ = _CallablePackage
