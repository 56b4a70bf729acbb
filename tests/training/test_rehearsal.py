"""The end of a run, tried before it trains; and what its report says if a part of it fails nevertheless."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation import NamedFigure, NamedTable, ReportSection, RunSummary
from pneumo_cli.trainers import ClassificationTrainer
from tests.training.probe import Probe

WHO = r"trainer fake \(pneumo-fake 1.0\)"


def with_figure(evaluation: Any, draw: Any) -> Any:
    return dataclasses.replace(evaluation, figures=(NamedFigure("curve", "A curve.", draw),))


class ThreeAxes(Probe):
    def evaluate(self, run, loader):
        found = super().evaluate(run, loader)
        maps = np.zeros((len(found.outputs["index"]), 2, 2))
        return dataclasses.replace(found, outputs={**found.outputs, "maps": maps})


class LastBatchLost(Probe):
    def evaluate(self, run, loader):
        found = super().evaluate(run, loader)
        return dataclasses.replace(found, outputs={name: one[:-1] for name, one in found.outputs.items()})


class NotMonitored(Probe):
    def evaluate(self, run, loader):
        return dataclasses.replace(super().evaluate(run, loader), metrics={"accuracy": 0.5})


class FigureRaises(Probe):
    def evaluate(self, run, loader):
        return with_figure(super().evaluate(run, loader), lambda: 1 / 0)


class FigureIsNone(Probe):
    def describe_evaluation(self, run, split, evaluation):
        return with_figure(evaluation, lambda: None)


class FigureIsHuge(Probe):
    def describe_evaluation(self, run, split, evaluation):
        return with_figure(evaluation, lambda: Figure(figsize=(5000, 5000)))


class DescriptionRaises(Probe):
    def describe_evaluation(self, run, split, evaluation):
        return evaluation.details["missing"]


class AssessmentRaises(Probe):
    """By the name of version 0.1."""

    def assess(self, run, split, evaluation):
        raise LookupError("assessed")


class DescriptionLost(Probe):
    def describe_evaluation(self, run, split, evaluation):
        dataclasses.replace(evaluation, details={"seen": True})


class ObjectInDetails(Probe):
    def describe_evaluation(self, run, split, evaluation):
        return dataclasses.replace(evaluation, details={"calibration": {"bins": [1, 2, 3, object()]}})


class CalibrationRaises(Probe):
    def calibrate(self, run, validation):
        raise ZeroDivisionError("no images")


class CalibrationOfObjects(Probe):
    def calibrate(self, run, validation):
        return {"rule": validation}


class Exits(Probe):
    def calibrate(self, run, validation):
        raise SystemExit(0)


class OtherOutputs(ClassificationTrainer):
    """Derives from the base class of classifiers, and breaks what that expects of evaluations."""

    def evaluate(self, run, loader):
        found = super().evaluate(run, loader)
        return dataclasses.replace(found, outputs={"index": found.outputs["index"]})


class WrongImages(Probe):
    def epoch_images(self, run):
        return torch.zeros(2, 8, 8)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        (ThreeAxes, "broke the contract of evaluate: outputs['maps'] is an array float64 [36, 2, 2]"),
        (LastBatchLost, "outputs['index'] holds 35 images, and not just the 36 of the split"),
        (
            NotMonitored,
            "broke the contract of evaluate: it returned no validation 'loss', by which the best",
        ),
        (
            FigureRaises,
            "failed in the figure curve: ZeroDivisionError: division by zero (test_rehearsal.py, line ",
        ),
        (
            FigureIsNone,
            "failed in the figure curve: TypeError: draw() returned NoneType, not a matplotlib Figure",
        ),
        (FigureIsHuge, "pixels are too many"),
        (DescriptionRaises, "failed in describe_evaluation: KeyError: 'missing'"),
        (AssessmentRaises, "failed in describe_evaluation: LookupError: assessed"),
        (DescriptionLost, "broke the contract of describe_evaluation: it returned None, not an Evaluation"),
        (ObjectInDetails, "details.calibration.bins[3] is an object, which JSON does not have"),
        (CalibrationRaises, "failed in calibrate: ZeroDivisionError: no images"),
        (CalibrationOfObjects, "its result['rule'] is a Evaluation: a checkpoint holds tensors"),
        (Exits, "failed in calibrate: SystemExit: 0"),
        (OtherOutputs, "failed in calibrate: KeyError: 'logits'"),
        (WrongImages, "broke the contract of epoch_images: it returned a tensor float32 [2, 8, 8]"),
    ],
)
def test_what_would_fail_at_the_end_fails_before_training(
    trainer: type, message: str, runner_of, count_accesses
) -> None:
    runner = runner_of(trainer)
    with pytest.raises(PneumoError) as caught:
        runner.start()
    assert message in str(caught.value)
    assert "there is no" in message or "trainer fake (pneumo-fake 1.0)" in str(caught.value)
    assert runner.run.epoch == 0
    assert count_accesses(runner.run.folder.path) == 0


class Random(Probe):
    """Uses the global random generators wherever it can, and notes what it is asked."""

    asked: list[str]

    def epoch_images(self, run):
        return torch.randint(0, 255, (2, 8, 8), dtype=torch.uint8) + np.random.randint(9)

    def calibrate(self, run, validation):
        run.note(f"calibrated after {len(run.history)} epochs")
        self.asked.append("calibrate")
        return {"bias": torch.randn(3)}

    def describe_evaluation(self, run, split, evaluation):
        assert run.calibration["bias"].shape == (3,)
        torch.randn(5)
        np.random.rand(5)
        self.asked.append(f"describe {split}")
        return with_figure(evaluation, lambda: plt.subplots()[0])


def test_the_rehearsal_leaves_no_trace(runner_of, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for tried in (True, False):
        if not tried:
            monkeypatch.setattr("pneumo_cli.training.runner.rehearse", lambda *given: None)
        Random.asked = []
        runner = runner_of(Random, epochs=2)
        runner.start()
        run = runner.run
        images = [run.folder.epoch_images(epoch).read_bytes() for epoch in range(3)]
        history = [
            {name: row[name] for name in ("train", "validation", "learning_rate")} for row in run.history
        ]
        results.append((images, history, run.calibration["bias"].tolist(), run.notes))
        first = ["calibrate", "describe validation"] if tried else []
        assert Random.asked == [*first, "calibrate", "describe validation", "describe test"]
    assert results[0] == results[1]
    assert results[0][3] == ["calibrated after 3 epochs"]
    assert not plt.get_fignums(), "figures that pyplot keeps open are closed"


def test_methods_of_pneumo_itself_are_not_rehearsed(runner_of, monkeypatch: pytest.MonkeyPatch) -> None:
    class Derived(ClassificationTrainer):
        pass

    class Seen(BaseException):
        pass

    class Stops:
        @hookimpl
        def epoch_started(self):
            raise Seen

    monkeypatch.setattr(ClassificationTrainer, "calibrate", None)
    with pytest.raises(Seen):
        runner_of(Derived, Stops()).start()


def test_a_resumed_run_is_tried_too(runner_of) -> None:
    class Stops:
        @hookimpl
        def epoch_finished(self, run):
            if run.epoch == 1:
                raise KeyboardInterrupt

    first = runner_of(Probe, Stops(), epochs=2)
    with pytest.raises(KeyboardInterrupt):
        first.start()
    second = runner_of(DescriptionRaises, epochs=2)
    with pytest.raises(PneumoError, match=WHO + " failed in describe_evaluation"):
        second.resume(first.run.folder)
    assert second.run.test_accesses == 0
    third = runner_of(Probe, epochs=2)
    assert third.resume(first.run.folder)["evaluations"]["test"]["accuracy"] >= 0


class LateFailures(Probe):
    """Fails wherever the report is made, only after training."""

    def calibrate(self, run, validation):
        return {}

    def describe_evaluation(self, run, split, evaluation):
        if split == "test":
            raise KeyError("no such table")
        over = len(run.history) > run.settings.epochs
        table = NamedTable("Kept", ("name", "value"), (("images", "12"),))
        return dataclasses.replace(
            with_figure(evaluation, lambda: 1 / 0 if over else Figure()), tables=(table,)
        )

    def summarize(self, run, evaluations):
        raise OSError(2, "No such file")

    @hookimpl
    def add_to_report(self, run):
        raise SystemExit(0)


class Section:
    """One plugin's section fails, another has a row that is too long and a figure that fails."""

    @hookimpl
    def add_to_report(self, run):
        raise AttributeError("no attribute 'seconds'")


