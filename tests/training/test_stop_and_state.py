"""Extensions that end the training early, and the state of extensions and trainers in checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.trainers import ClassificationTrainer
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import Runner, open_runner

EXTENSION = '''
"""Stops after an epoch, and averages the weights in a state of its own."""
import torch
from pneumo_cli.api import ExtensionSpec, hookimpl
from pneumo_cli.settings import PartSettings
api_version = 1

class Settings(PartSettings):
    last: int = 2

class Stopper:
    def __init__(self, settings):
        self.last = settings.last
        self.average = torch.zeros(3)
        self.epochs = 0

    @hookimpl
    def around_optimize(self, run):
        def averaging(optimize, loss, name):
            optimize(loss, name)
            self.average = self.average.to(loss.device).lerp(loss.detach().float().expand(3), 0.1)
        return averaging

    @hookimpl
    def epoch_finished(self, run, metrics):
        self.epochs += 1
        if metrics["epoch"] == self.last:
            run.stop("enough is\\nenough")

    def state_dict(self):
        return {"average": self.average, "epochs": self.epochs}

    def load_state_dict(self, state):
        self.average, self.epochs = state["average"], state["epochs"]

@hookimpl
def register_extensions():
    yield ExtensionSpec(
        name="stopper", summary="Stops", factory="stopper_plugin:Stopper", settings="stopper_plugin:Settings"
    )
'''


@pytest.fixture
def stopper(install) -> None:
    """The extension ``stopper`` is installed."""
    install("pneumo-stopper", {"stopper": "stopper_plugin"}, {"stopper_plugin": EXTENSION}, "0.4")


class EndOfTest(BaseException):
    """Ends a run as a power cut does."""


class Ends:
    """Ends the run in an epoch, after a step (0: when the epoch is finished)."""

    def __init__(self, epoch: int, step: int = 0) -> None:
        self.epoch, self.step = epoch, step

    @hookimpl
    def step_finished(self, run):
        if (run.epoch, run.step) == (self.epoch, self.step):
            raise EndOfTest

    @hookimpl(trylast=True)
    def epoch_finished(self, metrics):
        if metrics["epoch"] == self.epoch and not self.step:
            raise EndOfTest


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the run that none interrupts; the first test that needs the run makes it."""
    return tmp_path_factory.mktemp("whole")


def reopened(folder: Path, *further: object, **flags: Any) -> Runner:
    """A runner of the settings of a run, not started."""
    plugins = discover()
    setup = set_up(plugins, reopen_settings(plugins, RunFolder(folder), flags))
    participants = [*plugins.observing(), *(("further", plugin) for plugin in further)]
    return open_runner(setup, participants, command=["pneumo"])


def only_run() -> Path:
    (path,) = Path("runs").glob("*/*")
    return path


def test_a_run_that_is_stopped_is_finished_and_goes_on_if_more_epochs_are_asked_for(stopper, pneumo) -> None:
    quick = ("--model", "plain-net", "--no-evaluate-test")
    ended = pneumo("run", "fake", "--with", "stopper", "--epochs", "5", *quick)
    assert ended.code == 0, ended.stderr
    run = only_run()
    report = json.loads((run / "report.json").read_text())
    assert [row["epoch"] for row in report["history"]] == [0, 1, 2]
    assert report["run"]["stopped"] == {"epoch": 2, "of": 5, "reason": "enough is enough"}
    assert "stopped after epoch 2 of 5: enough is enough" in report["notes"]
    assert report["extensions"] == {"stopper": "pneumo-stopper 0.4"}
    assert report["reproduce"][1] == "# run.toml asks for it: --with stopper (pneumo-stopper 0.4)"
    (listed,) = json.loads(pneumo("list-runs", "--json").stdout)["runs"]
    assert (listed["state"], listed["epochs"]) == ("finished", 2)
    again = pneumo("resume", run)
    assert again.code == 0
    assert "is finished" in again.stderr
    assert json.loads((run / "report.json").read_text()) == report
    longer = pneumo("resume", run, "--epochs", "6")
    assert longer.code == 0, longer.stderr
    report = json.loads((run / "report.json").read_text())
    assert len(report["history"]) == 7
    assert "stopped" not in report["run"]
    checkpoint = Checkpoints(run / "checkpoints").load("last")
    assert "stop" not in checkpoint
    assert checkpoint["parts"]["stopper"]["epochs"] == 7


def test_a_run_that_was_stopped_and_killed_before_its_report_is_not_trained_further(
    stopper, start_run
) -> None:
    class Killed:
        @hookimpl
        def add_to_report(self):
            raise EndOfTest

    with pytest.raises(EndOfTest):
        start_run("fake", Killed(), epochs=4, model="plain-net", evaluate_test=False, **{"with": ["stopper"]})
    assert Checkpoints(only_run() / "checkpoints").load("last")["stop"] == {
        "reason": "enough is enough",
        "of": 4,
    }
    runner = reopened(only_run(), Killed())
    with pytest.raises(EndOfTest):
        runner.resume(RunFolder(only_run()))
    assert len(runner.run.history) == 3


