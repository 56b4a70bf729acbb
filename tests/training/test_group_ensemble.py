"""A group of classifiers: its ensemble, its report, and `pneumo evaluate` on it."""

from __future__ import annotations

import csv
import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from pneumo_cli.reports.group_report import caveats_of
from tests.training.comparison import assert_same_group, only_run, report_of

if TYPE_CHECKING:
    from tests.programs import Ended


@dataclass(frozen=True)
class Recovered:
    """A group of which one member failed at first, with its report from before it was resumed."""

    group: Path
    failed: Ended
    report: dict[str, Any]
    markdown: str
    test_accesses: int


@pytest.fixture(scope="module")
def recovered(processes, tmp_path_factory, count_accesses: Callable[[Path], int]) -> Recovered:
    """Two folds of a classifier; the first one's loss was NaN at first, and the group was resumed."""
    folder = tmp_path_factory.mktemp("recovered")
    folds = ("run", "fake", "--folds", 2, "--epochs", 1)
    failed = processes.run(folder, *folds, SABOTAGE="nan@step:1:2", SABOTAGE_FOLD="1")
    group = only_run(folder)
    before = (report_of(group), (group / "report.md").read_text(), count_accesses(group))
    ended = processes.run(folder, "resume", group)
    assert ended.code == 0, ended.stderr
    assert f"pneumo: 2 members; their report: {group / 'report.html'}" in ended.stderr
    return Recovered(group, failed, *before)


@pytest.fixture(scope="module")
def whole(recovered: Recovered) -> Path:
    """The same group, finished."""
    return recovered.group


