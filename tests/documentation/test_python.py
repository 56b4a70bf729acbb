"""Python in pages and docstrings compiles, and what it takes from pneumo exists."""

from __future__ import annotations

import ast
import importlib
import re
import textwrap
from collections.abc import Iterator

import pytest

from tests.documentation.pages import MODULES, PAGES, docstrings, python_blocks, text_of

WITH_PYTHON = [page for page in PAGES if any(python_blocks(text_of(page)))]


def taken(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """Module and name of everything that a program takes from pneumo."""
    aliases = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "pneumo_cli":
                    importlib.import_module(alias.name)
                    aliases[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else "pneumo_cli"
                    )
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "pneumo_cli":
            yield from ((str(node.module), alias.name) for alias in node.names)
    aliases.setdefault("pneumo", "pneumo_cli")  # pages import it once
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in aliases:
            yield aliases[node.value.id], node.attr


def check(code: str) -> None:
    for module, name in taken(ast.parse(textwrap.dedent(code))):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")  # a module, or an error that names what is missing


@pytest.mark.parametrize("page", WITH_PYTHON)
def test_python_of_a_page_compiles_and_takes_what_there_is(page: str) -> None:
    for block in python_blocks(text_of(page)):
        check(block)


def test_python_of_docstrings_compiles_and_takes_what_there_is() -> None:
    count = 0
    for module in MODULES:
        for text in docstrings(module):
            for block in re.findall(r"^Example[^\n]*::\n\n((?:    [^\n]*\n?|\n)+)", text, re.MULTILINE):
                check(block)
                count += 1
    assert count > 30


@pytest.mark.parametrize(
    "code", ["def f(:", "from pneumo_cli.data import Dataste", "pneumo.rnu('cnn')", "import pneumo_cli.dta"]
)
def test_wrong_python_is_found(code: str) -> None:
    with pytest.raises((SyntaxError, ImportError)):
        check(code)
