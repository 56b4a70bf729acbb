"""The tests that every command of a plugin has to pass."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import typer

from pneumo_cli.cli.main import build_app
from pneumo_cli.plugins.discovery import Plugin, Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.testing.contract import ensure, keeping, skip, some
from pneumo_cli.testing.program import invoke
from pneumo_cli.testing.suite import Conformance, run_python

_HELP = """
import sys
from pneumo_cli.cli.main import main
sys.argv = ["pneumo", *{words!r}, "--help"]
try:
    main()
finally:
    print({{"torch", "matplotlib", "pandas"}} & set(sys.modules) or "", file=sys.stderr)
"""


@dataclass(frozen=True)
class PluginCommand:
    """A command that a plugin adds.

    Attributes:
        name: its words: ``data audit``.
    """

    name: str


class CommandConformance(Conformance):
    """The tests that every command has to pass::

        class TestAudit(CommandConformance):
            name = "data audit"

    Attributes:
        name: its words after ``pneumo``.
        arguments: of an invocation that succeeds in an empty folder; None: it is not tried.
    """

    arguments: ClassVar[Sequence[str] | None] = None

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[Any]:
        """The command under test."""
        for words, plugin in plugin_commands(plugins):
            if words == self.name:
                command: Any = PluginCommand(self.name)
                return Entry(command, plugin.provenance)
        ensure(
            False, f"a plugin adds the command {self.name}", "none does", "add it in register_commands(app)"
        )
        raise AssertionError

    @pytest.fixture
    def command(self, plugins: Plugins, entry: Entry[Any]) -> Any:
        """The command that typer makes of it."""
        found: Any = typer.main.get_command(build_app(plugins))
        for word in self.name.split():
            found = found.get_command(typer.Context(found), word) if hasattr(found, "get_command") else None
            taken = "its name is free, and it is not that of a command of pneumo or of another plugin"
            ensure(found, f"pneumo {self.name} is a command", "there is none", taken)
        return found.make_context("pneumo", [], resilient_parsing=True).command

    def test_it_and_its_options_are_explained(self, command: Any) -> None:
        mend = "write a docstring, and typer.Option(help=…) for each option"
        told = (command.help or "").strip()
        ensure(told, "a command has a help text", f"{self.name} has none", mend)
        bare = [option.opts[0] for option in command.params if option.opts[0][0] == "-" and not option.help]
        ensure(not bare, "every option of a command has a help text", f"{some(bare)} has none", mend)

    def test_help_imports_nothing_heavy(self, command: Any) -> None:
        code = _HELP.format(words=self.name.split())
        done = run_python(code)
        ensure(
            not done.returncode and not done.stderr.strip().splitlines()[-1:],
            "--help of a command ends without an error, and imports neither torch, matplotlib nor pandas",
            done.stderr.strip()[-300:],
            "import them within the function that carries the command out",
        )

    def test_a_wrong_flag_is_one_line_and_exit_code_2(self, plugins: Plugins, command: Any) -> None:
        if any(getattr(option, "ignore_unknown_options", False) for option in command.params):
            skip(f"{self.name} takes any flag")
        ended = invoke(*self.name.split(), "--no-such-flag", plugins=plugins)
        lines = [line for line in ended.stderr.splitlines() if "no-such-flag" in line.lower()]
        ensure(
            ended.code == 2 and len(lines) == 1 and "Traceback" not in ended.stderr,
            "misuse of a command is one line on stderr and exit code 2",
            f"exit code {ended.code}: {ended.stderr.strip()[-300:]}",
            "raise UsageError, and leave the flags to typer",
        )

    def test_it_ends_with_its_results_on_stdout(
        self, plugins: Plugins, command: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if self.arguments is None:
            pytest.skip('it is not tried: set arguments = ("…",) in the test class')
        monkeypatch.chdir(tmp_path)
        ended = invoke(*self.name.split(), *self.arguments, plugins=plugins)
        ensure(
            ended.code == 0,
            "a command with these arguments ends with exit code 0",
            f"exit code {ended.code}: {ended.stderr.strip()[-300:]}",
            "mend what it raises, or correct arguments",
        )
        if "--json" in self.arguments:
            mend = "print one JSON document on stdout, and everything else on stderr"
            with keeping("--json prints JSON alone on stdout", mend):
                json.loads(ended.stdout)


def plugin_commands(plugins: Plugins) -> list[tuple[str, Plugin]]:
    """The words of each command that plugins add, with the plugin; without those of a plugin that fails."""
    found: list[tuple[str, Plugin]] = []

    def receive(plugin: Plugin, given: Sequence[Any]) -> None:
        found.extend((words, plugin) for words in _words(given[0]))

    known = len(plugins.problems)
    plugins.extend("register_commands", lambda: (typer.Typer(),), receive, app=typer.Typer())
    del plugins.problems[known:]  # who builds the program has them already
    return found


def _words(app: typer.Typer, before: str = "") -> list[str]:
    found = []
    for command in app.registered_commands:
        name = command.name or (command.callback.__name__.replace("_", "-") if command.callback else "")
        if not command.hidden:
            found.append(before + name)
    for group in app.registered_groups:
        if group.typer_instance is not None:
            name = str(group.name or group.typer_instance.info.name or "")
            found += _words(group.typer_instance, f"{before}{name} ")
    return found
