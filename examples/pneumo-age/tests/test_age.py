"""Dataset and trainer pass the conformance suites; ages are of patients, and a run learns and predicts them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image
from pneumo_age.dataset import PhantomAge
from pneumo_age.trainer import interval

from pneumo_cli.testing import TINY, DatasetConformance, TrainerConformance, empty_workplace, invoke


class TestDataset(DatasetConformance):
    name = "phantom-age"
    reads = 4
    options: ClassVar = {"cohort": 40}


class TestTrainer(TrainerConformance):
    name = "age"
    dataset = "conformance-targets"


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return empty_workplace(tmp_path, tmp_path / "cache", monkeypatch)


def report_of(work: Path, *arguments: object) -> dict[str, object]:
    flags = ("--cohort", 60, "--image-size", 32, "--precision", "fp32", "--no-report")
    ended = invoke("run", "age", *flags, *arguments)
    assert ended.code == 0, ended.stderr
    (path,) = (work / "runs/age").glob("*/report.json")
    content: dict[str, object] = json.loads(path.read_text())
    return content


def test_all_images_of_a_child_have_its_age() -> None:
    data = PhantomAge(60)
    ages: dict[str, set[float]] = {}
    for record in data.records:
        ages.setdefault(record.patient, set()).update(record.numbers)
    assert {len(of_one) for of_one in ages.values()} == {1}
    flat = np.array([next(iter(of_one)) for of_one in ages.values()])
    assert flat.min() >= 1
    assert flat.max() <= 5
    assert flat.std() > 0.5
    assert data.classes == ()


def test_a_run_reports_the_error_beside_that_of_the_mean_and_predicts_files(work: Path) -> None:
    report = report_of(work, "--epochs", 2)
    test = report["evaluations"]["test"]  # type: ignore[index]
    assert test["mae_gain"] == pytest.approx(test["mae_of_mean"] - test["mae"])
    low, high = report["intervals"]["test"]["mae"]  # type: ignore[index]
    assert low < test["mae"] < high
    data = PhantomAge(60)
    Image.fromarray(data.read(data.records[0])).save(work / "film.png")
    (run,) = (work / "runs/age").iterdir()
    ended = invoke("predict", run, "film.png", "--json")
    (one,) = json.loads(ended.stdout)["predictions"]
    assert 0 < one["numbers"]["age"] < 6
    assert invoke("resume", run, "--epochs", 3).code == 0


def test_a_sealed_run_keeps_the_test_images_closed(work: Path) -> None:
    report = report_of(work, "--epochs", 1, "--no-evaluate-test")
    assert list(report["evaluations"]) == ["validation"]  # type: ignore[call-overload]


def test_folds_are_by_patient_and_predict_together(work: Path) -> None:
    ended = invoke(
        "run", "age", "--cohort", 60, "--image-size", 32, "--epochs", 1, "--folds", 2, "--no-report"
    )
    assert ended.code == 0, ended.stderr
    data = PhantomAge(60)
    Image.fromarray(data.read(data.records[0])).save(work / "film.png")
    (group,) = (work / "runs/age").iterdir()
    (one,) = json.loads(invoke("predict", group, "film.png", "--json").stdout)["predictions"]
    assert one["numbers"]["age"] == pytest.approx(np.mean([member["age"] for member in one["members"]]))


def test_the_data_are_audited(work: Path) -> None:
    assert invoke("data", "check", "--dataset", "phantom-age", "--cohort", 60).code == 0


def test_a_dataset_without_ages_is_refused(work: Path) -> None:
    ended = invoke("run", "age", "--dataset", TINY.name, suite_datasets=True)
    assert ended.code == 2
    assert "gives no number age: use --dataset phantom-age" in ended.stderr
    assert not (work / "runs").exists()


def test_an_interval_is_wider_when_images_belong_to_few_patients() -> None:
    values = np.random.default_rng(0).normal(size=40).repeat(5)
    apart = interval(values, [str(place) for place in range(200)], 0)
    together = interval(values, [str(place // 5) for place in range(200)], 0)
    assert together[1] - together[0] > 1.5 * (apart[1] - apart[0])
