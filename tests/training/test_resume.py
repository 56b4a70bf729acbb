"""A run that is killed, interrupted, or finished and extended continues to the same bits."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from pneumo_cli.api import hookimpl
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import open_runner
from tests.training.comparison import assert_same_results, assert_same_training, only_run, report_of

KILLED_WHILE_TRAINING = (
    "last:1",  # saved, but the untrained model is not evaluated yet
    "evaluate:2",  # inside the first validation
    "epoch:0",
    "step:1:2",
    "best:1",  # the new best is saved, and last is of the epoch before
    "epoch:1",
    "step:2:1",
    "evaluate:1",  # inside the validation of epoch 2
    "epoch:2",
    "begin:3",
)
KILLED_AFTER_TRAINING = (
    "epoch:3",
    "evaluate:1",  # inside the evaluation of the best checkpoint on the validation images
    "evaluate:2",  # and on the test images
    "report",
)


@pytest.fixture(scope="module")
def whole(processes, tmp_path_factory) -> Path:
    """A run without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    ended = processes.run(folder, "run", "fake")
    assert ended.code == 0, ended.stderr
    return only_run(folder)


@pytest.fixture(scope="module")
def whole_duel(processes, tmp_path_factory) -> Path:
    """A run of two optimizers in turn without interruption."""
    folder = tmp_path_factory.mktemp("duel")
    ended = processes.run(folder, "run", "duel")
    assert ended.code == 0, ended.stderr
    return only_run(folder)


def test_a_killed_run_resumes_to_the_same_bits(whole: Path, processes, tmp_path: Path) -> None:
    killed = processes.run(tmp_path, "run", "fake", SABOTAGE="SIGKILL@step:1:2")
    assert killed.code == -signal.SIGKILL, killed.stderr
    run = only_run(tmp_path)
    resumed = processes.run(tmp_path, "resume", run)
    assert resumed.code == 0, resumed.stderr
    assert_same_results(whole, run)


@pytest.mark.parametrize("points", [KILLED_WHILE_TRAINING, KILLED_AFTER_TRAINING], ids=["training", "end"])
def test_a_run_that_is_killed_at_every_stage_ends_with_the_same_bits(
    points: tuple[str, ...], whole: Path, processes, tmp_path: Path
) -> None:
    """Points after a save alternate with others: what is resumed wrongly is saved, and found at the end."""
    arguments: tuple[object, ...] = ("run", "fake")
    for point in points:
        killed = processes.run(tmp_path, *arguments, SABOTAGE=f"SIGKILL@{point}")
        assert killed.code == -signal.SIGKILL, (point, killed.stderr)
        run = only_run(tmp_path)
        assert not (run / "report.json").exists()
        arguments = ("resume", run)
    resumed = processes.run(tmp_path, *arguments)
    assert resumed.code == 0, resumed.stderr
    assert_same_results(whole, run)
    assert report_of(run)["run"]["resumed"] >= 1


@pytest.mark.parametrize("trainer", ["fake", "duel"])
def test_a_run_killed_after_a_save_within_an_epoch_resumes_there(
    trainer: str, whole: Path, whole_duel: Path, processes, tmp_path: Path
) -> None:
    every_step = ("--checkpoint-minutes", "1e-9")
    processes.run(tmp_path, "run", trainer, *every_step, SABOTAGE="SIGKILL@step:2:4")
    run = only_run(tmp_path)
    state = Checkpoints(run / "checkpoints").load("last")
    assert (state["epoch"], state["step"]) == (2, 3)
    assert processes.run(tmp_path, "resume", run).code == 0
    assert_same_results({"fake": whole, "duel": whole_duel}[trainer], run)


def test_an_interrupted_run_saves_itself_and_says_how_to_go_on(
    whole: Path, processes, tmp_path: Path
) -> None:
    """By each signal, in training and inside a validation, where all five steps of the epoch are done."""
    arguments: tuple[object, ...] = ("run", "fake")
    for name, code, point, step in (
        ("SIGTERM", 143, "step:2:3", 3),
        ("SIGINT", 130, "step:2:4", 4),
        ("SIGTERM", 143, "evaluate:1", 5),
        ("SIGINT", 130, "evaluate:1", 5),
    ):
        stopped = processes.run(tmp_path, *arguments, SABOTAGE=f"{name}@{point}")
        assert stopped.code == code, stopped.stderr
        run = only_run(tmp_path)
        last_line = stopped.stderr.splitlines()[-1]
        assert last_line.startswith(f"pneumo: stopped and saved in epoch 2 after step {step}; ")
        assert last_line.endswith(f"pneumo resume {run.relative_to(tmp_path)}")
        saved = Checkpoints(run / "checkpoints").load("last")
        assert (saved["epoch"], saved["step"]) == (2, step)
        arguments = ("resume", run.relative_to(tmp_path))
    assert processes.run(tmp_path, *arguments).code == 0
    assert_same_results(whole, run)


