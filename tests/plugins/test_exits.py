"""A plugin that calls ``sys.exit(0)`` in the middle of a run: no success, and the plugin is named."""

from __future__ import annotations

import pytest

_PLUGIN = """
import sys
from pneumo_cli.api import DatasetSpec, Preset, TrainerSpec, hookimpl

api_version = 1

@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="quitter", summary="Leaves", trainer="quits:Quitter", settings="quits:QuitterSettings",
        kind="classifier", model="plain-net", presets=(Preset(name="source", summary="As it is"),),
    )

@hookimpl
def register_datasets():
    yield DatasetSpec(name="quits", summary="Images", factory="quits:open_quits", synthetic=True)

@hookimpl
def register_commands(app):
    @app.command()
    def leave(code: int):
        sys.exit(code)

@hookimpl
def epoch_started(epoch):
    if "OBSERVER" == "AT":
        sys.exit(0)
"""
_CODE = """
import sys
from pneumo_cli.testing import TinyDataset
from pneumo_fake.settings import FakeSettings
from tests.training.probe import Probe

def leave(point):
    if point == "AT":
        ERROR

leave("import")

class QuitterSettings(FakeSettings):
    pass

class Quitter(Probe):
    def __init__(self, settings):
        super().__init__(settings)
        leave("construction")

    def train_step(self, run, batch):
        leave("train_step")
        return super().train_step(run, batch)

    def evaluate(self, run, loader):
        leave("evaluate")
        return super().evaluate(run, loader)

    def train_mode(self, run):
        leave("train_mode")
        super().train_mode(run)

class QuitsDataset(TinyDataset):
    def read(self, record, size=None):
        leave("read")
        return super().read(record, size)

def open_quits(request):
    leave("opening")
    return QuitsDataset("quits", seed=len("AT"))
"""


@pytest.fixture
def ended(install, pneumo):
    """Run the trainer, which leaves at a point by an error."""

    def run(point: str, error: str = "sys.exit(0)"):
        plugin = _PLUGIN.replace("AT", point if point == "OBSERVER" else "NOWHERE")
        code = _CODE.replace("ERROR", error).replace("AT", point)
        install("pneumo-quits", {"quits": "quits_plugin"}, {"quits_plugin": plugin, "quits": code}, "2.1")
        return pneumo("run", "quitter", "--dataset", "quits", "--epochs", 1)

    return run


@pytest.mark.parametrize(
    "point",
    ["import", "construction", "opening", "read", "evaluate", "train_mode", "train_step"],
)
def test_an_exit_in_a_plugin_is_a_failure_that_names_it(point: str, ended, fakes) -> None:
    run = ended(point)
    assert run.code != 0
    message = run.stderr.splitlines()[-1]
    assert message.startswith("pneumo: ")
    assert "pneumo-quits 2.1" in message
    assert "SystemExit" in message
    assert not list(fakes.glob("runs/*/*/report.json"))


def test_an_observer_that_exits_is_dropped_like_any_that_fails(ended) -> None:
    run = ended("OBSERVER")
    assert run.code == 0
    assert "observer quits (pneumo-quits 2.1) failed in epoch_started and is dropped" in run.stderr


@pytest.mark.parametrize("error", ["raise GeneratorExit", "raise StopIteration", "sys.exit('done')"])
def test_so_is_another_error_that_ends_something(error: str, ended) -> None:
    run = ended("train_step", error)
    assert run.code == 1
    assert "pneumo-quits 2.1" in run.stderr.splitlines()[-1]


@pytest.mark.parametrize("code", [0, 3])
def test_a_plugins_own_command_ends_with_the_code_that_it_wants(code: int, ended, pneumo) -> None:
    ended("nowhere")
    left = pneumo("leave", code)
    assert (left.code, left.stderr) == (code, "")