class Sections:
    @hookimpl
    def add_to_report(self, run):
        yield ReportSection("Wrong", tables=(NamedTable("T", ("a",), (("1", "2"),)),))
        yield ReportSection("Right", "Text.", figures=(NamedFigure("trend", "It.", lambda: 1 / 0),))


def test_what_fails_in_the_report_is_noted_and_costs_no_result(runner_of) -> None:
    report = runner_of(LateFailures, Section(), Sections()).start()
    assert (
        report["evaluations"]["test"].keys()
        == report["evaluations"]["validation"].keys()
        == {"loss", "accuracy"}
    )
    assert report["tables"] == {"validation": report["tables"]["validation"], "test": []}
    assert [section["title"] for section in report["sections"]] == ["Right"]
    notes = "\n".join(report["notes"])
    for expected in (
        "what the report adds to the test results is missing: trainer fake (pneumo-fake 1.0) failed in "
        "describe_evaluation: KeyError: 'no such table'",
        "the figure curve-validation cannot be drawn: ZeroDivisionError: division by zero",
        "the summary of the run is missing: trainer fake (pneumo-fake 1.0) failed in summarize: ",
        "a section of the report is missing: plugin further failed in add_to_report: AttributeError: no attribute "
        "'seconds'",
        "a section of the plugin further (add_to_report) is missing: the table 'T': row 0 has 2 cells",
        "the figure section-0-trend of the plugin further cannot be drawn: ZeroDivisionError",
        "trainer fake (pneumo-fake 1.0) failed in add_to_report: SystemExit: 0",
    ):
        assert expected in notes
    folder = Path(report["run"]["folder"])
    assert json.loads((folder / "report.json").read_text()) == report
    assert "failed in summarize" in (folder / "report.md").read_text()
    assert (folder / "predictions" / "test.csv").is_file()