def test_a_run_interrupted_in_its_report_writes_it_when_resumed(
    whole: Path, processes, tmp_path: Path
) -> None:
    arguments: tuple[object, ...] = ("run", "fake")
    for name, code in (("SIGTERM", 143), ("SIGINT", 130)):
        stopped = processes.run(tmp_path, *arguments, SABOTAGE=f"{name}@report")
        run = only_run(tmp_path)
        assert (stopped.code, stopped.stderr.splitlines()[-1]) == (
            code,
            "pneumo: stopped after the last epoch, before the report was written; go on with: "
            f"pneumo resume {run.relative_to(tmp_path)}",
        )
        assert not (run / "report.json").exists()
        arguments = ("resume", run.relative_to(tmp_path))
    assert processes.run(tmp_path, *arguments).code == 0
    assert_same_results(whole, run)


def test_with_accumulated_gradients_an_interruption_waits_for_the_update(processes, tmp_path: Path) -> None:
    """Both runs are killed before their report, which says nothing more than their weights."""
    accumulating = ("--accumulate", 2, "--epochs", 1)
    (tmp_path / "whole").mkdir()
    processes.run(tmp_path / "whole", "run", "fake", *accumulating, SABOTAGE="SIGKILL@epoch:1")
    stopped = processes.run(tmp_path, "run", "fake", *accumulating, SABOTAGE="SIGTERM@step:1:1")
    assert stopped.code == 143
    run = only_run(tmp_path)
    assert Checkpoints(run / "checkpoints").load("last")["step"] == 2
    resumed = processes.run(tmp_path, "resume", run, SABOTAGE="SIGKILL@epoch:1")
    assert resumed.code == -signal.SIGKILL, resumed.stderr
    assert_same_training(only_run(tmp_path / "whole"), run)


def test_a_finished_run_is_extended_to_the_result_of_a_longer_run(
    whole: Path, processes, tmp_path: Path
) -> None:
    assert processes.run(tmp_path, "run", "fake", "--epochs", 1).code == 0
    run = only_run(tmp_path)
    assert processes.run(tmp_path, "resume", run, "--epochs", 3).code == 0
    assert_same_results(whole, run)
    assert "epochs = 3" in (run / "run.toml").read_text()


def test_resuming_a_finished_run_changes_nothing_and_says_so(whole: Path, pneumo) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    ended = pneumo("resume", whole)
    assert ended.code == 0
    assert "is finished (3 epochs)" in ended.stderr
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


def test_fewer_epochs_than_are_trained_is_an_error(whole: Path, pneumo) -> None:
    ended = pneumo("resume", whole, "--epochs", 2)
    assert ended.code == 2
    assert ended.stderr.count("\n") == 1
    assert "has 3 epochs already" in ended.stderr


def test_a_second_process_on_one_run_is_refused_and_changes_nothing(processes, tmp_path: Path) -> None:
    first = processes.start(tmp_path, "run", "duel", SABOTAGE="SIGSTOP@step:1:2")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/*/checkpoints/last.pt")) or not is_stopped(first):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    run = only_run(tmp_path)
    files = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"}
    second = processes.run(tmp_path, "resume", run, "--epochs", 9)
    assert second.code == 1
    assert "another process is working on" in second.stderr
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != ".lock"} == files
    os.kill(first, signal.SIGCONT)
    assert processes.wait(first).code == 0


def is_stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"


class _Slow:
    """Takes a tenth of a second for each step."""

    @hookimpl
    def step_finished(self) -> None:
        time.sleep(0.1)


def test_the_speed_of_a_resumed_epoch_counts_only_images_since_the_resumption(
    processes, tmp_path: Path, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an epoch's five steps two are left, or none."""
    monkeypatch.setenv("SABOTAGE", "")  # the saboteur is part of the recipe
    left = {"step:2:3": 2, "evaluate:4": 0}
    for point, steps in left.items():
        folder = tmp_path / point
        folder.mkdir()
        flags = ("--checkpoint-minutes", "1e-9", "--no-report")
        processes.run(folder, "run", "fake", *flags, SABOTAGE=f"SIGTERM@{point}")
        run = RunFolder.open(only_run(folder))
        plugins = discover()
        setup = set_up(plugins, reopen_settings(plugins, run, {}))
        runner = open_runner(setup, [*plugins.observing(), ("slow", _Slow())])
        runner.resume(run)
        row = next(row for row in runner.run.history if row["epoch"] == 2)
        images = len(runner.run.data.split.train)
        assert row.get("images_per_second", 0) <= images * steps / 5 / (0.1 * steps or 1), (point, row)
        assert ("images_per_second" in row) == (steps > 0)
