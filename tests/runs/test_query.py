"""Filtering and sorting in ``pneumo list-runs``."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.testing import Invocation
from tests.runs.written_runs import FOLDS, write_group, write_run


def test_groups_are_filtered_and_sorted_like_runs(listed: Callable[..., Any], tmp_path: Path) -> None:
    write_group(tmp_path / "good-folds", FOLDS, test=0.97)
    write_group(tmp_path / "half-folds", {"fold-1": 0.9})
    (tmp_path / "half-folds" / "report.json").unlink()
    write_run(tmp_path / "high", auc=0.98)
    write_run(tmp_path / "low", auc=0.8)
    assert listed(tmp_path, "--sort", "auc")[0][:3] == ["high", "good-folds", "low"]
    assert listed(tmp_path, "--finished", "--where", "folds=3")[0] == ["good-folds"]
    assert listed(tmp_path, "--unfinished")[0] == ["half-folds"]
    assert listed(tmp_path, "--trainer", "other")[0] == []


def test_filters_and_conditions_narrow_the_list(listed: Callable[..., Any], tmp_path: Path) -> None:
    write_run(tmp_path / "a", lr=0.005, augment=True, started="2026-01-04T00:00:00+00:00")
    write_run(tmp_path / "b", lr=0.1, trainer="other", started="2026-01-03T00:00:00+00:00")
    write_run(tmp_path / "c", lr=0.005, augment=False, auc=None, done=1, started="2026-01-02T00:00:00+00:00")
    assert listed(tmp_path)[0] == ["a", "b", "c"]
    assert listed(tmp_path, "--trainer", "other")[0] == ["b"]
    assert listed(tmp_path, "--dataset", "none-such")[0] == []
    assert listed(tmp_path, "--finished")[0] == ["a", "b"]
    assert listed(tmp_path, "--unfinished")[0] == ["c"]
    assert listed(tmp_path, "--where", "lr=5e-3")[0] == ["a", "c"]
    assert listed(tmp_path, "--where", "lr=5e-3", "--where", "augment=yes")[0] == ["a"]
    assert listed(tmp_path, "--where", "augment=false")[0] == ["c"]


def test_a_metric_sorts_the_best_first_and_runs_without_it_last(
    listed: Callable[..., Any], tmp_path: Path
) -> None:
    for name, auc in (("low", 0.7), ("high", 0.99), ("middle", 0.8)):
        write_run(tmp_path / name, auc=auc)
    write_run(tmp_path / "unevaluated", auc=None, done=1)
    assert listed(tmp_path, "--sort", "auc")[0] == ["high", "middle", "low", "unevaluated"]
    assert listed(tmp_path, "--sort", "name")[0] == ["high", "low", "middle", "unevaluated"]
    report = tmp_path / "low" / "report.json"
    report.write_text(report.read_text().replace('"loss": 0.6', '"loss": 0.1'))
    assert listed(tmp_path, "--sort", "loss")[0][0] == "low"


def test_values_of_test_and_validation_images_are_not_mixed_and_a_note_explains_the_order(
    pneumo: Callable[..., Invocation], tmp_path: Path
) -> None:
    """The validation values, 0.95 and 0.53, lie on both sides of the test values."""
    for name, auc in (("low", 0.7), ("high", 0.9)):
        write_run(tmp_path / name, auc=auc)
    sealed = write_run(tmp_path / "sealed", auc=0.8) / "report.json"
    sealed.write_text(sealed.read_text().replace('"test": {"loss": 0.6, "auc": 0.8}', '"test": {}'))
    write_run(tmp_path / "unfinished", auc=None)
    ended = pneumo("list-runs", tmp_path, "--sort", "auc")
    assert [line.split()[0] for line in ended.stdout.splitlines()[1:]] == [
        "high",
        "low",
        "sealed",
        "unfinished",
    ]
    assert ended.stderr == (
        "pneumo: sorted by auc on the test images; then come 2 without, by the validation images\n"
    )
    for name in ("high", "low"):
        shutil.rmtree(tmp_path / name)
    assert "no run has auc on the test images" in pneumo("list-runs", tmp_path, "--sort", "auc").stderr
    assert pneumo("list-runs", tmp_path).stderr == ""


def test_an_empty_list_has_a_reason(pneumo: Callable[..., Invocation], tmp_path: Path) -> None:
    (tmp_path / "films").mkdir()
    write_run(tmp_path / "runs" / "a", trainer="cnn")
    for arguments, reason in (
        ([tmp_path / "films"], f"there are no runs in or below {tmp_path / 'films'}"),
        ([tmp_path, "--trainer", "cn"], f"no run below {tmp_path} has the trainer cn; did you mean cnn?"),
        ([tmp_path, "--unfinished"], f"no run below {tmp_path} meets all conditions"),
    ):
        ended = pneumo("list-runs", *arguments)
        assert (ended.code, ended.stdout, ended.stderr) == (0, "", f"pneumo: {reason}\n")
        assert json.loads(pneumo("list-runs", *arguments, "--json").stdout)["runs"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--where", "lr"], "--where takes setting=value, such as lr=0.005, not 'lr'"),
        (["--where", "sed=42"], "no run has a setting 'sed'; did you mean seed?"),
        (["--sort", "acu"], "no run has a metric 'acu'; did you mean auc?"),
    ],
)
def test_an_unknown_setting_or_metric_is_an_error_with_a_suggestion(
    pneumo: Callable[..., Invocation], tmp_path: Path, arguments: list[str], message: str
) -> None:
    write_run(tmp_path / "a")
    ended = pneumo("list-runs", tmp_path, *arguments)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"pneumo: {message}")
