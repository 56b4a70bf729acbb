"""Metrics that are NaN or infinite: which of them end a run, and that no file has a NaN that JSON does not know."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError
from pneumo_cli.runs import Monitor
from pneumo_cli.runs.checkpoints import Checkpoints
from tests.training.probe import Probe

NAN, INFINITE = float("nan"), float("inf")


def strict(text: str) -> Any:
    """JSON as other languages read it."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


class Undefined(Probe):
    """Further metrics are undefined in every evaluation, and what belongs to them."""

    curves = ("recall", "loss")

    def evaluate(self, run, loader):
        found = super().evaluate(run, loader)
        return dataclasses.replace(
            found, metrics={**found.metrics, "recall": NAN, "ratio": -INFINITE}, details={"bins": [0.5, NAN]}
        )

    def training_metrics(self, run, means, outputs):
        return {**means, "recall": NAN}

    def describe_evaluation(self, run, split, evaluation):
        return dataclasses.replace(evaluation, intervals={"recall": (NAN, NAN), "accuracy": (0.0, 1.0)})


def test_an_undefined_metric_does_not_end_a_run_and_is_null_in_its_files(runner_of, pneumo) -> None:
    runner = runner_of(Undefined, epochs=2)
    report = runner.start()
    folder = runner.run.folder
    rows = [strict(line) for line in folder.metrics.read_text().splitlines()]
    assert [row["validation"]["recall"] for row in rows] == [None] * 3
    assert rows[1]["train"]["recall"] is None
    assert all(isinstance(row["validation"]["loss"], float) for row in rows)
    assert strict(folder.report_json.read_text()) == report
    assert report["evaluations"]["test"]["recall"] is report["evaluations"]["test"]["ratio"] is None
    assert report["intervals"]["test"] == {"recall": [None, None], "accuracy": [0.0, 1.0]}
    assert report["details"]["test"] == {"bins": [0.5, None]}
    assert report["history"] == rows
    assert (folder.figures / "curves.png").is_file()
    for page in (folder.report_html, folder.report_markdown):
        assert "nan" not in page.read_text().replace("Unnamed", "").lower().split()

    # Checkpoints, lists and later evaluations take it as it is.
    assert len(Checkpoints(folder.checkpoints).load("last")["history"]) == 3
    listed = pneumo("list-runs", "--json")
    assert "recall" not in strict(listed.stdout)["runs"][0]["evaluations"]["test"]
    assert pneumo("list-runs", "--sort", "accuracy").code == 0


class EndsAfterOne:
    @hookimpl
    def epoch_finished(self, run, metrics):
        if metrics["epoch"] == 1:
            raise KeyboardInterrupt


def test_a_run_with_undefined_metrics_resumes_to_the_same_history(runner_of) -> None:
    whole = runner_of(Undefined, epochs=2)
    whole.start()
    half = runner_of(Undefined, EndsAfterOne(), epochs=2)
    with pytest.raises(KeyboardInterrupt):
        half.start()
    resumed = runner_of(Undefined, epochs=2)
    resumed.resume(half.run.folder)
    histories = [
        [
            {name: row[name] for name in ("train", "validation")}
            for row in map(strict, one.run.folder.metrics.read_text().splitlines())
        ]
        for one in (whole, resumed)
    ]
    assert histories[0] == histories[1]


class Monitored(Undefined):
    monitor = Monitor("recall", "max")


class MonitoredInTraining(Undefined):
    monitor = Monitor("recall", "max", "train")


class Diverging(Probe):
    def evaluate(self, run, loader):
        found = super().evaluate(run, loader)
        if run.epoch == 2:
            return dataclasses.replace(found, metrics={**found.metrics, "loss": INFINITE})
        return found


@pytest.mark.parametrize(
    ("trainer", "epoch", "message"),
    [
        (
            Monitored,
            1,
            r"fake \(pneumo-fake 1.0\): validation recall is nan after epoch 1: the metric that is monitored",
        ),
        (
            MonitoredInTraining,
            1,
            "train recall is nan after epoch 1: the metric that is monitored has to be finite",
        ),
        (Diverging, 2, "validation loss is inf after epoch 2: the run has diverged"),
    ],
)
def test_what_selects_an_epoch_and_the_loss_have_to_be_finite(
    trainer: type, epoch: int, message: str, runner_of
) -> None:
    runner = runner_of(trainer, epochs=3)
    with pytest.raises(PneumoError, match=message):
        runner.start()
    assert runner.run.epoch == epoch
    assert not (Path(runner.run.folder.path) / "report.json").exists()


class LostOnTestImages(Probe):
    """The loss of the test images overflows: no reason to lose all other results after training."""

    def evaluate(self, run, loader):
        found = super().evaluate(run, loader)
        if set(found.outputs["index"]) == set(run.data.split.test):
            return dataclasses.replace(found, metrics={**found.metrics, "loss": INFINITE})
        return found


def test_a_loss_that_overflows_on_the_test_images_is_null_in_the_report(runner_of) -> None:
    report = runner_of(LostOnTestImages).start()
    assert report["evaluations"]["test"]["loss"] is None
    assert report["evaluations"]["test"]["accuracy"] >= 0


class Misspelt(Probe):
    curves = ("loss", "acuracy")


def test_a_misspelt_curve_is_noted(runner_of) -> None:
    (note,) = runner_of(Misspelt).start()["notes"]
    assert note == (
        "trainer fake (pneumo-fake 1.0) has no metric 'acuracy', whose curve it wants: did you mean accuracy?"
    )
