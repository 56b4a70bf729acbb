"""The hooks of a run: task hooks, plugins for one run, observers, and sections of the report."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.result import NamedTable, ReportSection
from pneumo_cli.plugins.participants import Participants
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.registry import Provenance
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
    assert list(hooks.extensions()) == ["counting", "doubling"]


def test_two_plain_implementations_of_a_task_hook_are_refused(trainer: Trainer) -> None:
    class Rival:
        @hookimpl
        def train_step(self, run, batch):
            return {}

    with pytest.raises(UsageError, match=r"train_step has to be implemented once per run, and is by .*rival"):
        RunHooks(trainer, [("rival", Rival())])


def test_plugins_for_a_run_take_part(trainer: Trainer) -> None:
    class Listener:
        @hookimpl
        def epoch_started(self, epoch):
            self.epoch = epoch

    listeners = [Listener(), Listener()]

    class Maker:
        @hookimpl
        def plugins_for_run(self, run):
            assert run.name == "the run"
            yield from listeners

    hooks = RunHooks(trainer, [("maker", Maker())])
    hooks.add_run_plugins(SimpleNamespace(name="the run", stop_reason=""))
    hooks.notify("epoch_started", run=None, epoch=4)
    assert [listener.epoch for listener in listeners] == [4, 4]
    assert hooks.participants() == ["maker", "maker:Listener", "maker:Listener-2", "trainer"]


class Misspelt:
    @hookimpl
    def epoch_finishd(self, run):
        """A misspelt hook."""


class WrongArgument:
    @hookimpl
    def epoch_started(self, epoch):
        """A hook."""

    @hookimpl
    def epoch_finished(self, run, metrix):
        """A hook with a misspelt argument."""


class Unmarked:
    @hookimpl
    def epoch_started(self, epoch):
        """A hook."""

    def around_loss(self, run):
        """A hook without its mark."""


class WrapsWithoutYield:
    @hookimpl(wrapper=True)
    def train_step(self, run, batch):
        return {}


class Empty:
    """No hook at all."""


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        (Misspelt(), r"there is no hook 'epoch_finishd'; did you mean epoch_finished"),
        (WrongArgument(), "metrix"),
        (Unmarked(), "its method around_loss has the name of a hook without being marked with @hookimpl"),
        (WrapsWithoutYield(), "generator"),
        (Empty(), "it is an Empty, which implements no hook"),
        (Unmarked, "the class Unmarked is no object with hooks"),
    ],
    ids=["misspelt", "argument", "unmarked", "no yield", "no hook", "class"],
)
def test_a_wrong_object_for_a_run_ends_it_with_its_name(returned: object, words: str, hooks_of) -> None:
    class Maker:
        @hookimpl
        def plugins_for_run(self):
            return [returned]

    name = returned.__name__ if isinstance(returned, type) else type(returned).__name__
    with pytest.raises(UsageError) as caught:
        hooks_of(Maker()).add_run_plugins(None)
    message = str(caught.value)
    assert message.startswith(f"plugin Maker:{name} (pneumo-listening 2.1) cannot take part in a run: ")
    assert words in message
    assert message.endswith("PNEUMO_DISABLE_PLUGINS=Maker leaves it out")
    assert "\n" not in message


@pytest.mark.parametrize("value", ["raises", "a number"])
def test_a_plugin_that_fails_to_give_its_objects_ends_the_run(value: str, hooks_of) -> None:
    class Maker:
        @hookimpl
        def plugins_for_run(self):
            if value == "raises":
                raise ValueError("no display")
            return 3

    message = (
        r"plugin Maker \(pneumo-listening 2.1\) failed in plugins_for_run: .*_PLUGINS=Maker leaves it out"
    )
    with pytest.raises(UsageError, match=message):
        hooks_of(Maker()).add_run_plugins(None)


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

    hooks = RunHooks(Observing(settings=None), [], name="probe", provenance=Provenance("pneumo-probe", "0.1"))
    with pytest.raises(PneumoError) as caught:
        hooks.notify("epoch_started", run=None, epoch=1)
    assert str(caught.value).startswith(
        "trainer probe (pneumo-probe 0.1) failed in epoch_started: RuntimeError: the trainer itself (test_run_hooks"
    )


def test_only_lifecycle_hooks_notify(trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="train_step is no lifecycle hook"):
        RunHooks(trainer, []).notify("train_step", run=None)


def test_a_hook_that_nobody_implements_costs_no_call(trainer: Trainer, monkeypatch) -> None:
    calls = []
    call = Participants.call
    monkeypatch.setattr(
        Participants, "call", lambda self, hook, *rest: (calls.append(hook), call(self, hook, *rest))
    )

    class Observer:
        def epoch_started(self, epoch):
            calls.append(epoch)

    hooks = RunHooks(trainer, [("observer", Observer())])
    hooks.notify("step_finished", run=None, metrics={})
    hooks.notify("epoch_started", run=None, epoch=3)
    assert calls == ["epoch_started", 3]


def test_sections_of_a_report_name_their_plugin_and_a_wrong_one_is_noted(hooks_of) -> None:
    class Sections:
        @hookimpl
        def add_to_report(self, run, evaluations):
            yield ReportSection("Size", "Small.", (NamedTable("T", ("a",), (("1",),)),))

    class Single:
        @hookimpl
        def add_to_report(self):
            return ReportSection("Alone", "One section, in no list.")

    class Strange:
        @hookimpl
        def add_to_report(self):
            return ["no section"]

    notes: list[str] = []
    run = SimpleNamespace(note=notes.append)
    sections = hooks_of(Strange(), Single(), Sections()).report_sections(run, {})
    assert [(name, section.title) for name, section in sections] == [
        ("Sections (pneumo-listening 2.1)", "Size"),
        ("Single (pneumo-listening 2.1)", "Alone"),
    ]
    (note,) = notes
    assert "plugin Strange (pneumo-listening 2.1) failed in add_to_report: TypeError" in note


def test_an_object_takes_part_once(hooks_of) -> None:
    class Counting:
        @hookimpl
        def epoch_finished(self):
            pass

    class Maker:
        @hookimpl
        def plugins_for_run(self):
            return [counting, counting]

    counting = Counting()
    with pytest.raises(
        UsageError, match=r"Maker:Counting \(pneumo-listening 2.1\) .*: the same object takes part"
    ):
        hooks_of(Maker()).add_run_plugins(None)


def test_a_state_that_nobody_takes_any_more_is_remarked_upon(hooks_of) -> None:
    class Stateless:
        @hookimpl
        def epoch_finished(self):
            pass

    (remark,) = hooks_of(Stateless()).load_states({"parts": {"Stateless": {"n": 1}}})
    assert remark.startswith("the checkpoint's state of Stateless is not used")
