"""Classifiers of K classes and of labels are compared on macro metrics and class by class."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pneumo_cli.data.records import Record
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.classification_report import Predictions
from pneumo_cli.evaluation.confidence.intervals import difference_intervals
from pneumo_cli.evaluation.multi.report import multi_report
from pneumo_cli.evaluation.multi.rule import MultiRule
from pneumo_cli.evaluation.multi.scores import one_vs_rest
from pneumo_cli.evaluation.result import Evaluation, plain
from pneumo_cli.reports.predictions import predictions_csv
from pneumo_cli.testing import Invocation
from pneumo_compare.classes import ClassScored
from pneumo_compare.comparison import compare_runs
from pneumo_compare.wording import verdict

Pneumo = Callable[..., Invocation]
Write = Callable[..., Path]

CLASSES = ("normal", "bacteria", "virus")
IMAGES = 120
RNG = np.random.default_rng(5)
INDICES = np.arange(IMAGES) // 2 % 3
LABELS = np.where(RNG.random((IMAGES, 3)) < 0.1, -1, RNG.integers(0, 2, (IMAGES, 3)))
SIGNAL = RNG.normal(0, 1, (IMAGES, 3))


def write(
    path: Path, network: int, task: str, *, better: float = 0.0, classes: tuple[str, ...] = CLASSES
) -> Path:
    """A finished run's files; ``better`` adds to the signal of each class."""
    labels = INDICES if task == "multiclass" else LABELS
    truth = np.eye(3)[INDICES] if task == "multiclass" else np.maximum(LABELS, 0)
    errors = np.random.default_rng(network).normal(0, 0.5, (IMAGES, 3))
    logits = SIGNAL + errors + (1 + better) * (2 * truth - 1)
    records = [Record(f"{i:03}.png", 0, f"p{i // 2}", "test", "") for i in range(IMAGES)]
    predictions = Predictions(
        logits, labels, [one.name for one in records], [one.patient for one in records], [""] * IMAGES
    )
    outputs = {"index": np.arange(IMAGES), "logits": logits, "labels": labels}
    rule = MultiRule.unfitted(classes, task)
    found = multi_report(Evaluation({}, outputs=outputs), predictions, rule, None, 0)
    report = {
        "run": {"name": path.name, "started": "2026-01-02T03:04:05+00:00", "seconds": 3.0},
        "trainer": {"name": "fake"},
        "model": {"name": "tiny-net", "parameters": 12},
        "dataset": {"name": "tiny", "classes": list(classes), "fingerprint": "f" * 64, "synthetic": False},
        "settings": [{"name": "epochs", "value": 2}, {"name": "seed", "value": network}],
        "history": [],
        "evaluations": {"test": plain(found.metrics)},
        "intervals": {"test": {name: list(ends) for name, ends in found.intervals.items()}},
        "details": {"test": dict(found.details)},
    }
    (path / "predictions").mkdir(parents=True)
    (path / "run.toml").write_text('trainer = "fake"\nepochs = 2\n\n[run]\ntrainer = "pneumo-fake:fake"\n')
    (path / "report.json").write_text(json.dumps(report))
    (path / "predictions" / "test.csv").write_text(predictions_csv(found, records))
    return path