def test_without_a_monitor_the_epoch_at_which_it_stops_is_the_best(start_run) -> None:
    class Stops:
        @hookimpl
        def around_train_step(self, run):
            def stopping(train_step, batch):
                run.stop("in the first step")
                return train_step(batch)

            return stopping

    run = start_run("painter", Stops(), epochs=3, fidelity_images=0, evaluate_test=False)
    assert [row["epoch"] for row in run.history] == [0, 1]
    assert run.best.epoch == 1


def test_an_observer_cannot_stop_a_run(start_run, caplog) -> None:
    class Impatient:
        @hookimpl
        def epoch_started(self, run):
            run.stop("bored")

    with pytest.raises(EndOfTest):
        start_run("fake", Impatient(), Ends(2), epochs=2)
    assert "observer further failed in epoch_started and is dropped for this run" in caplog.text
    assert "an observer cannot stop a run" in caplog.text


@pytest.mark.parametrize("point", [(1, 3), (1, 0), (2, 1), (2, 0)])
def test_an_extension_with_a_state_resumes_to_the_same_bits(point, stopper, start_run, whole: Path) -> None:
    settings = {"epochs": 3, "model": "plain-net", "checkpoint_minutes": 1e-9, "with": ["stopper"]}
    settings |= {"stopper_last": 9, "precision": "fp32"}
    if not any(whole.iterdir()):
        with pytest.raises(EndOfTest):
            start_run("fake", Ends(3, 5), output=whole, **settings)
    with pytest.raises(EndOfTest):
        start_run("fake", Ends(*point), **settings)
    with pytest.raises(EndOfTest):
        reopened(only_run(), Ends(3, 5)).resume(RunFolder(only_run()))
    (uninterrupted,) = whole.glob("*/*")
    one, other = (Checkpoints(path / "checkpoints").load("last") for path in (uninterrupted, only_run()))
    assert (one["epoch"], one["step"]) == (other["epoch"], other["step"])
    assert one["parts"]["stopper"]["epochs"] == other["parts"]["stopper"]["epochs"] == 3
    assert torch.equal(one["parts"]["stopper"]["average"], other["parts"]["stopper"]["average"])
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name])


class Counting(ClassificationTrainer):
    """A trainer with a state."""

    kept: Any = None

    def state_dict(self):
        return {"kept": self.kept}

    def load_state_dict(self, state):
        self.kept = state["kept"]


def test_a_trainers_state_is_saved_and_a_state_that_an_old_checkpoint_lacks_is_noted(runner_of) -> None:
    runner = runner_of(Counting, Ends(0), epochs=2)
    runner.trainer.kept = torch.arange(3)
    with pytest.raises(EndOfTest):
        runner.start()
    folder = RunFolder(runner.run.folder.path)
    saved = Checkpoints(folder.checkpoints).load("last")
    assert saved["trainer"]["kept"].tolist() == [0, 1, 2]
    assert "parts" not in saved
    again = runner_of(Counting, Ends(1), epochs=2)
    with pytest.raises(EndOfTest):
        again.resume(folder)
    assert again.trainer.kept.tolist() == [0, 1, 2]
    del saved["trainer"]
    Checkpoints(folder.checkpoints).save("last", saved)
    old = runner_of(Counting, Ends(2), epochs=2)
    with pytest.raises(EndOfTest):
        old.resume(folder)
    assert "the checkpoint has no state of fake (pneumo-fake 1.0), which begins anew" in old.run.notes


class CountingEpochs(Counting):
    """Whose state its own hook changes."""

    kept = 0

    @hookimpl
    def epoch_finished(self) -> None:
        self.kept += 1


def test_the_state_of_an_epoch_has_what_the_trainers_own_hook_did_at_its_end(runner_of) -> None:
    runner = runner_of(CountingEpochs, epochs=1)
    runner.start()
    saved = Checkpoints(runner.run.folder.checkpoints).load("last")
    assert (saved["trainer"]["kept"], runner.trainer.kept) == (2, 2)  # of the epochs 0 and 1


def test_a_state_that_a_checkpoint_cannot_hold_or_that_does_not_fit_is_named(runner_of) -> None:
    runner = runner_of(Counting)
    runner.trainer.kept = {1, 2}
    with pytest.raises(
        PneumoError, match=r"fake \(pneumo-fake 1.0\) failed in state_dict: TypeError: .*kept.* is a set"
    ):
        runner.start()

    class Choosy(Counting):
        def load_state_dict(self, state):
            raise KeyError("momentum")

    good = runner_of(Counting, Ends(0))
    with pytest.raises(EndOfTest):
        good.start()
    with pytest.raises(
        UsageError, match=r"does not fit the installed plugin: fake .* failed in load_state_dict"
    ):
        runner_of(Choosy).resume(RunFolder(good.run.folder.path))
