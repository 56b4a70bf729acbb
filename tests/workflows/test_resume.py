"""``pneumo.resume`` and ``pneumo resume``: a run goes on to the same bits, whoever asks."""

from __future__ import annotations

import json
import logging
import shutil
import signal
from pathlib import Path
from types import ModuleType

import pytest

from pneumo_cli import UsageError
from tests.training.comparison import assert_same_group, assert_same_training, only_run, report_of

QUICK = ("--epochs", 2, "--no-report")


@pytest.fixture(scope="module")
def killed(processes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of a run that was killed in its first epoch, in a process of its own."""
    folder = tmp_path_factory.mktemp("killed")
    ended = processes.run(folder, "run", "fake", *QUICK, SABOTAGE="SIGKILL@step:1:2")
    assert ended.code == -signal.SIGKILL, ended.stderr
    return folder


@pytest.fixture
def own_run(fakes: Path, killed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the killed run below the working folder."""
    monkeypatch.setenv("SABOTAGE", "")  # the saboteur is part of the recipe
    shutil.copytree(killed / "runs", fakes / "runs")
    return only_run(fakes)


def test_a_killed_run_goes_on_as_with_the_command(
    library: ModuleType, processes, killed: Path, own_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(killed / "runs", tmp_path / "command" / "runs")
    command = only_run(tmp_path / "command")
    ended = processes.run(tmp_path / "command", "resume", command)
    assert ended.code == 0, ended.stderr
    result = library.resume(own_run, progress=False)
    assert result.folder == own_run
    assert_same_training(command, own_run)
    for name in ("evaluations", "intervals", "notes"):
        assert report_of(command)[name] == report_of(own_run)[name]
    assert report_of(own_run)["run"]["resumed"] == 1
    recorded = json.loads((own_run / "environment.json").read_text())["command"]
    assert recorded == ["pneumo", "resume", str(own_run)]


def test_a_finished_run_is_returned_with_a_notice_and_extended_by_epochs(
    library: ModuleType, own_run: Path, pneumo, caplog: pytest.LogCaptureFixture
) -> None:
    result = library.resume("runs/" + "/".join(own_run.parts[-2:]), progress=False)
    assert result.folder == own_run
    written = (own_run / "report.json").stat().st_mtime_ns
    with caplog.at_level(logging.INFO, "pneumo"):
        again = library.resume(result, progress=False)
    assert again.metrics == result.metrics
    ended = pneumo("resume", own_run)
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", f"pneumo: {caplog.messages[-1]}\n")
    assert f"pneumo resume {own_run} --epochs 3" in ended.stderr
    assert (own_run / "report.json").stat().st_mtime_ns == written

    fewer = pneumo("resume", own_run, "--epochs", 1)
    with pytest.raises(UsageError) as caught:
        library.resume(own_run, epochs=1)
    assert (fewer.code, fewer.stderr) == (2, f"pneumo: {caught.value}\n")
    assert "2 epochs already" in fewer.stderr

    longer = library.resume(own_run, epochs=3, device="cpu", progress=False)
    assert [row["epoch"] for row in longer.history] == [0, 1, 2, 3]
    recorded = json.loads((own_run / "environment.json").read_text())["command"]
    assert recorded[3:] == ["--epochs", "3", "--device", "cpu"]


def test_a_run_without_a_checkpoint_is_refused(library: ModuleType, own_run: Path, pneumo) -> None:
    shutil.rmtree(own_run / "checkpoints")
    ended = pneumo("resume", own_run)
    with pytest.raises(UsageError) as caught:
        library.resume(own_run)
    assert (ended.code, ended.stderr) == (2, f"pneumo: {caught.value}\n")
    assert "to run it again: pneumo run fake --config" in ended.stderr


def test_a_group_goes_on_as_with_the_command(
    library: ModuleType, processes, fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = ("run", "duel", "--folds", 2, "--epochs", 1, "--no-report")
    ended = processes.run(fakes, *folds, SABOTAGE="SIGKILL@step:1:2", SABOTAGE_FOLD="2")
    assert ended.code == -signal.SIGKILL, ended.stderr
    shutil.copytree(fakes / "runs", tmp_path / "command" / "runs")
    command, own = only_run(tmp_path / "command"), only_run(fakes)
    ended = processes.run(tmp_path / "command", "resume", command)
    assert ended.code == 0, ended.stderr
    assert "2 members; their report: " in ended.stderr
    monkeypatch.setenv("SABOTAGE", "")
    result = library.resume(own, progress=False)
    assert_same_group(command, own)
    assert [member.state for member in result.members] == ["finished", "finished"]
    assert library.resume(result, progress=False).folder == own
