"""Hooks work as pluggy documents: order, wrappers, ``specname``; a wrapper that fails is named and left out."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.data.batch_inputs import Sources, Transforms
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.result import Evaluation
from pneumo_cli.plugins.discovery import discover

RIGHT: dict[str, Any] = {
    "build_model": torch.nn.Linear(1, 1),
    "build_optimizers": {"main": torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 0.1)},
    "build_schedulers": {},
    "build_transforms": Transforms(None, None),
    "build_sources": Sources(None, None, None),
    "evaluate": Evaluation({"loss": 0.0}),
    "train_step": {"loss": torch.tensor(0.0)},
}
"""A right result of each task hook."""


def listener(calls: list[str], name: str, **options: Any) -> object:
    class Listener:
        @hookimpl(**options)
        def epoch_started(self, epoch):
            calls.append(name)

    return Listener()


def test_plugins_are_called_last_added_first_except_tryfirst_and_trylast(hooks_of) -> None:
    calls: list[str] = []
    hooks = hooks_of(
        listener(calls, "first added"),
        listener(calls, "tryfirst", tryfirst=True),
        listener(calls, "last", trylast=True),
        listener(calls, "last added"),
    )
    hooks.notify("epoch_started", run=None, epoch=1)
    assert calls == ["tryfirst", "last added", "first added", "last"]


@pytest.mark.parametrize("style", ["wrapper", "hookwrapper"])
def test_a_wrapper_of_a_lifecycle_hook_runs_around_the_observers(style: str, hooks_of) -> None:
    calls: list[str] = []

    class Around:
        @hookimpl(**{style: True})
        def epoch_started(self, epoch):
            calls.append(f"before {epoch}")
            result = yield
            calls.append("after")
            return result

    hooks_of(Around(), listener(calls, "observer")).notify("epoch_started", run=None, epoch=3)
    assert calls == ["before 3", "observer", "after"]


def test_specname_lets_a_method_have_any_name(hooks_of) -> None:
    calls: list[str] = []

    class Renamed:
        @hookimpl(specname="epoch_started")
        def on_epoch(self, epoch):
            calls.append(f"epoch {epoch}")

        @hookimpl(specname="train_step", wrapper=True)
        def around_the_step(self, batch):
            metrics = yield
            return {**metrics, "batch": batch}

    hooks = hooks_of(Renamed())
    hooks.notify("epoch_started", run=None, epoch=2)
    assert calls == ["epoch 2"]
    assert hooks.tasks.train_step(run=None, batch=5)["batch"] == 5
    assert hooks.extensions() == {"Renamed": "pneumo-listening 2.1"}


def test_default_values_of_additional_arguments_are_kept(hooks_of) -> None:
    calls: list[int] = []

    class WithDefault:
        @hookimpl
        def epoch_started(self, epoch, step=7):
            calls.append(epoch + step)

    hooks_of(WithDefault()).notify("epoch_started", run=None, epoch=1)
    assert calls == [8]


class FailsBefore:
    @hookimpl(wrapper=True)
    def epoch_started(self):
        raise ValueError("before")
        yield


class FailsAfter:
    @hookimpl(wrapper=True)
    def epoch_started(self):
        yield
        raise ValueError("after")


class YieldsTwice:
    @hookimpl(wrapper=True)
    def epoch_started(self):
        yield
        yield


class OldStyle:
    @hookimpl(hookwrapper=True)
    def epoch_started(self):
        yield
        raise ValueError("old style")


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (FailsBefore(), "ValueError: before"),
        (FailsAfter(), "ValueError: after"),
        (YieldsTwice(), "RuntimeError: a wrapper has to yield once, not twice"),
        (OldStyle(), "ValueError: old style"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_wrapper_that_fails_is_named_once_and_left_out(
    broken: object, words: str, hooks_of, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []
    hooks = hooks_of(broken, listener(calls, "observer"))
    with caplog.at_level(logging.WARNING, "pneumo"):
        for epoch in (1, 2):
            hooks.notify("epoch_started", run=None, epoch=epoch)
    assert calls == ["observer", "observer"]
    (message,) = [record.getMessage() for record in caplog.records]
    name = type(broken).__name__
    assert message == (
        f"observer {name} (pneumo-listening 2.1) failed in epoch_started and is dropped for this run: {words}"
    )


def test_an_error_in_a_wrapper_of_a_task_hook_names_it_and_ends_the_run(hooks_of) -> None:
    class Failing:
        @hookimpl(wrapper=True)
        def train_step(self):
            yield
            raise ZeroDivisionError("in the wrapper")

    class Forgetful:
        @hookimpl(wrapper=True)
        def train_step(self):
            yield

    for extension, words in (
        (Failing(), "ZeroDivisionError: in the wrapper"),
        (Forgetful(), "TypeError: a wrapper has to return the result"),
    ):
        name = type(extension).__name__
        with pytest.raises(
            PneumoError, match=rf"extension {name} \(pneumo-listening 2.1\) failed in train_step: {words}"
        ):
            hooks_of(extension).tasks.train_step(run=None, batch=1)


def test_an_error_of_the_trainer_passes_through_wrappers_as_it_is_and_names_the_trainer(
    hooks_of, trainer, monkeypatch
) -> None:
    seen = []

    class Watching:
        @hookimpl(wrapper=True)
        def train_step(self):
            try:
                return (yield)
            except ZeroDivisionError as error:
                seen.append(error)
                raise

    def failing(run, batch):
        raise ZeroDivisionError("in the trainer")

    monkeypatch.setattr(trainer, "train_step", failing)
    with pytest.raises(
        PneumoError, match=r"trainer MinimalTrainer failed in train_step: ZeroDivisionError: in the trainer"
    ) as caught:
        hooks_of(Watching()).tasks.train_step(run=None, batch=1)
    assert caught.value.__cause__ is seen[0]


@pytest.mark.parametrize(
    "error", [SystemExit(0), PneumoError("says it itself"), MemoryError("can't allocate memory")]
)
def test_an_exit_is_a_failure_and_some_errors_say_themselves_what_is_wrong(
    error: BaseException, hooks_of, trainer, monkeypatch
) -> None:
    def failing(run, batch):
        raise error

    monkeypatch.setattr(trainer, "train_step", failing)
    expected = PneumoError if isinstance(error, SystemExit) else type(error)
    with pytest.raises(expected) as caught:
        hooks_of().tasks.train_step(run=None, batch=1)
    assert (caught.value is error) is not isinstance(error, SystemExit)


@pytest.mark.parametrize(
    ("hook", "value", "wanted"),
    [
        ("build_model", "net", "a torch.nn.Module"),
        ("build_optimizers", {}, "a dictionary of optimizers by name"),
        ("build_optimizers", [1], "a dictionary of optimizers by name"),
        ("build_schedulers", {"main": 0.1}, "a dictionary of schedulers by the name of their optimizer"),
        ("build_transforms", (1, 2), "Transforms"),
        ("build_sources", 5, "Sources"),
        ("evaluate", {}, "an Evaluation"),
        ("train_step", torch.zeros(2), "a mapping of tensors by name"),
    ],
)
def test_a_wrapper_that_returns_something_else_is_named(
    hook, value, wanted, hooks_of, trainer, monkeypatch
) -> None:
    def implementation(self):
        yield
        return value

    body = {hook: hookimpl(wrapper=True, specname=hook)(implementation)}
    monkeypatch.setattr(type(trainer), hook, lambda self, *arguments: RIGHT.get(hook))
    arguments = {"run": None} | {"train_step": {"batch": 1}, "evaluate": {"loader": []}}.get(hook, {})
    message = (
        rf"extension Wrong \(pneumo-listening 2.1\) failed in {hook}: TypeError: {hook} .*, not {wanted}"
    )
    with pytest.raises(PneumoError, match=message):
        getattr(hooks_of(type("Wrong", (), body)()).tasks, hook)(**arguments)


# --- registration -----------------------------------------------------------------------------------------------

REGISTER = """
from pneumo_cli.api import ModelSpec, hookimpl
api_version = 1
def spec(name):
    return ModelSpec(name=name, kind="classifier", summary="One more", factory="pneumo_fake.models:tiny_net")
