"""A run that ends anywhere goes on to the same bits: killed, told to stop, or finished and extended."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo_cli.runs.checkpoints import Checkpoints

_CLOCK = ("seconds", "images_per_second")
_HISTORY = ("started", "resumed", "seconds", "history", "format")


def only_run(folder: Path) -> Path:
    (path,) = (folder / "runs").glob("*/*")
    return path


def without_clock(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name not in _CLOCK} for row in rows]


def assert_same(one: Any, other: Any, where: str) -> None:
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    else:
        assert one == other, where


def assert_same_results(expected: Path, actual: Path) -> None:
    """Weights, optimizers, metrics, predictions and report of two finished runs are equal, bit for bit."""
    for name in ("best", "last"):
        one, other = (Checkpoints(run / "checkpoints").load(name) for run in (expected, actual))
        assert_same(without_clock(one.get("history", [])), without_clock(other.get("history", [])), name)
        for key in one.keys() - set(_HISTORY):
            assert_same(one[key], other[key], f"{name}.{key}")
    rows = [
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (expected, actual)
    ]
    assert without_clock(rows[0]) == without_clock(rows[1])
    reports = [json.loads((run / "report.json").read_text()) for run in (expected, actual)]
    assert reports[0]["evaluations"] == reports[1]["evaluations"]
    for path in (expected / "predictions").iterdir():
        assert path.read_bytes() == (actual / "predictions" / path.name).read_bytes()


@pytest.fixture(scope="module")
def whole(processes, tmp_path_factory) -> Path:
    """The run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    ended = processes.run(folder, "run", "fake")
    assert ended.code == 0, ended.stderr
    return only_run(folder)


@pytest.fixture(scope="module")
def whole_duel(processes, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("duel")
    ended = processes.run(folder, "run", "duel")
    assert ended.code == 0, ended.stderr
    return only_run(folder)


@pytest.mark.parametrize(
    "point",
    [
        "last:1",  # saved, but the untrained model is not judged yet
        "epoch:0",
        "epoch:1",
        "epoch:2",
        "epoch:3",  # trained, but there is no report
        "step:1:2",
        "best:2",  # the new best is on the disk and last is of the epoch before
        "evaluate:2",  # inside the first validation
        "evaluate:4",
        "evaluate:7",  # inside the test evaluation
        "report",
    ],
)
def test_a_killed_run_resumes_to_the_same_bits(point: str, whole: Path, processes, tmp_path: Path) -> None:
    killed = processes.run(tmp_path, "run", "fake", SABOTAGE=f"SIGKILL@{point}")
    assert killed.code == -signal.SIGKILL, killed.stderr
    run = only_run(tmp_path)
    assert not (run / "report.json").exists()
    resumed = processes.run(tmp_path, "resume", run)
    assert resumed.code == 0, resumed.stderr
    assert_same_results(whole, run)


@pytest.mark.parametrize("trainer", ["fake", "duel"])
def test_a_run_killed_after_a_save_within_an_epoch_goes_on_there(
    trainer: str, whole: Path, whole_duel: Path, processes, tmp_path: Path
) -> None:
    every_step = ("--checkpoint-minutes", "1e-9")
    processes.run(tmp_path, "run", trainer, *every_step, SABOTAGE="SIGKILL@step:2:4")
    run = only_run(tmp_path)
    state = Checkpoints(run / "checkpoints").load("last")
    assert (state["epoch"], state["step"]) == (2, 3)
    assert processes.run(tmp_path, "resume", run).code == 0
    assert_same_results({"fake": whole, "duel": whole_duel}[trainer], run)


def test_a_run_may_be_killed_again_and_again(whole: Path, processes, tmp_path: Path) -> None:
    processes.run(tmp_path, "run", "fake", SABOTAGE="SIGKILL@epoch:1")
    run = only_run(tmp_path)
    for point in ("step:2:1", "best:2", "begin:3", "evaluate:1"):
        processes.run(tmp_path, "resume", run, SABOTAGE=f"SIGKILL@{point}")
    assert processes.run(tmp_path, "resume", run).code == 0
    assert_same_results(whole, run)
    assert json.loads((run / "report.json").read_text())["run"]["resumed"] >= 1


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
@pytest.mark.parametrize("point", ["step:2:3", "evaluate:4"])
def test_a_run_told_to_stop_saves_says_how_to_go_on_and_does(
    name: str, code: int, point: str, whole: Path, processes, tmp_path: Path
) -> None:
    stopped = processes.run(tmp_path, "run", "fake", SABOTAGE=f"{name}@{point}")
    assert stopped.code == code, stopped.stderr
    run = only_run(tmp_path)
    last_line = stopped.stderr.splitlines()[-1]
    assert last_line.startswith("pneumo: stopped and saved in epoch 2")
    assert last_line.endswith(f"pneumo resume {run.relative_to(tmp_path)}")
    saved = Checkpoints(run / "checkpoints").load("last")
    assert (saved["epoch"], saved["step"]) == (2, 3 if point == "step:2:3" else 5)
    assert processes.run(tmp_path, "resume", run).code == 0
    assert_same_results(whole, run)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_run_told_to_stop_while_it_writes_its_report_stops_and_writes_it_when_resumed(
    name: str, code: int, whole: Path, processes, tmp_path: Path
) -> None:
    stopped = processes.run(tmp_path, "run", "fake", SABOTAGE=f"{name}@report")
    run = only_run(tmp_path)
    assert (stopped.code, stopped.stderr.splitlines()[-1]) == (
        code,
        "pneumo: stopped after the last epoch, before the report was written; go on with: "
        f"pneumo resume {run.relative_to(tmp_path)}",
    )
    assert not (run / "report.json").exists()
    assert processes.run(tmp_path, "resume", run).code == 0
    assert_same_results(whole, run)


def test_with_accumulated_gradients_a_stop_waits_for_the_update(processes, tmp_path: Path) -> None:
    accumulating = ("--accumulate", 2, "--epochs", 1)
    (tmp_path / "whole").mkdir()
    processes.run(tmp_path / "whole", "run", "fake", *accumulating)
    stopped = processes.run(tmp_path, "run", "fake", *accumulating, SABOTAGE="SIGTERM@step:1:1")
    assert stopped.code == 143
    run = only_run(tmp_path)
    assert Checkpoints(run / "checkpoints").load("last")["step"] == 2
    assert processes.run(tmp_path, "resume", run).code == 0
    assert_same_results(only_run(tmp_path / "whole"), run)


def test_a_finished_run_is_extended_to_what_a_longer_run_gives(
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


def test_fewer_epochs_than_are_done_is_an_error(whole: Path, pneumo) -> None:
    ended = pneumo("resume", whole, "--epochs", 2)
    assert ended.code == 2
    assert ended.stderr.count("\n") == 1
    assert "has 3 epochs already" in ended.stderr


def test_a_second_process_on_one_run_is_refused_and_changes_nothing(processes, tmp_path: Path) -> None:
    first = processes.start(tmp_path, "run", "fake", SABOTAGE="SIGSTOP@step:1:2")
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("runs/*/*/checkpoints/last.pt")) or not stopped(first):
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


def stopped(process: int) -> bool:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "T"
