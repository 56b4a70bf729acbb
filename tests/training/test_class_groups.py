"""Groups, ensembles and ``pneumo evaluate`` with K exclusive classes and with K labels."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumo_cli.evaluation.multi.metrics import multi_metrics
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.runs.checkpoints import Checkpoints

CLASSES = {
    "fake-three": ("normal", "bacteria", "virus"),
    "fake-labels": ("effusion", "fracture", "nodule"),
}


@pytest.fixture(params=CLASSES)
def dataset(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def group(dataset: str, finished_run) -> Path:
    """A finished cross-validation of two folds; not to be changed."""
    return finished_run("fake", "--dataset", dataset, "--folds", "2", "--epochs", "1")


@pytest.fixture
def run(dataset: str, finished_run) -> Path:
    """A finished run; not to be changed."""
    return finished_run("fake", "--dataset", dataset, "--split", "patient")


def rows_of(folder: Path, split: str) -> list[dict[str, str]]:
    with (folder / "predictions" / f"{split}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def columns(rows: list[dict[str, str]], name: str, classes: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array([[float(row[f"{name}_{one}"]) for one in classes] for row in rows])


def labels_of(rows: list[dict[str, str]], dataset: str) -> NDArray[np.int64]:
    if dataset == "fake-labels":
        return columns(rows, "labels", CLASSES[dataset]).astype(np.int64)
    return np.array([int(row["labels"]) for row in rows])


def test_the_ensemble_of_folds_is_evaluated_at_the_mean_of_its_members_thresholds(
    dataset: str, group: Path, pneumo, fakes: Path
) -> None:
    report = json.loads((group / "report.json").read_text())
    rows = rows_of(group, "test")
    logits = columns(rows, "logits", CLASSES[dataset])
    states = [
        Checkpoints(group / "members" / name / "checkpoints").load("best")["calibration"]
        for name in ("fold-1", "fold-2")
    ]
    rules = [MultiRule.from_state(state, (), "multiclass") for state in states]
    assert [rule.classes for rule in rules] == [CLASSES[dataset]] * 2
    task = rules[0].task
    found = multi_metrics(
        logits,
        labels_of(rows, dataset),
        task,
        np.mean([rule.calibrated_thresholds(rule.point) for rule in rules], axis=0),
    )
    for name in ("auc", "accuracy", "recall", "f1"):
        assert report["evaluations"]["test"][name] == pytest.approx(found[name])
    assert report["details"]["test"]["task"] == task
    alone = [
        json.loads(pneumo("evaluate", group / "members" / name, "--json").stdout)["metrics"]["auc"]
        for name in ("fold-1", "fold-2")
    ]
    assert report["spread"]["test"]["auc"]["mean"] == pytest.approx(np.mean(alone))


def test_out_of_fold_predictions_cover_the_training_pool_once(dataset: str, group: Path) -> None:
    rows = rows_of(group, "validation")
    assert len(rows) == len({row["name"] for row in rows}) == 60
    assert all(row["name"].startswith("train/") for row in rows)


def test_evaluate_prints_macro_metrics_and_each_class(dataset: str, group: Path, pneumo) -> None:
    done = pneumo("evaluate", group)
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any(line.startswith("auc (macro)  ") for line in lines)
    assert ("mcc (macro)" in done.stdout) == (dataset == "fake-labels")
    start = next(place for place, line in enumerate(lines) if line.startswith("CLASS"))
    assert [line.split()[0] for line in lines[start + 1 :]] == list(CLASSES[dataset])
    assert "the ensemble of 2 runs" in done.stderr


@pytest.mark.slow
def test_evaluate_with_a_further_run_is_their_ensemble(dataset: str, run: Path, finished_run, pneumo) -> None:
    other = finished_run("fake", "--dataset", dataset, "--split", "patient", "--seed", 2, "--epochs", "1")
    done = pneumo("evaluate", run, "--with", other, "--on", "validation", "--json")
    assert done.code == 0, done.stderr
    result = json.loads(done.stdout)
    assert [one["name"] for one in result["classes"]] == list(CLASSES[dataset])
    assert len(result["runs"]) == 2
    assert "brier" not in result["metrics"]
    assert "brier_calibrated" in result["metrics"]


def test_a_run_is_not_evaluated_on_data_with_other_classes(dataset: str, group: Path, pneumo) -> None:
    member = group / "members" / "fold-1"
    for other in ("tiny", *(CLASSES.keys() - {dataset})):
        done = pneumo("evaluate", member, "--dataset", other)
        assert (done.code, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert "was trained on 3 classes" in done.stderr


def test_an_ensemble_that_is_refused_is_no_access_to_the_test_set(
    group: Path, pneumo, count_accesses: Callable[[Path], int]
) -> None:
    before = count_accesses(group)
    done = pneumo("evaluate", group, "--dataset", "tiny")
    assert (done.code, done.stdout) == (2, "")
    assert "was trained on 3 classes" in done.stderr
    assert count_accesses(group) == before


def test_runs_are_listed_with_their_macro_auc(run: Path, pneumo) -> None:
    (listed,) = json.loads(pneumo("list-runs", run.parent.parent, "--json").stdout)["runs"]
    assert listed["headline"] == "auc"
    assert "ROC AUC (macro)" in pneumo("list-runs", run.parent.parent).stdout
    report = json.loads((run / "report.json").read_text())
    assert listed["evaluations"]["test"]["auc"] == report["evaluations"]["test"]["auc"]
