"""What a package hands on: the names in its stub, imported when somebody asks for one.

``__init__.pyi`` of a room is the statement of its public names, for people and type checkers alike. Reading it at
the first request, and not importing there, keeps rooms light for those who need one module of them.
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
    """The public names of a package, each with the module that it lies in.

    Args:
        package: such as ``pneumo_cli.data``, imported.
    """
    stub = Path(str(sys.modules[package].__file__)).with_suffix(".pyi")
    tree = ast.parse(stub.read_text(encoding="utf-8"))
    return {
        alias.name: str(node.module)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def exporting(package: str, otherwise: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """``__getattr__`` for a package.

    Args:
        otherwise: asked for a name that is not public.
    """

    def find(name: str) -> Any:
        if not name.startswith("__"):
            home = public_names(package).get(name)
            if home is not None:
                return getattr(importlib.import_module(home), name)
            if otherwise is not None:
                return otherwise(name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find
