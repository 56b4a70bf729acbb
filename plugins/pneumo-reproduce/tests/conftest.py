"""Some of the report's tasks, instantaneous, from a third party's distribution."""

import os
from pathlib import Path

import pytest

import pneumo_cli
from pneumo_cli.plugins.discovery import discover

# Two of the report's tasks; the others are not installed.
PLUGIN = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="cnn",
        summary="Stands for the CNN",
        trainer="pneumo_fake.trainers:FakeTrainer",
        settings="pneumo_fake.settings:FakeSettings",
        kind="classifier",
        model="tiny-net",
        presets=(
            Preset(name="source", summary="As published"),
            Preset(name="quick", summary="Other epochs", values={"epochs": 2, "lr": 0.02}),
        ),
    )
    yield TrainerSpec(
        name="gan",
        summary="Stands for the GAN",
        trainer="pneumo_fake.trainers:DuelTrainer",
        settings="pneumo_fake.settings:DuelSettings",
        kind="pair",
        model="two-nets",
        presets=(Preset(name="source", summary="As published"), Preset(name="quick", summary="The same")),
    )
"""


@pytest.fixture
def with_tasks(install, tmp_path, monkeypatch, fake_site):
    """Two of the report's tasks are installed, for this process and those that it starts."""
    install("pneumo-tasks", {"tasks": "reproduced_tasks"}, {"reproduced_tasks": PLUGIN})
    here = Path(pneumo_cli.__file__).parents[1]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (here, fake_site, tmp_path / "further"))))


# A third one, whose network is not available.
PICKY_PLUGIN = """
from pneumo_cli.api import Preset, TrainerSpec, hookimpl

api_version = 1


@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="feature-extraction",
        summary="Stands for a task with pre-trained weights",
        trainer="picky:PickyTrainer",
        settings="pneumo_fake.settings:FakeSettings",
        kind="classifier",
        model="plain-net",
        presets=(
            Preset(name="source", summary="As published"),
            Preset(name="quick", summary="Another network", values={"model": "tiny-net", "image_size": 16}),
        ),
    )
"""
PICKY = """
from pneumo_cli.errors import UsageError
from pneumo_fake.trainers import FakeTrainer


class PickyTrainer(FakeTrainer):
    def check_request(self, entry):
        if entry.spec.name == "plain-net":
            raise UsageError("its weights could not be fetched")
"""


@pytest.fixture
def picky(with_tasks, install):
    """Three of the report's tasks are installed."""
    install("pneumo-picky", {"picky": "picky_plugin"}, {"picky_plugin": PICKY_PLUGIN, "picky": PICKY})
    return discover()
