"""Lifecycle hooks in a real run."""

from __future__ import annotations

import logging
from collections import Counter

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError


class Recorder:
    """Records the lifecycle of a whole run."""

    def __init__(self) -> None:
        self.calls = []

    def record(self, name, run):
        self.calls.append((name, len(run.history)))

    @hookimpl
    def run_started(self, run):
        assert run.folder.path.is_dir()
        self.record("run_started", run)

    @hookimpl
    def epoch_started(self, run, epoch):
        assert epoch == run.epoch == len(run.history)
        self.record("epoch_started", run)

    @hookimpl
    def step_finished(self, run, metrics):
        assert {"loss", "logits", "labels"} <= metrics.keys()
        assert not any(value.requires_grad for value in metrics.values())
        self.record("step_finished", run)

    @hookimpl
    def epoch_finished(self, run, metrics):
        assert metrics == run.history[-1]
        self.record("epoch_finished", run)

    @hookimpl
    def checkpoint_saved(self, run, path):
        assert path.is_file()
        self.record(f"checkpoint_saved {path.stem}", run)

    @hookimpl
    def run_finished(self, run, report):
        assert run.folder.report_html.is_file()
        assert report["evaluations"]["test"]
        self.record("run_finished", run)

    @hookimpl
    def run_failed(self, run, error):
        self.calls.append(("run_failed", str(error)))


def test_lifecycle_hooks_are_called_in_order(start_run) -> None:
    observer = Recorder()
    start_run("fake", observer, epochs=1, batch_size=12)
    assert observer.calls == [
        ("run_started", 0),
        ("checkpoint_saved last", 0),
        ("checkpoint_saved last", 1),
        ("epoch_finished", 1),
        ("epoch_started", 1),
        *[("step_finished", 1)] * 3,
        ("checkpoint_saved best", 1),
        ("checkpoint_saved last", 2),
        ("epoch_finished", 2),
        ("checkpoint_saved best", 2),  # with the calibration, fitted on the validation images
        ("run_finished", 2),
    ]


def test_a_run_that_fails_notifies_its_observers_and_names_the_extension_that_failed(start_run) -> None:
    class Failing:
        @hookimpl(wrapper=True)
        def train_step(self, run, batch):
            yield
            raise ZeroDivisionError("in the step")

    observer = Recorder()
    message = "extension further failed in train_step: ZeroDivisionError: in the step"
    with pytest.raises(PneumoError, match=message):
        start_run("fake", Failing(), observer)
    assert Counter(name for name, _ in observer.calls)["step_finished"] == 0
    name, text = observer.calls[-1]
    assert name == "run_failed"
    assert text.startswith(f"{message} (test_lifecycle.py, line ")


class EndOfTest(BaseException):
    """Ends a run before its report."""


class KeepsWeights:
    """Keeps the weights after the first epoch, and ends the run."""

    @hookimpl
    def epoch_finished(self, run, metrics):
        if metrics["epoch"] == 1:
            self.weights = {name: value.clone() for name, value in run.model.state_dict().items()}
            raise EndOfTest


def test_a_run_with_an_observer_that_raises_has_the_same_result(start_run, caplog) -> None:
    class Raising:
        @hookimpl
        def step_finished(self):
            raise RuntimeError("oops")

    one, other = KeepsWeights(), KeepsWeights()
    with caplog.at_level(logging.WARNING, "pneumo"):
        for plugins in ((one,), (Raising(), other)):
            with pytest.raises(EndOfTest):
                start_run("fake", *plugins, epochs=1)
    assert caplog.text.count("observer further failed in step_finished and is dropped") == 1
    for name, value in one.weights.items():
        assert torch.equal(value, other.weights[name])
