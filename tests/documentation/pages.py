"""The pages that people write: Markdown and notebooks, of the whole repository, and what is in them."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
_PLACES = (
    "*.md",
    "docs/*.md",
    "docs/[a-z]*/*.md",
    "docs/tutorials/*.ipynb",
    "plugins/*/*.md",
    "examples/*/*.md",
    "tests/fixtures/*.md",
)
_MADE = ("docs/reference/", "docs/project/")
PAGES = [
    name
    for place in _PLACES
    for path in sorted(REPOSITORY.glob(place))
    if not (name := path.relative_to(REPOSITORY).as_posix()).startswith(_MADE)
]
MODULES = [
    path.relative_to(REPOSITORY).as_posix()
    for place in ("pneumo_cli/**/*.py", "plugins/*/pneumo_*/**/*.py")
    for path in sorted(REPOSITORY.glob(place))
]


@dataclass(frozen=True)
class Line:
    """A command of a page.

    Attributes:
        words: after ``pneumo``.
        whole: True if it stands in a block, to be typed; False if a sentence mentions it.
    """

    words: list[str]
    whole: bool


def text_of(page: str) -> str:
    """The Markdown of a page; of a notebook that of its cells, with code cells as fenced blocks."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    if not page.endswith(".ipynb"):
        return text
    parts = []
    for one in json.loads(text)["cells"]:
        source = "".join(one["source"])
        if one["cell_type"] == "code":
            shell = source.startswith("%%")
            source = f"```{'text' if shell else 'python'}\n{source}\n```"
        parts.append(source)
    return "\n\n".join(parts)


def lines(text: str) -> Iterator[tuple[str, bool]]:
    """Lines of indented and fenced blocks (True), and code within sentences (False)."""
    fence, paragraph = "", []
    for line in [*re.sub(r"\\\n\s*", "", text).splitlines(), ""]:
        mark = re.match(r"\s*(```+|:::+)", line)
        if mark and mark[1].startswith("```"):
            fence = "" if fence else mark[1]
        elif fence or line.startswith("    "):
            yield line.strip(), True
        elif line.strip():
            paragraph.append(line.strip())
            continue
        for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", " ".join(paragraph)):
            yield code, False
        paragraph = []


_START = re.compile(
    r"(?:^|\| |&& |;\s)(?:[!$] ?)?(?:[A-Z_]+=\S+ )*(?:pneumo|\S*python3? -m pneumo_cli|torchrun .*-m pneumo_cli)"
    r" ([a-z-][^|#>;]*)"
)


def commands(text: str) -> Iterator[Line]:
    """Each command of a page, without comments."""
    for line, whole in lines(text):
        for found in _START.findall(line):
            yield Line(shlex.split(re.split(r"\s{3,}|&&", found)[0]), whole)


def python_blocks(text: str) -> Iterator[str]:
    """The Python blocks of a page, without lines for IPython."""
    for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield re.sub(r"^[!%].*$", "", block, flags=re.MULTILINE)


def docstrings(module: str) -> Iterator[str]:
    """The docstrings of a module, its classes and functions."""
    tree = ast.parse((REPOSITORY / module).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            text = ast.get_docstring(node)
            if text:
                yield text
