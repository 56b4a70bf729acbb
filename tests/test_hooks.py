"""The contract: every hook is documented by an example that runs, and the hooks of a run work as they promise."""

from __future__ import annotations

import inspect
import logging
import re
import textwrap
from collections import Counter
from pathlib import Path

import pytest
import torch

from pneumo_cli.api import DatasetSpec, ModelSpec, Preset, TrainerSpec, hookimpl
from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.plugins import hookspecs
from pneumo_cli.plugins.discovery import implemented_hooks
from pneumo_cli.plugins.hookspecs import KNOWN_HOOKS
from pneumo_cli.plugins.isolation import HookManager
from pneumo_cli.plugins.run_hooks import RunHooks
from pneumo_cli.trainers.base import Trainer

GROUPS = (hookspecs.RegistrationHooks, hookspecs.TaskHooks, hookspecs.LifecycleHooks)


class Complete(Trainer):
    """The smallest trainer that is one."""

    def build_model(self, run):
        return torch.nn.Linear(1, 1)

    def train_step(self, run, batch):
        return {"loss": torch.tensor(float(batch))}

    def evaluate(self, run, loader):
        return Evaluation({"loss": 0.0})


@pytest.fixture
def trainer() -> Trainer:
    return Complete(settings=None)


# --- documentation ---------------------------------------------------------------------------------------------


