"""stdout and stderr in encodings of old terminals, pipes on Windows and small containers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from pneumo_cli.cli.main import build_app
from pneumo_cli.plugins.discovery import discover

ENCODINGS = ("ascii", "cp1252", "latin-1")
COMMANDS = (
    ("--help",),
    ("run", "--help"),
    ("run", "fake", "--help"),
    ("run", "fake", "--print-config"),
    ("data", "--help"),
    *((command, "--help") for command in ("resume", "evaluate", "predict", "show", "list-runs", "doctor")),
    ("list-plugins",),
    ("list-models",),
    ("list-runs",),
    ("show", "fake"),
)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_no_command_ends_with_an_error_of_the_encoding(encoding: str, pneumo) -> None:
    for command in COMMANDS:
        ended = pneumo(*command, encoding=encoding)
        expected = pneumo(*command)
        assert (ended.code, ended.stdout.count("\n")) == (expected.code, expected.stdout.count("\n")), command
        assert "Unicode" not in ended.stderr


def test_the_help_of_every_command_and_every_list_can_be_printed_in_ascii(
    pneumo, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", "")
    plugins = discover()
    root = typer.main.get_command(build_app(plugins))
    commands = list(paths(root, typer.Context(root, obj=plugins)))
    assert {("data", "audit"), ("run", "gan"), ("list-runs",), ("compare",), ("sweep", "cnn")} <= {*commands}
    for path in commands:
        ended = pneumo(*path, "--help", encoding="ascii", plugins=plugins)
        assert ended.code == 0, (path, ended.stderr)
        assert "Usage" in ended.stdout
    for path in commands:
        if path[0].startswith("list-"):
            assert pneumo(*path, encoding="ascii", plugins=plugins).code == 0, path


def paths(group: Any, ctx: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names of all commands below a group, hidden ones included."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        yield (*above, name)
        if hasattr(command, "list_commands"):
            yield from paths(command, typer.Context(command, obj=ctx.obj, parent=ctx), (*above, name))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_errors_and_logs_with_any_character_are_printed(encoding: str, pneumo, fakes: Path) -> None:
    for command in (
        ("resume", "läufe/胸\x1b[1m"),
        ("predict", "胸–é", "ü.png"),
        ("run", "fäke"),
        ("show", "胸"),
        ("list-runs", "胸"),
        ("run", "fake", "--lr", "胸"),
        ("run", "fake", "--config", "é.toml"),
        ("胸",),
    ):
        ended = pneumo(*command, encoding=encoding)
        assert ended.code == 2, (command, ended.stderr)
        (line,) = ended.stderr.splitlines()
        assert line.startswith("pneumo: ")
        assert line.isprintable()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_finished_run_is_listed_evaluated_and_used(
    encoding: str, pneumo, finished_run, fakes: Path
) -> None:
    run = finished_run("fake", "--split", "patient")
    for command in (
        ("list-runs", run.parent),
        ("evaluate", run),
        ("resume", run),
        ("predict", run, "胸.png"),
    ):
        ended, expected = pneumo(*command, encoding=encoding), pneumo(*command)
        assert ended.code == expected.code, ended.stderr
        assert ended.stdout.count("\n") == expected.stdout.count("\n")
        assert "\ufffd" not in ended.stdout + ended.stderr


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_stays_json_and_loses_no_character(encoding: str, pneumo, finished_run) -> None:
    run = finished_run("fake", "--split", "patient")
    ended = pneumo("predict", run, "胸é.png", "--json", encoding=encoding)
    assert [item["file"] for item in json.loads(ended.stdout)["predictions"]] == ["胸é.png"]
    assert ended.stdout.isascii()
    assert "胸é.png" in pneumo("predict", run, "胸é.png", "--json").stdout


@pytest.mark.slow
def test_a_group_of_runs_ends_with_its_table_and_its_files_are_utf_8(pneumo, fakes: Path) -> None:
    ended = pneumo("run", "fake", "--epochs", 1, "--seeds", 2, "--output", "rüns", encoding="ascii")
    assert ended.code == 0, ended.stderr
    assert ended.stdout.splitlines()[0].split() == [
        "SPLIT",
        "METRIC",
        "MEAN",
        "SD",
        "LOWEST",
        "HIGHEST",
        "ENSEMBLE",
    ]
    assert "runs" in ended.stderr  # the nearest to the name of the folder
    (group,) = fakes.glob("rüns/*/*")
    for name in ("report.md", "report.html"):
        assert not (group / name).read_text(encoding="utf-8").isascii()


@pytest.mark.parametrize(
    "environ",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
    ids=["PYTHONIOENCODING", "LC_ALL"],
)
def test_a_process_of_its_own_degrades_help_and_lists(
    environ: dict[str, str], finished_run, fake_environ: dict[str, str], fake_site: Path
) -> None:
    run = finished_run("fake", "--split", "patient")
    for command in (("run", "fake", "--help"), ("list-runs", str(run.parent))):
        ended = subprocess.run(
            [sys.executable, "-m", "pneumo_cli", *command],
            env={**fake_environ, **environ, "PYTHONPATH": str(fake_site)},
            capture_output=True,
            check=True,
        )
        assert ended.stdout.isascii()
        assert len(ended.stdout) > 100
        assert ended.stderr == b""
