"""Every command that a page or a docstring names is parsed as if it were typed: flags, values, choices."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from conftest import write_distribution
from pneumo_cli.cli.main import build_app
from pneumo_cli.plugins.discovery import discover
from tests.documentation.pages import MODULES, PAGES, REPOSITORY, Line, commands, docstrings, text_of

PROBE = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="probe", summary="A trainer that pages make up", kind="classifier", model="cnn",
        trainer="nowhere:Probe", settings="pneumo_cli.settings.schema:ClassificationSettings",
        presets=(Preset(name="source", summary="As published"), Preset(name="quick", summary="Short")),
    )
"""
"""The trainer that authors are told to write."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The program with the bundled plugins and the examples, as if all were installed."""
    site, path = tmp_path_factory.mktemp("site"), list(sys.path)
    write_distribution(site, "pneumo-probe", {"probe": "made_up_probe"}, {"made_up_probe": PROBE})
    for project in sorted(REPOSITORY.glob("examples/*/pyproject.toml")):
        content = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        write_distribution(site, content["name"], content["entry-points"]["pneumo"])
        sys.path.append(str(project.parent))
    sys.path.append(str(site))
    try:
        plugins = discover()
        root = typer.main.get_command(build_app(plugins))
        yield root, typer.Context(root, info_name="pneumo", obj=plugins)
    finally:
        sys.path[:] = path


def parse(program: tuple[Any, Any], line: Line) -> None:
    """Parse a command; the settings of a trainer are resolved, too. Nothing is opened or run.

    Raises:
        PneumoError, or typer's usage error: as the program would.
    """
    command, context = program
    rest = [word for word in line.words if not word.startswith("--plugin=")]
    while "--plugin" in rest:
        del rest[(place := rest.index("--plugin")) : place + 2]
    if rest[:2] == ["run", "NAME"]:
        rest[1] = "cnn"
    if rest[0].startswith("-"):  # of the program itself: not parsed, for they act at once
        known = {
            flag for option in command.get_params(context) for flag in (*option.opts, *option.secondary_opts)
        }
        assert set(rest) <= known | {"--help"}, f"unknown: {' '.join(rest)}"
        return
    while rest and hasattr(command, "get_command") and not rest[0].startswith("-"):
        name, command, _ = command.resolve_command(context, rest)
        rest = rest[1:]
        if hasattr(command, "get_command"):
            context = typer.Context(command, info_name=name, parent=context, obj=context.obj)
    if not rest and not line.whole:
        return  # a sentence that names the command
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            own = command.make_context(line.words[0], rest, parent=context)
        except typer.Exit:  # --help, --version
            return
        if line.words[0] == "run" and "print_config" in own.params:
            own.params |= {"print_config": True, "config": None}
            own.command.invoke(own)


def is_placeholder(word: str) -> bool:
    """Whether a word stands for one of the reader's: ``PATH``, ``K``, ``…``."""
    return bool(re.search(r"…|\.\.\.|^[A-Z][A-Z0-9]*$", word))


def problems(program: Any, text: str) -> list[str]:
    """What the program would say of the commands of a text."""
    found = []
    for line in commands(text):
        try:
            parse(program, line)
        except Exception as error:
            message = error.format_message() if hasattr(error, "format_message") else str(error)
            named = any(is_placeholder(word) and word in message for word in line.words)
            unfinished = (
                not line.whole and "Missing" in message
            )  # a sentence that names some of the arguments
            if not (named or unfinished):
                found.append(f"pneumo {' '.join(line.words)}: {message}")
    return found


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_a_page_are_what_the_program_accepts(
    page: str, program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert problems(program, text_of(page)) == []


def test_commands_of_docstrings_are_what_the_program_accepts(
    program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = []
    for module in MODULES:
        for text in docstrings(module):
            found += [f"{module}: {one}" for one in problems(program, text.replace("``", "`"))]
    assert found == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("run cnn --epochs", "argument"),
        ("run cnn --epochs many", "epochs"),
        ("run cnn --epochs 0", "epochs"),
        ("run cnn --preset fast", "preset"),
        ("run cnn --epoch 3", "epoch"),
        ("run cnn --schedule steep", "schedule"),
        ("predict", "Missing"),
        ("data chek", "chek"),
        ("resume runs/one --epochs many", "epochs"),
    ],
)
def test_a_wrong_command_in_a_page_is_found(
    command: str, message: str, program: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (found,) = problems(program, f"Type this:\n\n    pneumo {command}\n")
    assert message in found
