"""The hooks of a run: task hooks, plugins for one run, observers, and sections of the report."""

from __future__ import annotations

import logging

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.result import NamedTable, ReportSection
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.trainers.base import Trainer


def test_a_trainers_methods_are_the_task_hooks_without_a_decorator(trainer: Trainer) -> None:
    hooks = RunHooks(trainer, [])
    assert hooks.tasks.train_step(run=None, batch=3)["loss"] == 3
    assert hooks.participants() == ["trainer"]


def test_a_trainer_with_a_missing_method_cannot_be_instantiated() -> None:
    class Incomplete(Trainer):
        def build_model(self, run):
            return None

    with pytest.raises(TypeError, match=r"evaluate.*train_step"):
        Incomplete(settings=None)


def test_extensions_wrap_the_steps_of_the_trainer(trainer: Trainer) -> None:
    class Doubling:
        @hookimpl(wrapper=True)
        def train_step(self, run, batch):
            metrics = yield
            return {**metrics, "twice": 2 * metrics["loss"]}

    class Counting:
        calls = 0

        @hookimpl(wrapper=True)
        def train_step(self):
            Counting.calls += 1
            return (yield)

    hooks = RunHooks(trainer, [("doubling", Doubling()), ("counting", Counting())])
    assert hooks.tasks.train_step(run=None, batch=3) == {
        "loss": torch.tensor(3.0),
        "twice": torch.tensor(6.0),
    }
    assert Counting.calls == 1
    assert hooks.extensions() == ["counting", "doubling"]


def test_two_plain_implementations_of_a_task_hook_are_refused(trainer: Trainer) -> None:
    class Rival:
        @hookimpl
        def train_step(self, run, batch):
            return {}

    with pytest.raises(UsageError, match=r"train_step has to be implemented once per run, and is by .*rival"):
        RunHooks(trainer, [("rival", Rival())])


