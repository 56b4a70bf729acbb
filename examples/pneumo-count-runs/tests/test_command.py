"""The command counts the runs of a folder, in the program."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumo_cli.testing import CommandConformance, empty_workplace, invoke


class TestCountRuns(CommandConformance):
    name = "count-runs"


def test_it_counts_the_runs_of_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = empty_workplace(tmp_path, tmp_path / "cache", monkeypatch)
    (work / "runs").mkdir()
    counted = invoke("count-runs")
    assert (counted.code, counted.stdout) == (0, "0\n"), counted.stderr


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    empty_workplace(tmp_path, tmp_path / "cache", monkeypatch)
    counted = invoke("count-runs", "elsewhere")
    assert counted.code == 2
    assert counted.stderr.startswith("pneumo: ")
    assert "elsewhere" in counted.stderr
