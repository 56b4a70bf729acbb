"""Lazy public names of a package: those in its stub, each imported when it is first used.

The ``__init__.pyi`` states the public names for readers and type checkers. It is read at the first use of a name,
so that importing one module of a package stays cheap.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
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
