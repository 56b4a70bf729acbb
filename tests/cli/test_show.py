"""``pneumo show``: settings as JSON, models of kinds that pneumo does not know, datasets, extensions, observers."""

from __future__ import annotations

import json

import pytest

PLUGIN = """
from pneumo_cli.api import DatasetSpec, ExtensionSpec, ModelSpec, ObserverSpec, hookimpl

api_version = 1

@hookimpl
def register_models():
    for name in ("timed", "wide"):
        yield ModelSpec(name=name, kind="denoiser", summary="A kind of its own", factory=f"shown_parts:{name}")

@hookimpl
def register_datasets():
    yield DatasetSpec(
        name="aged", summary="Ages", factory="shown_parts:open_aged", settings="shown_parts:Aged", synthetic=True
    )

@hookimpl
def register_extensions():
    yield ExtensionSpec(
        name="slow", summary="Slows down", factory="shown_parts:wide", settings="shown_parts:Slow",
        inside=("mixup",), conflicts=("fast",),
    )

@hookimpl
def register_observers():
    yield ObserverSpec(name="watch", summary="Watches", factory="shown_parts:wide")
"""
PARTS = """
from dataclasses import replace
from enum import Enum
from typing import Literal
from pathlib import Path
import torch
from pydantic import Field
from torch import nn
from pneumo_cli.data import Target
from pneumo_cli.settings import DatasetSettings, PartSettings
from pneumo_fake.data import open_tiny

class Timed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 2), nn.Linear(2, 1, bias=False)

    def forward(self, images, times):
        return self.second(self.first(images) + times)

def timed():
    return Timed()

def wide(width, depth=1):
    return nn.Linear(width, depth)

class Aged(DatasetSettings):
    ward: Literal["north", "south"] = Field("north", description="ward of the hospital")

def open_aged(request):
    dataset = open_tiny(request)
    dataset.name = "aged"
    dataset.targets = (Target("age", "number", "age in years"),)
    dataset.records = [replace(record, numbers=(4.0,)) for record in dataset.records]
    return dataset

class Pace(Enum):
    SLOW = 1
    SLOWER = 2

class Slow(PartSettings):
    pace: Pace = Field(Pace.SLOW, description="how slow")
    steps: list[int] = Field([3, 5], max_length=9, description="where")
    share: float | None = Field(None, ge=0, lt=1, description="of the time")
"""


@pytest.fixture
def installed(install):
    install("pneumo-shown", {"shown": "shown_plugin"}, {"shown_plugin": PLUGIN, "shown_parts": PARTS})


def shown(pneumo, *arguments: str):
    ended = pneumo("show", *arguments, "--json")
    assert (ended.code, ended.stderr) == (0, ""), ended.stderr
    assert pneumo("show", *arguments).code == 0
    return json.loads(ended.stdout)


def test_a_trainers_settings_have_type_bounds_choices_default_flag_and_variable(pneumo) -> None:
    content = shown(pneumo, "fake")
    fields = {one["name"]: one for one in content["fields"]}
    assert list(fields) == list(content["settings"])
    assert fields["epochs"] == {
        "name": "epochs",
        "type": "int",
        "optional": False,
        "default": fields["epochs"]["default"],
        "bounds": {"ge": 1, "le": 1000},
        "choices": [],
        "description": "passes over the training images",
        "flag": "--epochs",
        "variable": "PNEUMO_EPOCHS",
    }
    assert (fields["schedule"]["type"], fields["schedule"]["choices"]) == ("choice", ["step", "cosine"])
    assert fields["sampling"]["choices"] == ["none", "over", "under"]
    assert fields["batch_size"]["flag"] == "--batch-size"


def test_a_model_that_needs_more_than_an_image_is_shown_with_its_parameters(installed, pneumo) -> None:
    layers = shown(pneumo, "timed")["layers"]
    assert layers["rows"] == [
        {"name": "first", "shape": None, "parameters": 10},
        {"name": "second", "shape": None, "parameters": 2},
    ]
    assert (layers["parameters"], layers["trainable"]) == (12, 12)
    text = pneumo("show", "timed").stdout
    assert "Sizes of layers are not shown, as it cannot be called with one image of 3 x 256 x 256: " in text
    assert "times" in text
    assert "Total parameters      12" in text


def test_a_model_whose_options_no_trainer_gives_is_shown_with_their_names(installed, pneumo) -> None:
    note = "shown_parts:wide needs width, which no installed trainer of kind denoiser gives it"
    assert note in shown(pneumo, "wide")["layers"]["note"]
    assert note in pneumo("show", "wide").stdout


def test_a_size_that_does_not_fit_is_an_error(installed, pneumo) -> None:
    ended = pneumo("show", "timed", "--image-size", "32")
    assert (ended.code, ended.stdout) == (2, "")
    assert "the model pneumo-shown:timed cannot take images of 3 x 32 x 32" in ended.stderr


@pytest.mark.parametrize("name", ["duel", "two-nets", "painter", "painter-net", "copyist-net", "plain-net"])
def test_trainers_and_models_of_every_kind_are_shown(name: str, pneumo) -> None:
    assert shown(pneumo, name)["layers"]["parameters"] >= 0


def test_a_dataset_is_shown_with_its_options_classes_and_targets(installed, pneumo) -> None:
    content = shown(pneumo, "aged")
    assert content.get("note", "") == ""
    (option,) = content["fields"]
    assert (option["name"], option["choices"], option["flag"]) == ("ward", ["north", "south"], "--ward")
    assert content["targets"] == [{"name": "age", "kind": "number", "summary": "age in years"}]
    assert (content["classes"], content["images"]) == (["NORMAL", "PNEUMONIA"], 64)
    text = pneumo("show", "aged").stdout
    assert "Target   age (number): age in years" in text
    assert "--ward" in text
    assert "images" not in shown(pneumo, "seeded")  # it needs a folder


def test_an_extension_and_an_observer_are_shown_with_their_settings(installed, pneumo) -> None:
    content = shown(pneumo, "slow")
    assert (content["extension"], content["inside"], content["conflicts"]) == ("slow", ["mixup"], ["fast"])
    pace, steps, share = content["fields"]
    assert (pace["type"], pace["default"], pace["choices"], pace["flag"]) == (
        "choice",
        1,
        [1, 2],
        "--slow-pace",
    )
    assert (steps["type"], steps["default"], steps["bounds"]) == ("list of int", [3, 5], {"max_length": 9})
    assert (share["optional"], share["default"], share["bounds"]) == (True, None, {"ge": 0, "lt": 1})
    assert share["variable"] == "PNEUMO_SLOW_SHARE"
    assert shown(pneumo, "watch")["observer"] == "watch"
    text = pneumo("show", "slow").stdout
    assert "--slow-pace" in text
    assert "pneumo run NAME --with slow" in text
