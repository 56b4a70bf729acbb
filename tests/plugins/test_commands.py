"""Commands of plugins."""

from __future__ import annotations

import pytest

COMMAND = """
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl
def register_commands(app):
    @app.command()
    def {function}(name: str = "nobody"):
        "Greet."
        print("hello", name)
"""


def test_a_plugin_adds_a_command(install, pneumo) -> None:
    install("pneumo-greet", {"greet": "greet_plugin"}, {"greet_plugin": COMMAND.format(function="say_hello")})
    assert pneumo("say-hello", "--name", "you").stdout == "hello you\n"
    assert "say-hello" in pneumo("--help").stdout


@pytest.mark.parametrize("function", ["doctor", "list_models", "data", "run"])
def test_a_command_whose_name_is_taken_is_not_added(function: str, install, pneumo) -> None:
    install("pneumo-greet", {"greet": "greet_plugin"}, {"greet_plugin": COMMAND.format(function=function)})
    listed = pneumo("list-models")
    assert listed.code == 0
    dashed = function.replace("_", "-")
    assert listed.stderr == (
        f"pneumo: plugin greet (pneumo-greet 1.0): register: register_commands: "
        f"the command '{dashed}' exists already\n"
    )
    assert "tiny-net" in listed.stdout


def test_a_plugin_that_fails_to_add_its_command_does_not_affect_others(install, pneumo) -> None:
    source = COMMAND.format(function="hello").replace(
        "    @app", "    raise ValueError('not today')\n    @app"
    )
    install("pneumo-greet", {"greet": "greet_plugin"}, {"greet_plugin": source})
    listed = pneumo("list-models")
    assert listed.code == 0
    assert "not today" in listed.stderr


def test_of_two_commands_of_one_name_the_first_one_registered_is_kept(install, pneumo) -> None:
    command = """
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl({options})
def register_commands(app):
    @app.command()
    def greet():
        "Greet."
        print("from {name}")
"""
    for name, options in (("one", ""), ("two", "tryfirst=True")):
        module = f"greeting_{name}"
        install(f"pneumo-{name}", {name: module}, {module: command.format(name=name, options=options)})
    done = pneumo("greet")
    assert done.stdout == "from two\n"
    assert "plugin one (pneumo-one 1.0): register: register_commands: the command 'greet' exists already" in (
        done.stderr
    )


def test_a_plugin_adds_a_command_to_a_group_of_the_core_and_replaces_none(install, pneumo) -> None:
    source = """
import typer
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl
def register_commands(app):
    data = typer.Typer()
    app.add_typer(data, name="data")
    @data.command()
    def {name}():
        "Count."
        print("counted")
"""
    install("pneumo-count", {"count": "count_plugin"}, {"count_plugin": source.format(name="count")})
    assert pneumo("data", "count").stdout == "counted\n"
    shown = pneumo("data", "--help").stdout
    assert "count" in shown
    assert "check" in shown
    install("pneumo-taker", {"taker": "taker_plugin"}, {"taker_plugin": source.format(name="check")})
    assert "the command 'data check' exists already" in pneumo("list-models").stderr


def test_only_the_commands_whose_names_are_taken_are_left_out(install, pneumo) -> None:
    source = """
import typer
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl
def register_commands(app):
    data = typer.Typer()
    for app_or_group, name in ((app, "greet"), (app, "doctor"), (app, "greet"), (data, "check"), (data, "count")):
        app_or_group.command(name)(lambda name=name: print("mine:", name))
    app.add_typer(data, name="data")
    for name in ("run", "predict", "new-group"):
        group = typer.Typer()
        group.command("one")(lambda: print("mine: one"))
        group.command("two")(lambda: print("mine: two"))
        app.add_typer(group, name=name)
"""
    install("pneumo-many", {"many": "many_plugin"}, {"many_plugin": source})
    listed = pneumo("list-models")
    assert listed.code == 0
    assert listed.stderr == (
        "pneumo: plugin many (pneumo-many 1.0): register: register_commands: the commands 'doctor', 'greet', "
        "'data check', 'run' and 'predict' exist already\n"
    )
    assert pneumo("greet").stdout == "mine: greet\n"
    assert pneumo("data", "count").stdout == "mine: count\n"
    assert pneumo("new-group", "two").stdout == "mine: two\n"
    assert "mine" not in pneumo("data", "check", "--help").stdout
    assert "fake" in pneumo("run", "--help").stdout


def test_a_callback_of_the_whole_program_is_named_and_left_out(install, pneumo) -> None:
    source = (
        COMMAND.format(function="hello") + "    @app.callback()\n    def always():\n        print('always')\n"
    )
    install("pneumo-greet", {"greet": "greet_plugin"}, {"greet_plugin": source})
    listed = pneumo("list-models")
    assert listed.code == 0
    assert "always" not in listed.stdout
    assert "register_commands: a callback of the whole program is refused" in listed.stderr
