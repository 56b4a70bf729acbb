"""stdout and stderr in encodings of old terminals, pipes on Windows and small containers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

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