"""


def test_registration_hooks_may_use_specname_and_optionalhook(install, fakes) -> None:
    source = """
@hookimpl(specname="register_models")
def own_models():
    yield spec("renamed")
@hookimpl(optionalhook=True)
def register_something_of_a_later_version():
    return []
"""
    install("pneumo-further", {"further": "further_plugin"}, {"further_plugin": REGISTER + source})
    plugins = discover()
    assert plugins.problems == []
    assert plugins.models.get("renamed").provenance.distribution == "pneumo-further"
    (plugin,) = [plugin for plugin in plugins.loaded if plugin.name == "further"]
    assert plugin.hooks == ("register_models",)


def test_a_wrapper_may_filter_registrations_and_add_its_own(install, fakes) -> None:
    source = """
@hookimpl(wrapper=True)
def register_models():
    parts = yield
    kept = [one for part in parts for one in part if one.name != "plain-net"]
    return [kept, [spec("added")]]
"""
    install("pneumo-filter", {"filter": "filter_plugin"}, {"filter_plugin": REGISTER + source}, "0.7")
    plugins = discover()
    assert plugins.problems == []
    names = plugins.models.names()
    assert "plain-net" not in names
    assert str(plugins.models.get("added").provenance) == "pneumo-filter 0.7"
    assert str(plugins.models.get("tiny-net").provenance) == "pneumo-fake 1.0"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    1 / 0\n    yield\n", "ZeroDivisionError"),
        ("    yield\n    1 / 0\n", "ZeroDivisionError"),
        ("    return []\n", "generator"),
        ("    yield\n", "TypeError"),
        ("    yield\n    return [['x']]\n", "register_models returned 'x', not a ModelSpec"),
    ],
    ids=["before", "after", "no generator", "returns nothing", "no spec"],
)
def test_a_broken_wrapper_of_a_registration_hook_is_named_and_left_out(
    body: str, words: str, install, fakes
) -> None:
    source = REGISTER + "@hookimpl(wrapper=True)\ndef register_models():\n" + body
    install("pneumo-broken", {"broken": "broken_wrapper"}, {"broken_wrapper": source}, "0.3")
    plugins = discover()
    (problem,) = plugins.problems
    assert (problem.plugin, str(problem.provenance), problem.stage) == (
        "broken",
        "pneumo-broken 0.3",
        "hooks" if "return []" in body else "register",
    )
    assert words in problem.error
    if words != "register_models returned 'x', not a ModelSpec":
        assert "tiny-net" in plugins.models.names()
