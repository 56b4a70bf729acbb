"""Extensions are part of the recipe: recorded, checked when a run goes on or is evaluated, and compared."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pneumo_cli.api import hookimpl
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.runs.extensions import check_extensions, recorded_extensions
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import recorded_facts, reopen_settings
from pneumo_cli.trainers.session import set_up
from pneumo_cli.training.runner import Runner, open_runner

MODULE = """
from pneumo_cli.api import ExtensionSpec, hookimpl
api_version = 1

class Gentle:
    def __init__(self, settings):
        pass

    @hookimpl
    def around_optimize(self, run):
        return lambda optimize, loss, name: optimize(loss / 2, name)

@hookimpl
def register_extensions():
    yield ExtensionSpec(name="gentle", summary="Halves", factory="gentle_plugin:Gentle")
"""
WRAPPER = """
from pneumo_cli.api import hookimpl
api_version = 1

@hookimpl(wrapper=True)
def train_step(run, batch):
    {body}
"""


class EndOfTest(BaseException):
    """Ends a run after its first save."""


class Ends:
    @hookimpl
    def checkpoint_saved(self):
        raise EndOfTest


class Halving:
    @hookimpl(wrapper=True)
    def train_step(self, run, batch):
        return (yield)


@pytest.fixture
def begun(install, start_run) -> Callable[..., Path]:
    """The folder of a run that has begun with some extensions; ``gentle`` and a wrapping plugin are installed."""
    install("pneumo-gentle", {"gentle-part": "gentle_plugin"}, {"gentle_plugin": MODULE}, "0.4")

    def begin(*extensions: object, **settings: Any) -> Path:
        with pytest.raises(EndOfTest):
            start_run("fake", *extensions, Ends(), model="plain-net", **settings)
        (folder,) = Path("runs").glob("*/*")
        return folder

    return begin


def reopened(folder: Path, *further: object) -> Runner:
    """A runner of the settings of a run, built."""
    plugins = discover()
    setup = set_up(plugins, reopen_settings(plugins, RunFolder(folder), {}))
    runner = open_runner(setup, [*plugins.observing(), *(("further", one) for one in further)])
    runner.build()
    return runner


def test_all_extensions_are_recorded_and_those_of_with_come_again(begun) -> None:
    folder = begun(Halving(), **{"with": ["gentle"]})
    recorded = tomllib.loads((folder / "run.toml").read_text())
    assert recorded["with"] == ["gentle"]
    assert recorded["run"]["extensions"] == {"further": "", "gentle": "pneumo-gentle 0.4"}
    assert json.loads((folder / "environment.json").read_text())["extensions"] == ["further", "gentle"]
    runner = reopened(folder, Halving())
    assert runner.run.extensions == recorded["run"]["extensions"]
    assert check_extensions(runner.run, recorded_facts(folder / "run.toml"), RunFolder(folder)) == []


def test_a_run_without_extensions_records_none(begun) -> None:
    folder = begun()
    assert "extensions" not in tomllib.loads((folder / "run.toml").read_text())["run"]
    assert recorded_extensions(recorded_facts(folder / "run.toml"), RunFolder(folder)) == {}


def test_a_run_goes_on_with_its_own_extensions_only(begun) -> None:
    folder = RunFolder(begun(Halving()))
    before = folder.settings.read_bytes()
    with pytest.raises(UsageError, match=r"was trained with the extension further, which takes no part now"):
        reopened(folder.path).resume(folder)
    assert folder.settings.read_bytes() == before, "nothing is written"

    class Another(Halving):
        pass

    with pytest.raises(
        UsageError, match=r"without the extension further-2, which takes part now: PNEUMO_DISABLE_PLUGINS="
    ):
        reopened(folder.path, Halving(), Another()).resume(folder)


def test_another_version_is_noted_and_recorded(begun) -> None:
    folder = RunFolder(begun(**{"with": ["gentle"]}))
    folder.settings.write_text(folder.settings.read_text().replace("pneumo-gentle 0.4", "pneumo-gentle 0.3"))
    runner = reopened(folder.path, Ends())
    with pytest.raises(EndOfTest):
        runner.resume(folder)
    assert "the extension gentle is of pneumo-gentle 0.4 now; the run was trained with pneumo-gentle 0.3" in (
        runner.run.notes
    )
    assert recorded_facts(folder.settings)["extensions"] == {"gentle": "pneumo-gentle 0.4"}


def test_a_run_of_an_earlier_version_goes_on_without_its_extension_and_says_so(begun) -> None:
    folder = RunFolder(begun(Halving()))
    content = folder.settings.read_text()
    old = content.replace('[run.extensions]\nfurther = ""\n', "")
    assert old != content
    folder.settings.write_text(old)
    remarks = check_extensions(reopened(folder.path).run, recorded_facts(folder.settings), folder)
    assert remarks == ["the run was trained with the extension further, which takes no part now"]
    folder.environment.unlink()
    runner = reopened(folder.path)
    assert check_extensions(runner.run, recorded_facts(folder.settings), folder) == []


def test_a_run_is_evaluated_with_its_extensions(begun, pneumo) -> None:
    folder = begun(Halving())
    refused = pneumo("evaluate", folder, "--checkpoint", "last", "--on", "validation")
    assert refused.code == 2
    assert "was trained with the extension further, which takes no part now" in refused.stderr


def test_a_missing_extension_of_with_says_how_to_get_it(begun, pneumo, monkeypatch) -> None:
    folder = begun(**{"with": ["gentle"]})
    monkeypatch.setenv(
        "PNEUMO_DISABLE_PLUGINS", "gentle-part," + __import__("os").environ["PNEUMO_DISABLE_PLUGINS"]
    )
    refused = pneumo("resume", folder)
    assert refused.code == 2
    assert "was trained with the extension gentle of pneumo-gentle 0.4" in refused.stderr


@pytest.mark.parametrize("body", ["return {}", "yield_ = 1"])
def test_a_broken_wrapper_refuses_runs_until_it_is_disabled(body: str, install, pneumo, monkeypatch) -> None:
    install("pneumo-broken", {"broken": "broken_plugin"}, {"broken_plugin": WRAPPER.format(body=body)}, "0.3")
    refused = pneumo("run", "fake")
    assert refused.code == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("pneumo: plugin broken (pneumo-broken 0.3): hooks: ")
    assert last.endswith(
        "its hook train_step would change this run: mend it, or leave it out with PNEUMO_DISABLE_PLUGINS=broken"
    )
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            "class Gentle:\n    pass",
            r"the extension gentle (pneumo-gentle 0.4) cannot be made from gentle_plugin:Gentle",
        ),
        ("import nothing_of_this_name", "cannot be imported"),
        (
            "def Gentle(settings):\n    return object()",
            "cannot take part in a run: it is an object, which implements no",
        ),
        ("def Gentle(settings):\n    return int", "the class int is no object with hooks"),
    ],
)
def test_an_extension_that_cannot_be_made_is_named_before_anything_is_written(
    source: str, words: str, install, pneumo
) -> None:
    plugin = MODULE.replace("class Gentle:", "class Unused:").replace(
        "gentle_plugin:Gentle", "gentle_part:Gentle"
    )
    modules = {"gentle_plugin": plugin, "gentle_part": source}
    install("pneumo-gentle", {"gentle": "gentle_plugin"}, modules, "0.4")
    refused = pneumo("run", "fake", "--with", "gentle")
    assert refused.code == 2
    assert words.replace("gentle_plugin:Gentle", "gentle_part:Gentle") in refused.stderr
    assert "pneumo-gentle 0.4" in refused.stderr
    assert not Path("runs").exists()


def test_an_observer_that_would_change_the_run_is_refused(install, pneumo) -> None:
    plugin = MODULE.replace("ExtensionSpec", "ObserverSpec").replace(
        "register_extensions", "register_observers"
    )
    install("pneumo-gentle", {"gentle": "gentle_plugin"}, {"gentle_plugin": plugin}, "0.4")
    refused = pneumo("run", "fake", "--with", "gentle")
    assert refused.code == 2
    assert (
        "the observer gentle (pneumo-gentle 0.4) implements around_optimize, and an observer cannot change a run"
        in refused.stderr
    )


def test_an_error_in_a_lifecycle_hook_of_an_extension_ends_the_run(runner_of) -> None:
    from pneumo_cli.errors import PneumoError
    from pneumo_cli.trainers import ClassificationTrainer

    class Failing(Halving):
        @hookimpl
        def epoch_started(self, epoch):
            torch.zeros(2).nothing()

    with pytest.raises(PneumoError, match="extension further failed in epoch_started: AttributeError"):
        runner_of(ClassificationTrainer, Failing()).start()