@pytest.fixture
def copy(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it for tests that write into it or access the test set."""
    monkeypatch.setenv("SABOTAGE", "")  # the saboteur took part in its training
    return Path(shutil.copytree(whole, tmp_path / "group"))


def names_in(table: Path) -> list[str]:
    with table.open() as file:
        return [row["name"] for row in csv.DictReader(file)]


def test_each_fold_is_validated_once_and_the_report_pools_the_folds(whole: Path) -> None:
    report = report_of(whole)
    assert [(member["name"], member["state"]) for member in report["members"]] == [
        ("fold-1", "finished"),
        ("fold-2", "finished"),
    ]
    of_members = []
    for member in report["members"]:
        of_members += names_in(whole / member["folder"] / "predictions" / "validation.csv")
    pooled = names_in(whole / "predictions" / "validation.csv")
    assert sorted(of_members) == sorted(pooled)
    assert len(set(pooled)) == len(pooled) == report["dataset"]["split"]["rows"][0]["images"]
    low, high = report["intervals"]["validation"]["auc"]
    assert low <= report["evaluations"]["validation"]["auc"] <= high
    assert {caveat["rule"] for caveat in report["caveats"]} >= {"synthetic-data", "one-seed-per-fold"}


def test_the_spread_is_that_of_the_members(whole: Path) -> None:
    own = [
        report_of(whole / "members" / name)["evaluations"]["validation"]["auc"]
        for name in ("fold-1", "fold-2")
    ]
    auc = report_of(whole)["spread"]["validation"]["auc"]
    assert auc["mean"] == pytest.approx(np.mean(own))
    assert auc["sd"] == pytest.approx(abs(own[0] - own[1]) / 2**0.5)
    assert (auc["min"], auc["max"]) == (min(own), max(own))


def test_the_test_set_is_accessed_once_for_the_whole_group(whole: Path, count_accesses) -> None:
    assert count_accesses(whole) == 1
    for member in (whole / "members").iterdir():
        assert not (member / "predictions" / "test.csv").exists()
        assert "test" not in report_of(member)["evaluations"]
    assert report_of(whole)["spread"]["test"]["auc"]["members"] == 2


def test_the_pages_show_the_spread_and_link_to_the_members(whole: Path) -> None:
    page, markdown = ((whole / name).read_text() for name in ("report.html", "report.md"))
    assert '<a href="members/fold-1/report.html">fold-1</a>' in page
    assert "[fold-2](members/fold-2/report.html)" in markdown
    assert "Standard deviation" in markdown
    assert "out of fold" in page
    assert "Missing figure" not in page + markdown


def test_a_failed_member_does_not_stop_the_others_and_the_test_set_stays_sealed(recovered: Recovered) -> None:
    assert recovered.failed.code == 1
    assert "1 of 2 members failed (fold-1: epoch 1" in recovered.failed.stderr
    assert [member["state"] for member in recovered.report["members"]] == ["failed", "finished"]
    assert "test" not in recovered.report["evaluations"]
    assert "The test set stays sealed until all members are finished." in recovered.markdown
    assert recovered.test_accesses == 0


def test_a_group_killed_while_it_is_evaluated_resumes_with_the_same_test_set_access(
    whole: Path, processes, tmp_path: Path, count_accesses
) -> None:
    # The log of accesses names the folder, so the group itself is resumed and compared with a copy.
    before = tmp_path / "before"
    shutil.copytree(whole, before)
    (whole / "report.json").unlink()
    killed = processes.run(tmp_path, "resume", whole, SABOTAGE="SIGKILL@evaluate:2", SABOTAGE_FOLD="2")
    assert killed.code == -signal.SIGKILL
    assert processes.run(tmp_path, "resume", whole).code == 0
    assert_same_group(before, whole)
    assert count_accesses(whole) == 1


def test_resuming_a_finished_group_changes_nothing_and_says_so(whole: Path, pneumo) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()}
    ended = pneumo("resume", whole)
    assert ended.code == 0
    assert "is finished (2 members of 1 epoch)" in ended.stderr
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*") if path.is_file()} == before


def test_with_several_seeds_there_is_no_caveat_about_one_seed(whole: Path) -> None:
    first = report_of(whole / "members" / "fold-1")
    report = {**report_of(whole), "seeds": [7, 8]}
    assert not [caveat for caveat in caveats_of(report, first) if caveat["rule"].startswith("one-seed")]


# --- pneumo evaluate ---------------------------------------------------------------------------------------------


def test_evaluating_a_group_gives_the_metrics_of_its_report(copy: Path, pneumo) -> None:
    ended = pneumo("evaluate", copy, "--json")
    assert ended.code == 0, ended.stderr
    result = json.loads(ended.stdout)
    # This process may compute with another number of threads than that of the report.
    assert result["metrics"] == pytest.approx(report_of(copy)["evaluations"]["test"], rel=1e-4, abs=1e-6)
    assert len(result["runs"]) == 2
    assert len(list((copy / "evaluations").iterdir())) == 1


def test_a_group_with_a_missing_member_is_evaluated_with_a_warning(copy: Path, pneumo) -> None:
    shutil.rmtree(copy / "members" / "fold-2")
    ended = pneumo("evaluate", copy, "--json")
    assert ended.code == 0, ended.stderr
    assert [run["folder"] for run in json.loads(ended.stdout)["runs"]] == [str(copy / "members" / "fold-1")]
    assert f"fold-2 of 2 is missing: {copy} predicts with the other 1" in ended.stderr
    assert f"pneumo resume {copy}" in ended.stderr


def test_several_runs_are_evaluated_as_an_ensemble(trained_run, pneumo, tmp_path: Path) -> None:
    runs = []
    for seed in (1, 2):
        runs.append(tmp_path / f"seed-{seed}")
        shutil.copytree(trained_run("fake", epochs=1, seed=seed), runs[-1])
    ended = pneumo("evaluate", runs[0], "--with", runs[1], "--on", "validation", "--json")
    assert ended.code == 0, ended.stderr
    result = json.loads(ended.stdout)
    alone = [json.loads(pneumo("evaluate", run, "--on", "validation", "--json").stdout) for run in runs]
    for one, other in zip(result["runs"], alone, strict=True):
        assert one["metrics"]["auc"] == other["metrics"]["auc"]
    assert result["metrics"]["brier"] not in [other["metrics"]["brier"] for other in alone]
    assert (runs[0] / "evaluations").is_dir()


def test_runs_with_different_validation_images_form_no_ensemble_there(whole: Path, pneumo) -> None:
    ended = pneumo("evaluate", whole, "--on", "validation")
    assert ended.code == 2
    assert "do not have the same validation images" in ended.stderr


def test_a_run_named_twice_is_an_error_under_another_name_too(whole: Path, pneumo, tmp_path: Path) -> None:
    ended = pneumo("evaluate", whole, "--with", whole / "members" / "fold-1")
    assert ended.code == 2
    assert "named twice" in ended.stderr
    copied = shutil.copytree(whole / "members" / "fold-1", tmp_path / "copy")
    ended = pneumo("evaluate", whole, "--with", copied)
    assert (ended.code, len(ended.stderr.splitlines())) == (2, 1)
    assert f"and {copied} are the same model" in ended.stderr
