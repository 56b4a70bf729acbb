"""Groups of runs: members that resume by themselves, failures, and signals between members."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.groups import asks_for_group, members_of
from pneumo_cli.settings.schema import TrainerSettings
from tests.training.comparison import assert_same, assert_same_group, only_run, report_of

# Folds of a task without an ensemble, whose reports are quick.
QUICK = ("run", "duel", "--folds", 2, "--epochs", 1)


@pytest.fixture(scope="module")
def undisturbed(processes, tmp_path_factory) -> Path:
    """Two quick folds without interruption."""
    folder = tmp_path_factory.mktemp("undisturbed")
    ended = processes.run(folder, *QUICK)
    assert ended.code == 0, ended.stderr
    return only_run(folder)


def test_members_are_named_after_what_differs() -> None:
    def names(**settings: int) -> list[str]:
        return [member.name for member in members_of(TrainerSettings(seed=7, **settings))]

    assert names(seeds=2) == ["seed-7", "seed-8"]
    assert names(folds=2) == ["fold-1", "fold-2"]
    assert names(folds=2, seeds=2) == ["fold-1-seed-7", "fold-2-seed-7", "fold-1-seed-8", "fold-2-seed-8"]
    assert names(folds=2, fold=2, seeds=2) == ["fold-2-seed-7", "fold-2-seed-8"]
    assert not asks_for_group(TrainerSettings(folds=2, fold=1))
    assert asks_for_group(TrainerSettings(folds=2))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--folds", 90), "with 90 folds, fold"),
        (("--folds", 1), "at least 2"),
        (("--folds", 3, "--fold", 4), "there are 3 folds"),
        (("--folds", 3, "--split", "source"), "with folds"),
        (("--seeds", 2, "--model", "two-nets"), "kind"),
    ],
)
def test_an_impossible_group_is_a_usage_error_and_writes_nothing(
    flags: tuple[Any, ...], message: str, pneumo, fakes: Path
) -> None:
    ended = pneumo("run", "fake", *flags)
    assert ended.code == 2
    assert message in ended.stderr
    assert not (fakes / "runs").exists()


def test_the_settings_of_a_member_repeat_it_alone(undisturbed: Path, processes, tmp_path: Path) -> None:
    member = undisturbed / "members" / "fold-2"
    settings = member / "run.toml"
    ended = processes.run(
        tmp_path, "run", "duel", "--config", settings, "--output", "runs", SABOTAGE="SIGKILL@epoch:1"
    )
    assert ended.code == -signal.SIGKILL, ended.stderr
    one, other = (Checkpoints(run / "checkpoints").load("best") for run in (member, only_run(tmp_path)))
    assert_same(one["model"], other["model"], "best")


def test_a_group_that_is_killed_and_interrupted_repeatedly_ends_with_the_same_bits(
    undisturbed: Path, processes, tmp_path: Path
) -> None:
    killed = processes.run(tmp_path, *QUICK, SABOTAGE="SIGKILL@last:1", SABOTAGE_FOLD="1")
    assert killed.code == -signal.SIGKILL, killed.stderr
    group = only_run(tmp_path)
    assert group.name.endswith("-folds")
    killed = processes.run(tmp_path, "resume", group, SABOTAGE="SIGKILL@step:1:2", SABOTAGE_FOLD="1")
    assert killed.code == -signal.SIGKILL, killed.stderr
    stopped = processes.run(tmp_path, "resume", group, SABOTAGE="SIGTERM@step:1:2", SABOTAGE_FOLD="2")
    assert stopped.code == 143
    assert f"go on with: pneumo resume {group}\n" in stopped.stderr
    first = (group / "members" / "fold-1" / "report.json").stat().st_mtime_ns
    killed = processes.run(tmp_path, "resume", group, SABOTAGE="SIGKILL@epoch:1", SABOTAGE_FOLD="2")
    assert killed.code == -signal.SIGKILL, killed.stderr
    resumed = processes.run(tmp_path, "resume", group)
    assert resumed.code == 0, resumed.stderr
    assert_same_group(undisturbed, group)
    assert (group / "members" / "fold-1" / "report.json").stat().st_mtime_ns == first


def test_a_member_that_was_killed_before_its_first_checkpoint_starts_again(
    undisturbed: Path, processes, tmp_path: Path
) -> None:
    group = tmp_path / "group"
    shutil.copytree(undisturbed, group)
    (group / "report.json").unlink()
    shutil.rmtree(group / "members" / "fold-2" / "checkpoints")
    (group / "members" / "fold-2" / "report.json").unlink()
    assert processes.run(tmp_path, "resume", group).code == 0
    assert_same_group(undisturbed, group)


def test_fewer_epochs_than_are_trained_is_an_error(undisturbed: Path, pneumo, tmp_path: Path) -> None:
    group = tmp_path / "copy"
    shutil.copytree(undisturbed, group)
    settings = (group / "group.toml").read_text()
    (group / "group.toml").write_text(settings.replace("\nepochs = 1\n", "\nepochs = 2\n"))
    for path in group.glob("members/*/report.json"):
        report = json.loads(path.read_text())
        path.write_text(json.dumps({**report, "history": [*report["history"], report["history"][-1]]}))
    ended = pneumo("resume", group, "--epochs", 1)
    assert ended.code == 2
    assert "2 epochs already" in ended.stderr


def test_a_task_without_an_ensemble_is_reported_by_member(undisturbed: Path, count_accesses) -> None:
    report = report_of(undisturbed)
    assert report["evaluations"] == {}
    assert report["spread"]["test"]["loss"]["members"] == 2
    assert count_accesses(undisturbed) == 1


def test_a_signal_between_two_members_ends_the_group_even_if_it_is_taken_for_an_error(
    pneumo, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumo_fake import data

    open_tiny = data.open_tiny

    def interrupted(request: Any) -> Any:
        if list((fakes / "runs").glob("*/*/members/*/report.json")):
            try:
                signal.raise_signal(signal.SIGTERM)
            except Exception as error:  # as code does that imports a plugin
                raise RuntimeError("the images are not available") from error
        return open_tiny(request)

    monkeypatch.setattr(data, "open_tiny", interrupted)
    ended = pneumo("run", "duel", "--seeds", 2, "--epochs", 1)
    group = only_run(fakes)
    assert group.name.endswith("-seeds")
    assert (ended.code, ended.stderr.splitlines()[-1]) == (
        143,
        f"pneumo: stopped between two members; go on with: pneumo resume {group.relative_to(fakes)}",
    )
    assert not (group / "report.json").exists()


def test_ctrl_c_while_a_member_writes_its_report_starts_no_further_member(processes, tmp_path: Path) -> None:
    ended = processes.run(tmp_path, "run", "duel", "--seeds", 2, "--epochs", 1, SABOTAGE="SIGINT@report")
    group = only_run(tmp_path)
    assert (ended.code, ended.stderr.splitlines()[-1]) == (
        130,
        "pneumo: stopped after the last epoch, before the report was written; go on with: "
        f"pneumo resume {group.relative_to(tmp_path)}",
    )
    assert len(list(group.glob("members/*"))) == 1


@pytest.mark.slow
def test_a_group_on_two_devices_has_one_report_and_one_test_set_access(
    processes, tmp_path: Path, count_accesses
) -> None:
    settings = ("--folds", 2, "--epochs", 1, "--devices", 2, "--device", "cpu", "--threads", 1)
    ended = processes.run(tmp_path, "run", "fake", *settings)
    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("pneumo: 2 members; their report: ") == 1
    group = only_run(tmp_path)
    report = report_of(group)
    assert [member["state"] for member in report["members"]] == ["finished", "finished"]
    with (group / "predictions" / "validation.csv").open() as file:
        names = [row["name"] for row in csv.DictReader(file)]
    assert len(set(names)) == len(names) == report["dataset"]["split"]["rows"][0]["images"]
    assert count_accesses(group) == 1
