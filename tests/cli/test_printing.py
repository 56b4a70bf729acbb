"""Texts leave the program through functions that escape control characters, and not by ``print``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from pneumo_cli.cli.output import json_text, print_line, print_table, print_text

ROOT = Path(__file__).parents[2]
PRINTERS = {
    "pneumo_cli/runtime/terminal.py",
    "pneumo_cli/cli/output.py",
    "pneumo_cli/plugins/console.py",  # its only print escapes
    "pneumo_cli/cli/prediction_output.py",  # JSON, piece by piece
    "pneumo_cli/cli/main.py",  # help, which is made of lines
    "pneumo_cli/cli/runs.py",  # TOML, which escapes by itself
    "plugins/pneumo-author/pneumo_author/commands.py",  # escapes each line
    "plugins/pneumo-sweep/pneumo_sweep/study.py",  # a number, into a file
}


def prints(path: Path) -> Iterator[int]:
    """The lines of a file that print something else than fixed texts."""
    calls = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == "print":
            yield from [call.lineno] * (not all(isinstance(given, ast.Constant) for given in call.args))


def test_no_other_module_prints_what_may_hold_a_name_from_data_or_plugins() -> None:
    paths = [*ROOT.glob("pneumo_cli/**/*.py"), *ROOT.glob("plugins/*/pneumo_*/**/*.py")]
    found = [
        f"{name}:{line}"
        for path in paths
        if (name := path.relative_to(ROOT).as_posix()) not in PRINTERS
        for line in prints(path)
    ]
    assert not found, "use print_message (runtime/terminal), or print_text or print_line (cli/output)"


HOSTILE = "a\x1b[2J\r\nforged\u202egnp\x9b\x7f"


def test_texts_and_tables_hold_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    print_text(HOSTILE)
    print_line(HOSTILE)
    print_table(["name", "value"], [[HOSTILE, 1], ["b", HOSTILE]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert all(line.isprintable() for line in lines)
    assert lines[0] == lines[1] == r"a\x1b[2J\r\nforged\u202egnp\x9b\x7f"


def test_json_keeps_exact_values_and_shows_no_control_character() -> None:
    import json

    for indent in (None, 2):
        shown = json_text({HOSTILE: ["胸 é", "\U000e0001"]}, indent)
        assert json.loads(shown) == {HOSTILE: ["胸 é", "\U000e0001"]}
        assert shown.replace("\n", "").isprintable()