@pytest.fixture(params=["multiclass", "multilabel"])
def task(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def pair(task: str, tmp_path: Path) -> tuple[Path, Path]:
    return write(tmp_path / "fake" / "a", 1, task), write(tmp_path / "fake" / "b", 2, task, better=2.0)


def test_the_better_one_is_found_in_the_macro_auc_and_in_each_class(pair: tuple[Path, Path]) -> None:
    found = compare_runs(pair)
    assert found.classes == CLASSES
    assert found.pairs[0, 1].metrics["auc"].better == 1
    assert verdict(found).startswith("Macro ROC AUC: fake seed 2 is better than fake seed 1 by ")
    assert {name: one.better for name, one in found.pairs[0, 1].classes.items()} == dict.fromkeys(CLASSES, 1)
    assert found.tests["classes"] == 3
    reverse = compare_runs(pair, baseline=pair[1])
    assert {one.better for one in reverse.pairs[1, 0].classes.values()} == {-1}


def test_the_difference_of_a_class_is_that_of_the_binary_problem(pair: tuple[Path, Path], task: str) -> None:
    found = compare_runs(pair)
    scored = [run.scored for run in found.runs]
    assert all(isinstance(one, ClassScored) for one in scored)
    labels = LABELS[:, 2] if task == "multilabel" else (INDICES == 2).astype(int)
    known = labels >= 0
    scores = [one_vs_rest(one.logits, one.task)[known, 2] for one in scored]
    who = np.array([f"p{i // 2}" for i in range(IMAGES)])[known]
    alone = difference_intervals(scores[1], scores[0], labels[known], who.tolist())["auc"]
    assert found.pairs[0, 1].classes["virus"].difference == pytest.approx(alone)


def test_mcnemar_counts_the_images_whose_class_is_right_by_one_only(
    pair: tuple[Path, Path], task: str
) -> None:
    found = compare_runs(pair)
    if task == "multilabel":
        assert found.pairs[0, 1].calls == {}
        return
    right = [run.scored.predicted == INDICES for run in found.runs]
    calls = found.pairs[0, 1].calls["accuracy"]
    assert (calls.first_only, calls.second_only) == (
        int((right[1] & ~right[0]).sum()),
        int((right[0] & ~right[1]).sum()),
    )
    assert calls.first_only > calls.second_only


def test_a_run_does_not_differ_from_itself(pair: tuple[Path, Path]) -> None:
    found = compare_runs([pair[0], pair[0]])
    assert found.pairs[0, 1].equal
    assert found.pairs[0, 1].significant == []
    assert all(one.difference == (0, 0, 0, 1) for one in found.pairs[0, 1].classes.values())
    assert set(found.tests.values()) == {0}


def test_terminal_json_and_page_show_the_classes(
    pair: tuple[Path, Path], task: str, pneumo: Pneumo, fakes: Path
) -> None:
    shown = pneumo("compare", *pair, "--out", "page")
    assert shown.code == 0, shown.stderr
    titles = [line.split("  ")[0] for line in shown.stdout.splitlines()]
    assert {"ROC AUC (macro)", "Sensitivity (macro)"} <= set(titles)
    assert ("MCC (macro)" in titles) == (task == "multilabel")
    assert "CLASS     AUC A  AUC B  DIFFERENCE" in shown.stdout
    assert ("McNemar" in shown.stdout) == (task == "multiclass")
    content: dict[str, Any] = json.loads(pneumo("compare", *pair, "--json").stdout)
    assert list(content["differences"][0]["classes"]) == list(CLASSES)
    page = Path("page/compare.html").read_text()
    assert "ROC AUC of each class against the rest, fake seed 2 − fake seed 1" in page
    assert ("classify differently" in page) == (task == "multiclass")


def test_tasks_and_classes_that_differ_are_not_comparable(write_run: Write, tmp_path: Path) -> None:
    exclusive = write(tmp_path / "fake" / "exclusive", 1, "multiclass")
    labels = write(tmp_path / "fake" / "labels", 1, "multilabel")
    others = write(tmp_path / "fake" / "others", 1, "multiclass", classes=("normal", "virus", "bacteria"))
    binary = write_run(tmp_path / "fake" / "binary", 1)
    with pytest.raises(UsageError, match="binary vs multiclass: not comparable"):
        compare_runs([binary, exclusive])
    with pytest.raises(UsageError, match="multiclass vs multilabel: not comparable"):
        compare_runs([exclusive, labels])
    with pytest.raises(UsageError, match="different classes: normal, bacteria, virus; and normal, virus"):
        compare_runs([exclusive, others])


def test_predictions_of_another_run_and_damaged_ones_are_refused(pair: tuple[Path, Path]) -> None:
    one, other = (path / "predictions" / "test.csv" for path in pair)
    content = one.read_text()
    one.write_text(other.read_text())
    with pytest.raises(PneumoError, match="does not belong to"):
        compare_runs(pair)
    for damaged in (content.replace("logits_virus", "logits_x"), content + "x,p1,,a,b,c,1,1,1,1,1,1\n"):
        one.write_text(damaged)
        with pytest.raises(PneumoError, match="is damaged: line"):
            compare_runs(pair)
    one.write_text("\n".join([line for line in content.splitlines() if not line.startswith("003")]) + "\n")
    with pytest.raises(PneumoError, match="does not belong to"):
        compare_runs(pair)
