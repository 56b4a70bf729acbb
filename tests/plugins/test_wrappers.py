"""Hooks work as pluggy documents: order, wrappers, ``specname``; a wrapper that fails is named and left out."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import PneumoError
from pneumo_cli.plugins.discovery import discover


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
    assert hooks.extensions() == ["Renamed"]


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


def test_an_error_of_the_trainer_passes_through_wrappers_as_it_is(hooks_of, trainer, monkeypatch) -> None:
    class Watching:
        @hookimpl(wrapper=True)
        def train_step(self):
            return (yield)

    def failing(run, batch):
        raise ZeroDivisionError("in the trainer")

    monkeypatch.setattr(trainer, "train_step", failing)
    with pytest.raises(ZeroDivisionError, match="in the trainer"):
        hooks_of(Watching()).tasks.train_step(run=None, batch=1)


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
