"""Groups of runs in ``pneumo list-runs``: one line for each, with the spread of their members."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.runs.group_index import find_runs
from pneumo_cli.testing import Invocation
from tests.runs.written_runs import FOLDS, write_group, write_run


def test_a_group_is_one_line_with_the_spread_of_its_members_and_the_test_value_of_the_ensemble(
    pneumo: Callable[..., Invocation], tmp_path: Path
) -> None:
    write_group(tmp_path / "fake" / "a-folds", FOLDS)
    write_run(tmp_path / "fake" / "alone", started="2026-01-01T00:00:00+00:00")
    _, group, alone = pneumo("list-runs", tmp_path).stdout.splitlines()
    assert group.split()[:2] == ["fake/a-folds", "fake"]
    assert "tiny-net" in group
    assert "3/3" in group
    assert "finished, 3 folds" in group
    assert "0.950 ± 0.010" in group
    assert "0.930 (0.910–0.950)" in group
    assert alone.split()[0] == "fake/alone"


@pytest.mark.parametrize(
    ("aucs", "state"),
    [
        ({}, "interrupted, 0 of 3 folds"),
        ({"fold-1": 0.9, "fold-2": None}, "interrupted, 1 of 3 folds"),
        ({"fold-1": 0.9, "fold-2": 0.9}, "interrupted, 2 of 3 folds"),
    ],
)
def test_the_line_of_a_group_shows_how_many_of_its_members_are_finished(
    pneumo: Callable[..., Invocation], tmp_path: Path, aucs: Mapping[str, float | None], state: str
) -> None:
    group = write_group(tmp_path / "a-folds", aucs)
    (group / "report.json").unlink(missing_ok=True)
    _, line = pneumo("list-runs", tmp_path).stdout.splitlines()
    assert state in line
    with (group / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert state.replace("interrupted", "running") in pneumo("list-runs", tmp_path).stdout


def test_a_group_that_is_trained_further_is_unfinished_until_all_members_are(tmp_path: Path) -> None:
    group = write_group(tmp_path / "a-folds", FOLDS)
    settings = group / "group.toml"
    settings.write_text(settings.read_text().replace("epochs = 3", "epochs = 9"))
    ((found,), _) = find_runs(tmp_path)
    assert (found.state, found.epochs, found.of) == ("interrupted", 3, 9)
    assert found.members is not None
    assert found.members.finished == 0


def test_the_members_of_a_group_are_listed_on_request(listed: Callable[..., Any], tmp_path: Path) -> None:
    group = write_group(tmp_path / "a-folds", FOLDS)
    write_run(tmp_path / "alone")
    assert sorted(listed(tmp_path)[0]) == ["a-folds", "alone"]
    members = [f"a-folds/members/{name}" for name in FOLDS]
    assert sorted(listed(tmp_path, "--members")[0]) == ["a-folds", *members, "alone"]
    assert sorted(listed(group)[0]) == ["a-folds", *(f"members/{name}" for name in FOLDS)]
    assert sorted(listed(group / "members")[0]) == list(FOLDS)


def test_json_has_the_composition_of_a_group(pneumo: Callable[..., Invocation], tmp_path: Path) -> None:
    group = write_group(
        tmp_path / "a", {f"fold-{f}-seed-{s}": 0.9 for f in (1, 2) for s in (4, 5)}, folds=2, seeds=2
    )
    found = json.loads(pneumo("list-runs", tmp_path, "--members", "--json").stdout)["runs"]
    (one,) = (run for run in found if run["members"])
    assert one["members"] == {"folds": 2, "seeds": 2, "wanted": 4, "finished": 4}
    assert one["spread"]["validation"]["auc"] == 0.01
    assert {run["group"] for run in found if run is not one} == {str(group)}
    assert "finished, 2 folds × 2 seeds" in pneumo("list-runs", tmp_path).stdout


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda group: (group / "group.toml").write_text("= ="), "group.toml cannot be read"),
        (lambda group: (group / "group.toml").write_text('title = "a band"'), "names no trainer"),
        (lambda group: (group / "report.json").write_text("{"), "report.json is damaged"),
        (lambda group: (group / "group.toml").write_text('trainer = "a"\nfolds = "many"'), ""),
    ],
)
def test_a_damaged_group_is_named_and_its_members_are_listed_instead(
    listed: Callable[..., Any], tmp_path: Path, spoil: Callable[[Path], Any], reason: str
) -> None:
    group = write_group(tmp_path / "a-folds", FOLDS)
    spoil(group)
    names, problems = listed(tmp_path)
    assert [reason in problem["problem"] for problem in problems] == [True] * bool(reason)
    assert sorted(names) == ([f"a-folds/members/{name}" for name in FOLDS] if reason else ["a-folds"])


def test_groups_of_generative_models_are_listed_with_their_kid(
    pneumo: Callable[..., Invocation], listed: Callable[..., Any], tmp_path: Path
) -> None:
    for name, distance in (("far", 0.4), ("near", 0.02)):
        write_group(
            tmp_path / name,
            {"seed-1": 0.5, "seed-2": 0.5},
            folds=0,
            seeds=2,
            summary={"kid_pixels": distance},
        )
    lines = {line.split()[0]: line for line in pneumo("list-runs", tmp_path).stdout.splitlines()}
    assert "finished, 2 seeds" in lines["near"]
    assert lines["near"].endswith("20.0 ± 1.0")
    assert "KID × 1000 (pixels)" in lines["near"]
    assert listed(tmp_path, "--sort", "kid_pixels")[0] == ["near", "far"]
    report = json.loads(pneumo("list-runs", tmp_path, "--members", "--json").stdout)["runs"]
    assert all("kid_noise_pixels" not in run["evaluations"].get("whole", {}) for run in report)
