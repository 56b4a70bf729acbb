"""Runs from the command line: what they print, and their evaluation afterwards."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from pneumo_cli.runtime.launch import Outcome


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of the run."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def ended(processes, folder: Path):
    """A run on a dataset with two unreadable images, in a process of its own, off a terminal."""
    flags = ("--dataset", "torn", "--skip-unreadable", "--epochs", 1, "--cache", "cache")
    return processes.run(folder, "run", "fake", *flags)


def test_unreadable_images_may_be_skipped_and_are_counted(ended, folder: Path) -> None:
    assert ended.code == 0, ended.stderr
    (report,) = folder.glob("runs/fake/*/report.json")
    assert "truncated in the middle" in report.read_text()
    assert "truncated in the middle" in report.with_suffix(".md").read_text()


def test_off_a_terminal_there_are_no_bars_and_no_color(ended) -> None:
    assert (ended.code, ended.stdout) == (0, "")
    assert "\x1b" not in ended.stderr
    assert "\r" not in ended.stderr


def test_the_last_lines_of_a_run_name_folder_report_and_next_commands_that_work(
    ended, folder: Path, pneumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("SABOTAGE", "")  # as for the run: the saboteur is an extension
    lines = ended.stderr.splitlines()
    place = next(place for place, line in enumerate(lines) if line.startswith("next "))
    named = dict(line.split(maxsplit=1) for line in lines[place - 2 : place])
    assert Path(named["report"]).is_file()
    assert Path(named["folder"]).is_dir()
    commands = [shlex.split(line.removeprefix("next")) for line in lines[place:]]
    assert [command[:2] for command in commands] == [["pneumo", "predict"], ["pneumo", "run"]], (
        "no test access"
    )
    Image.new("L", (32, 32), 90).save(folder / "x.png")
    predicted = pneumo(*(word.replace("IMAGE", "x.png") for word in commands[0][1:]))
    assert predicted.code == 0, predicted.stderr
    repeated = pneumo(*commands[1][1:], "--print-config")
    assert repeated.code == 0, repeated.stderr
    assert "seeds = 3" in repeated.stdout
    assert json.loads(Path(named["report"]).with_name("report.json").read_text())["next"] == [
        shlex.join(command) for command in commands
    ]


def test_a_run_is_evaluated_on_another_dataset_without_its_own_data_root(
    pneumo, fakes: Path, trained_run, tmp_path: Path
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    (films / "seed.txt").write_text("7")
    run = shutil.copytree(trained_run("fake", epochs=1, dataset="seeded", data_root=films), "run")
    evaluated = pneumo("evaluate", run, "--dataset", "tiny", "--json")
    assert evaluated.code == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)["dataset"] == "tiny"
    assert "not the data that the run was trained on" in evaluated.stderr


def test_processes_that_succeed_and_cannot_note_their_folder_are_no_failure(
    pneumo, monkeypatch: pytest.MonkeyPatch
) -> None:
    # as on a full disk
    monkeypatch.setattr("pneumo_cli.workflows.training.launch", lambda *_, **options: Outcome(0))
    ended = pneumo("run", "fake", "--devices", 2, "--device", "cpu")
    assert ended.code == 0, ended.stderr
    assert "have succeeded, but could not note its folder" in ended.stderr


def test_a_batch_below_the_number_of_devices_is_refused_before_anything_is_written(
    pneumo, fakes: Path
) -> None:
    ended = pneumo("run", "fake", "--devices", 2, "--batch-size", 1, "--device", "cpu")
    assert ended.code == 2
    assert ended.stderr.splitlines() == [
        "pneumo: batch size 1 is below the number of devices, 2: increase it, or use fewer devices"
    ]
    assert list(fakes.iterdir()) == []
