"""Sweeps whose workers are killed: nothing is done twice, and the results are those of a sweep that was not."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.testing import Invocation
from tests.programs import ProcessServer, disabled

HERE = {"PNEUMO_DISABLE_PLUGINS": disabled("pneumo-sweep")}
QUICK = ("sweep", "fake", "--precision", "fp32", "--threads", "1", "--no-evaluate-test")


def results(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return content


def values(content: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [(row["trial"], row["settings"], row["state"], row["value"]) for row in content["trials"]]


def the_sweep(folder: Path) -> Path:
    (found,) = folder.glob("runs/fake/*-sweep")
    return found


def check_that_each_epoch_was_trained_once(folder: Path, epochs: int) -> None:
    for run in folder.glob("trials/*"):
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        assert [row["epoch"] for row in rows] == list(range(epochs + 1))


def test_a_sweep_that_was_killed_goes_on_where_it_was(
    processes: ProcessServer,
    fakes: Path,
    pneumo: Callable[..., Invocation],
    swept: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    flags = ("--set", "lr=0.1,0.01,0.001", "--epochs", 2)
    killed = processes.run(fakes, *QUICK, "--preset", "quick", *flags, SABOTAGE="SIGKILL@epoch:1", **HERE)
    assert killed.code == -signal.SIGKILL
    folder = the_sweep(fakes)
    assert sorted(path.name for path in folder.glob("trials/*")) == ["000"]
    monkeypatch.setenv("SABOTAGE", "")  # the saboteur took part
    resumed = pneumo("sweep", "resume", folder)
    assert resumed.code == 0, resumed.stderr
    check_that_each_epoch_was_trained_once(folder, 2)
    whole = swept(*flags, "--no-evaluate-test")
    assert values(results(folder)) == values(results(whole))
    assert results(folder)["ranking"] == results(whole)["ranking"]
    reports = [json.loads((folder / f"trials/{n:03}/report.json").read_text()) for n in range(3)]
    assert [report["run"]["resumed"] for report in reports] == [1, 0, 0]


@pytest.mark.slow
def test_of_two_workers_one_is_killed_and_the_other_takes_over(
    processes: ProcessServer, tmp_path: Path, swept: Callable[..., Path]
) -> None:
    flags = ("--set", "lr=0.2,0.1,0.05,0.02,0.01,0.001", "--set", "batch_size=8,16", "--epochs", 6)
    sweep = processes.start(tmp_path, *QUICK, "--preset", "quick", *flags, "--workers", 2, **HERE)
    waited_for(lambda: len(list(tmp_path.glob("runs/fake/*-sweep/trials/*/checkpoints/last.pt"))) >= 2)
    folder = the_sweep(tmp_path)
    victim = next(iter(folder.glob("workers/*.lock")))
    os.kill(int(victim.read_text()), signal.SIGKILL)
    ended = processes.wait(sweep)
    assert ended.code == 0, ended.stderr
    assert "was killed (signal 9)" in ended.stderr
    check_that_each_epoch_was_trained_once(folder, 6)
    assert len([line for line in ended.stderr.splitlines() if line.startswith("trial ")]) == 12
    whole = swept(*flags, "--no-evaluate-test")
    assert values(results(folder)) == values(results(whole))


@pytest.mark.slow
def test_ctrl_c_stops_all_workers_and_a_resumed_sweep_has_the_same_results(
    processes: ProcessServer, tmp_path: Path, swept: Callable[..., Path]
) -> None:
    flags = ("--set", "lr=0.1,0.01,0.001", "--epochs", 20)
    shared = ("--storage", f"sqlite:///{tmp_path / 'shared.db'}")
    sweep = processes.start(tmp_path, *QUICK, "--preset", "quick", *flags, "--workers", 2, *shared, **HERE)
    waited_for(lambda: len(list(tmp_path.glob("runs/fake/*-sweep/trials/*/checkpoints/best.pt"))) >= 2)
    os.kill(sweep, signal.SIGINT)
    ended = processes.wait(sweep)
    folder = the_sweep(tmp_path)
    assert ended.code == 130, ended.stderr
    assert ended.stderr.splitlines()[-1].endswith(
        f"stopped and saved; go on with: pneumo sweep resume {folder.relative_to(tmp_path)}"
    )
    resumed = processes.run(tmp_path, "sweep", "resume", folder, "--workers", 2, **HERE)
    assert resumed.code == 0, resumed.stderr
    check_that_each_epoch_was_trained_once(folder, 20)
    assert not (folder / "study.db").exists()
    assert values(results(folder)) == values(results(swept(*flags, "--no-evaluate-test")))


def waited_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "nothing happened in time"
        time.sleep(0.05)