def example_of(hook: str) -> str:
    """The code of the example in a hook's docstring."""
    (group,) = [group for group in GROUPS if hook in vars(group)]
    text = inspect.getdoc(getattr(group, hook)) or ""
    match = re.search(r"^Example\b.*::\n\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    assert match, f"the hook {hook} has no example"
    return textwrap.dedent(match[1])


@pytest.mark.parametrize("hook", KNOWN_HOOKS)
def test_every_hook_has_an_example_that_runs_and_that_pluggy_accepts(hook: str) -> None:
    offered = {
        one.__name__: one for one in (Trainer, Evaluation, TrainerSpec, ModelSpec, DatasetSpec, Preset)
    }
    names = {"hookimpl": hookimpl, **offered}
    exec(compile(example_of(hook), hook, "exec"), names)
    example = names.get(hook)
    if example is None:
        made = [value for name, value in names.items() if inspect.isclass(value) and name not in offered]
        (example,) = made
    if not inspect.isclass(example):  # a function of a plugin's module
        example = type("Module", (), {hook: staticmethod(example)})
    assert hook in vars(example)
    if not issubclass(example, Trainer):  # a trainer's methods need no decorator
        assert implemented_hooks(example) == (hook,)
        HookManager().register(example())
    if hook in ("register_trainers", "register_models", "register_datasets"):
        assert list(getattr(example(), hook)())


def test_every_hook_is_implemented_by_some_test() -> None:
    sources = "\n".join(path.read_text() for path in Path(__file__).parent.rglob("*.py"))
    implemented = set(re.findall(r"@hookimpl[^\n]*\n\s*def (\w+)", sources))
    implemented |= {name for name in vars(Complete) if name in KNOWN_HOOKS}
    assert set(KNOWN_HOOKS) - implemented == set()


def test_the_groups_of_hooks_are_complete() -> None:
    assert set(hookspecs.TASK_HOOKS) == {n for n in vars(hookspecs.TaskHooks) if not n.startswith("_")}
    assert set(hookspecs.LIFECYCLE_HOOKS) == {
        name for name in vars(hookspecs.LifecycleHooks) if not name.startswith("_")
    }


# --- task hooks ------------------------------------------------------------------------------------------------


def test_a_trainers_methods_are_the_task_hooks_without_a_decorator(trainer: Trainer) -> None:
    hooks = RunHooks(trainer, [])
    assert hooks.tasks.train_step(run=None, batch=3)["loss"] == 3
    assert hooks.participants() == ["trainer"]


def test_a_trainer_with_a_missing_method_cannot_be_made() -> None:
    class Incomplete(Trainer):
        def build_model(self, run):
            return None

    with pytest.raises(TypeError, match=r"evaluate.*train_step"):
        Incomplete(settings=None)


def test_extensions_wrap_the_step_of_whatever_trainer_runs(trainer: Trainer) -> None:
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


def test_objects_made_for_the_run_take_part_and_one_that_cannot_be_made_is_left_out(
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
        hooks.add_made_for("the run")
    hooks.notify("epoch_started", run=None, epoch=4)
    assert [listener.epoch for listener in listeners] == [4, 4]
    assert "plugin failing takes no part in this run: ValueError: no display" in caplog.text


# --- observers -------------------------------------------------------------------------------------------------


def test_observers_take_as_few_arguments_as_they_like(trainer: Trainer) -> None:
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


def test_an_observer_that_raises_is_logged_once_and_dropped_and_the_others_go_on(
    trainer: Trainer, caplog: pytest.LogCaptureFixture
) -> None:
    class Clumsy:
        calls = 0

        @hookimpl
        def epoch_started(self):
            Clumsy.calls += 1
            raise RuntimeError("oops")

        @hookimpl
        def epoch_finished(self):
            Clumsy.calls += 1

    class Calm:
        calls = 0

        @hookimpl
        def epoch_started(self):
            Calm.calls += 1

    hooks = RunHooks(trainer, [("calm", Calm()), ("clumsy", Clumsy())])
    with caplog.at_level(logging.WARNING, "pneumo"):
        for epoch in (1, 2, 3):
            hooks.notify("epoch_started", run=None, epoch=epoch)
        hooks.notify("epoch_finished", run=None, metrics={})
    assert (Clumsy.calls, Calm.calls) == (1, 3)
    messages = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert messages == [
        "observer clumsy failed in epoch_started and is dropped for this run: RuntimeError: oops"
    ]


def test_ctrl_c_inside_an_observer_passes(trainer: Trainer) -> None:
    class Interrupted:
        @hookimpl
        def step_finished(self):
            raise KeyboardInterrupt

    hooks = RunHooks(trainer, [("interrupted", Interrupted())])
    with pytest.raises(KeyboardInterrupt):
        hooks.notify("step_finished", run=None, metrics={})


def test_the_trainers_own_errors_count(trainer: Trainer) -> None:
    class Observing(Complete):
        @hookimpl
        def epoch_started(self, epoch):
            raise RuntimeError("the trainer itself")

    with pytest.raises(RuntimeError, match="the trainer itself"):
        RunHooks(Observing(settings=None), []).notify("epoch_started", run=None, epoch=1)


def test_only_lifecycle_hooks_are_broadcast(trainer: Trainer) -> None:
    with pytest.raises(ValueError, match="train_step is no lifecycle hook"):
        RunHooks(trainer, []).notify("train_step", run=None)


class Everything:
    """Observes a whole run."""

    def __init__(self) -> None:
        self.calls = []

    def note(self, name, run):
        self.calls.append((name, len(run.history)))

    @hookimpl
    def run_started(self, run):
        assert run.folder.path.is_dir()
        self.note("run_started", run)

    @hookimpl
    def epoch_started(self, run, epoch):
        assert epoch == run.epoch == len(run.history)
        self.note("epoch_started", run)

    @hookimpl
    def step_finished(self, run, metrics):
        assert {"loss", "logits", "labels"} <= metrics.keys()
        assert not any(value.requires_grad for value in metrics.values())
        self.note("step_finished", run)

    @hookimpl
    def epoch_finished(self, run, metrics):
        assert metrics is run.history[-1]
        self.note("epoch_finished", run)

    @hookimpl
    def checkpoint_saved(self, run, path):
        assert path.is_file()
        self.note(f"checkpoint_saved {path.stem}", run)

    @hookimpl
    def run_finished(self, run, report):
        assert run.folder.report_html.is_file()
        assert report["evaluations"]["test"]
        self.note("run_finished", run)

    @hookimpl
    def run_failed(self, run, error):
        self.calls.append(("run_failed", str(error)))


def test_observers_hear_of_everything_in_its_order(start_run) -> None:
    observer = Everything()
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
        ("checkpoint_saved best", 2),  # with what was fitted on the validation images
        ("run_finished", 2),
    ]


def test_a_run_that_fails_tells_its_observers_and_raises_the_same_error(start_run) -> None:
    class Failing:
        @hookimpl(wrapper=True)
        def train_step(self, run, batch):
            yield
            raise ZeroDivisionError("in the step")

    observer = Everything()
    with pytest.raises(ZeroDivisionError, match="in the step"):
        start_run("fake", Failing(), observer)
    assert Counter(name for name, _ in observer.calls)["step_finished"] == 0
    assert observer.calls[-1] == ("run_failed", "in the step")


def test_a_run_goes_on_with_the_same_result_beside_an_observer_that_raises(start_run, caplog) -> None:
    class Clumsy:
        @hookimpl
        def step_finished(self):
            raise RuntimeError("oops")

    with caplog.at_level(logging.WARNING, "pneumo"):
        one, other = (start_run("fake", *extra, epochs=1) for extra in ((), (Clumsy(),)))
    assert caplog.text.count("observer further failed in step_finished and is dropped") == 1
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name])