def test_plugins_for_a_run_take_part_and_a_failing_one_is_left_out(
    trainer: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    class Listener:
        @hookimpl
        def epoch_started(self, epoch):
            self.epoch = epoch

    listeners = [Listener(), Listener()]

    class Maker:
        @hookimpl
        def plugins_for_run(self, run):
            assert run == "the run"
            yield from listeners

    class Failing:
        @hookimpl
        def plugins_for_run(self):
            raise ValueError("no display")

    hooks = RunHooks(trainer, [("failing", Failing()), ("maker", Maker())])
    with caplog.at_level(logging.WARNING, "pneumo"):
        hooks.add_run_plugins("the run")
    hooks.notify("epoch_started", run=None, epoch=4)
    assert [listener.epoch for listener in listeners] == [4, 4]
    assert "plugin failing takes no part in this run: ValueError: no display" in caplog.text


def test_a_plugin_for_a_run_with_a_wrong_hook_is_named_and_left_out(
    hooks_of, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    class Misspelt:
        @hookimpl
        def epoch_finishd(self, run):
            calls.append("misspelt")

    class WrongArgument:
        @hookimpl
        def epoch_started(self, epoch):
            calls.append("wrong argument")

        @hookimpl
        def epoch_finished(self, run, metrix):
            calls.append("wrong argument")

    class Right:
        @hookimpl
        def epoch_started(self, epoch):
            calls.append("right")

    class Maker:
        @hookimpl
        def plugins_for_run(self):
            return [Misspelt(), WrongArgument(), Right()]

    hooks = hooks_of(Maker())
    with caplog.at_level(logging.WARNING, "pneumo"):
        hooks.add_run_plugins(None)
    hooks.notify("epoch_started", run=None, epoch=1)
    assert calls == ["right"]
    misspelt, argument = (record.getMessage() for record in caplog.records)
    assert misspelt.startswith("plugin Maker:Misspelt (pneumo-listening 2.1) takes no part in this run")
    assert "there is no hook 'epoch_finishd'; did you mean epoch_finished" in misspelt
    assert "Maker:WrongArgument (pneumo-listening 2.1)" in argument
    assert "metrix" in argument
    assert "\n" not in argument
    assert not any("Misspelt" in name or "WrongArgument" in name for name in hooks.participants())


def test_a_wrapper_may_leave_out_or_add_plugins_for_a_run(hooks_of) -> None:
    calls: list[str] = []

    class Observer:
        def __init__(self, name):
            self.name = name

        @hookimpl
        def epoch_started(self):
            calls.append(self.name)

    unwanted, wanted, further = (Observer(name) for name in ("unwanted", "wanted", "further"))

    class Maker:
        @hookimpl
        def plugins_for_run(self):
            return [unwanted, wanted]

    class Choosing:
        @hookimpl(wrapper=True)
        def plugins_for_run(self):
            parts = yield
            return [[plugin for part in parts for plugin in part if plugin is not unwanted], [further]]

    hooks = hooks_of(Maker(), Choosing())
    hooks.add_run_plugins(None)
    hooks.notify("epoch_started", run=None, epoch=1)
    assert sorted(calls) == ["further", "wanted"]


# --- observers --------------------------------------------------------------------------------------------------


def test_observers_may_take_fewer_arguments(trainer: Trainer) -> None:
    calls = []

    class None_:
        @hookimpl
        def epoch_finished(self):
            calls.append(())

    class One:
        @hookimpl
        def epoch_finished(self, metrics):
            calls.append((metrics,))

    class Swapped:
        @hookimpl
        def epoch_finished(self, metrics, run):
            calls.append((metrics, run))

    hooks = RunHooks(trainer, [("none", None_()), ("one", One()), ("swapped", Swapped())])
    hooks.notify("epoch_finished", run="r", metrics="m")
    assert sorted(calls, key=len) == [(), ("m",), ("m", "r")]


def test_an_observer_that_raises_is_logged_once_and_dropped(
    trainer: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    class Raising:
        calls = 0

        @hookimpl
        def epoch_started(self):
            Raising.calls += 1
            raise RuntimeError("oops")

        @hookimpl
        def epoch_finished(self):
            Raising.calls += 1

    class Working:
        calls = 0

        @hookimpl
        def epoch_started(self):
            Working.calls += 1

    hooks = RunHooks(trainer, [("working", Working()), ("raising", Raising())])
    with caplog.at_level(logging.WARNING, "pneumo"):
        for epoch in (1, 2, 3):
            hooks.notify("epoch_started", run=None, epoch=epoch)
        hooks.notify("epoch_finished", run=None, metrics={})
    assert (Raising.calls, Working.calls) == (1, 3)
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert messages == [
        "observer raising failed in epoch_started and is dropped for this run: RuntimeError: oops"
    ]


def test_ctrl_c_inside_an_observer_reaches_the_caller(trainer: Trainer) -> None:
    class Interrupted:
        @hookimpl
        def step_finished(self):
            raise KeyboardInterrupt

    hooks = RunHooks(trainer, [("interrupted", Interrupted())])
    with pytest.raises(KeyboardInterrupt):
        hooks.notify("step_finished", run=None, metrics={})


def test_errors_of_the_trainer_itself_reach_the_caller(trainer: Trainer) -> None:
    class Observing(type(trainer)):
        @hookimpl
        def epoch_started(self, epoch):
            raise RuntimeError("the trainer itself")

    with pytest.raises(RuntimeError, match="the trainer itself"):
        RunHooks(Observing(settings=None), []).notify("epoch_started", run=None, epoch=1)


def test_only_lifecycle_hooks_notify(trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="train_step is no lifecycle hook"):
        RunHooks(trainer, []).notify("train_step", run=None)


def test_sections_of_a_report_name_their_plugin_and_a_wrong_one_is_left_out(
    hooks_of, caplog: pytest.LogCaptureFixture
) -> None:
    class Sections:
        @hookimpl
        def add_to_report(self, run, evaluations):
            yield ReportSection("Size", "Small.", (NamedTable("T", ("a",), (("1",),)),))

    class Strange:
        @hookimpl
        def add_to_report(self):
            return ["no section"]

    with caplog.at_level(logging.WARNING, "pneumo"):
        sections = hooks_of(Strange(), Sections()).report_sections(None, {})
    assert [(name, section.title) for name, section in sections] == [
        ("Sections (pneumo-listening 2.1)", "Size")
    ]
    assert "observer Strange (pneumo-listening 2.1) failed in add_to_report" in caplog.text
