"""Lists in terminals of 60 and 80 columns: no line is wider, no word is broken, and what is left out is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pneumo_cli.runtime.terminal import display_width
from tests.runs.written_runs import write_group, write_run
from tests.terminals import in_terminal

LISTS = ("list-trainers", "list-models", "list-datasets", "list-extensions", "list-plugins")
LONG = "a-run-whose-name-says-everything-that-somebody-wanted-to-remember-about-it-in-2026"


@pytest.fixture
def wordy(install) -> None:
    """A plugin whose texts are long, and hold what a terminal would obey."""
    summary = "A model that is described in a great many words " * 3
    install(
        "pneumo-wordy",
        {"wordy": "wordy"},
        {
            "wordy": "from pneumo_cli.api import hookimpl\nfrom pneumo_cli.specs import ModelSpec\n"
            "api_version = 1\n"
            "@hookimpl\n"
            "def register_models():\n"
            f"    yield ModelSpec(name='wordy-net', kind='classifier', summary={summary!r}, factory='wordy:x')\n"
        },
    )


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("command", LISTS)
def test_no_row_of_a_list_is_wider_than_the_terminal_and_words_stay_whole(
    command: str, width: int, wordy, pneumo
) -> None:
    lines = in_terminal(width, command)
    assert lines
    assert max(map(display_width, lines)) <= width, lines
    words = set(pneumo(command).stdout.split()) | {"pneumo:", "left", "out:", "a", "wider", "terminal", "or"}
    words |= {"--json", "shows", "them", *(f"{name}{end}" for name in _TITLES for end in (",", ";"))}
    assert {word for line in lines for word in line.split()} <= words


_TITLES = ("kind", "model", "presets", "synthetic", "from", "hooks")


def test_what_a_list_leaves_out_is_said_on_stderr(wordy) -> None:
    shown = " ".join(" ".join(in_terminal(60, "list-models")).split())
    assert "pneumo: left out: kind, from; a wider terminal or --json shows them" in shown
    assert not any("left out" in line for line in in_terminal(200, "list-plugins"))


def test_a_run_with_a_long_name_stands_on_a_line_of_its_own(fakes: Path, finished_run) -> None:
    run = finished_run("fake", "--split", "patient")
    for name in (LONG, "evil\x1b[31m\rname", "x"):
        shutil.copytree(run, fakes / "runs" / "fake" / name)
    lines = in_terminal(80, "list-runs", "runs")
    place = next(place for place, line in enumerate(lines) if LONG in line)
    assert lines[place] == f"fake/{LONG}"
    assert "finished" in lines[place + 1]
    assert all(display_width(line) <= 80 for line in lines if LONG not in line)
    assert all(line.isprintable() for line in lines)
    assert any(line.startswith(r"fake/evil\x1b[31m") for line in lines)


def test_a_run_that_is_not_finished_says_so_where_its_state_has_no_column(fakes: Path) -> None:
    write_run(fakes / "runs" / "fake" / "a-run-with-a-name-of-an-ordinary-length")
    write_group(fakes / "runs" / "a-group\nof-two-lines", {"fold-1": 0.9, "fold-2": None})
    head, *lines = in_terminal(80, "list-runs", "runs")
    assert "STATE" not in head
    (line,) = (line for line in lines if line.startswith(r"a-group\nof"))
    assert line.endswith("interrupted")


def test_off_a_terminal_each_row_is_one_line_with_all_columns(wordy, pneumo) -> None:
    ended = pneumo("list-models")
    (row,) = (line for line in ended.stdout.splitlines() if line.startswith("wordy-net"))
    assert row.count("a great many words") == 3
    assert "pneumo-wordy 1.0" in row
    assert ended.stderr == ""
