"""Count the lines that a third party writes for each part, here and with two other frameworks.

The files are in ``examples/comparison``; the table is that of docs/comparison.md. A line counts if it is not blank,
no comment and no part of a docstring; configuration files count too.

    python examples/count_lines.py
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "comparison"
PARTS = {
    "model": "lenet",
    "dataset": "clinic",
    "observer": "journal",
    "extension": "sam",
    "trainer": "diffusion",
    "command": "rank_runs",
}
"""What is written, and the stem of its files."""
FRAMEWORKS = {"pneumo": "pneumo", "lightning": "LightningCLI", "monai": "MONAI bundle"}
"""Folders, and their titles in the table."""


def count_lines(path: Path) -> int:
    """The lines of code of a Python or YAML file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return sum(bool(line.strip()) and not line.strip().startswith("#") for line in text.splitlines())
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    skipped |= {tokenize.ENCODING, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        documented = isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        if documented and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            lines.difference_update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return len(lines)


def files_of(framework: str, part: str) -> list[Path]:
    """The files of a part."""
    return sorted(path for path in (FOLDER / framework).glob(f"{PARTS[part]}.*") if path.is_file())


def counts() -> dict[str, dict[str, int]]:
    """Lines by part and framework."""
    return {
        part: {name: sum(map(count_lines, files_of(name, part))) for name in FRAMEWORKS} for part in PARTS
    }


def table() -> str:
    """The table of docs/comparison.md."""
    rows = [("", *FRAMEWORKS.values()), ("---", *["---:"] * len(FRAMEWORKS))]
    rows += [(part, *map(str, numbers.values())) for part, numbers in counts().items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


if __name__ == "__main__":
    print(table())