class Twice(Probe):
    """Figures of names that others have: its own, and those of pneumo."""

    def describe_evaluation(self, run, split, evaluation):
        figures = [NamedFigure("same", f"Number {number}.", Figure) for number in range(2)]
        return dataclasses.replace(evaluation, figures=tuple(figures))

    def summarize(self, run, evaluations):
        return RunSummary(figures=(NamedFigure("curves", "Its own.", Figure),))


def test_a_second_figure_of_a_name_gets_a_number(runner_of) -> None:
    report = runner_of(Twice).start()
    files = [figure["file"] for figure in report["figures"]]
    assert len(set(files)) == len(files)
    for file in ("same-test", "same-test-2", "curves", "curves-2"):
        assert f"figures/{file}.png" in files
        assert (Path(report["run"]["folder"]) / "figures" / f"{file}.png").is_file()


class Paths(Probe):
    curves = ("loss", "../../escaped", "dice/left lung")

    def evaluate(self, run, loader):
        found = super().evaluate(run, loader)
        return dataclasses.replace(
            found, metrics={**found.metrics, "../../escaped": 1.0, "dice/left lung": 0.5}
        )


def test_a_metrics_name_does_not_lead_out_of_the_run_folder(runner_of) -> None:
    report = runner_of(Paths, print_figures=True).start()
    folder = Path(report["run"]["folder"])
    assert report["evaluations"]["test"]["dice/left lung"] == 0.5
    assert (folder / "figures" / "curve-dice-left-lung.png").is_file()
    assert not list(Path("runs").rglob("*escaped*")) or list((folder / "figures").glob("curve-*escaped.png"))
    assert {path.parent for path in Path().rglob("*escaped*")} == {folder / "figures"}
