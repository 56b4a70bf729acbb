"""Training on subtypes of class 1: refused as a flag where there are none, left out where a preset asks for it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PLUGIN = """
from pneumo_cli.api import DatasetSpec, hookimpl

api_version = 1

@hookimpl
def register_datasets():
    for name in ("three-kinds", "no-kinds"):
        factory = f"kinds_data:open_{name.replace('-', '_')}"
        yield DatasetSpec(name=name, summary="The tiny one", factory=factory, synthetic=True)
"""

DATA = """
from dataclasses import replace
from pneumo_cli.testing import TinyDataset

def with_subtypes(name, kinds):
    dataset = TinyDataset(name, seed=8)
    patients = sorted({record.patient for record in dataset.records})
    of = {patient: kinds[place % len(kinds)] for place, patient in enumerate(patients)}
    dataset.records = [replace(one, subtype=of[one.patient] if one.label else "") for one in dataset.records]
    return dataset

def open_three_kinds(request): return with_subtypes("three-kinds", ("bacteria", "fungus", "virus"))
def open_no_kinds(request): return with_subtypes("no-kinds", ("",))
"""


@pytest.fixture
def run(install, pneumo, fakes: Path):
    """``pneumo run fake`` for an epoch; in ``pneumo.toml``, as in a preset, it trains on subtypes."""
    install("kinds", {"kinds": "kinds_plugin"}, {"kinds_plugin": PLUGIN, "kinds_data": DATA}, "1")
    (fakes / "pneumo.toml").write_text("subtypes = true\n")

    def on(dataset: str, *flags: str):
        return pneumo("run", "fake", "--dataset", dataset, "--epochs", "1", "--split", "patient", *flags)

    return on


@pytest.mark.parametrize("dataset", ["no-kinds", "fake-three", "fake-labels"])
def test_where_there_are_none_a_preset_trains_without_and_says_so(run, dataset: str) -> None:
    ended = run(dataset)
    assert ended.code == 0, ended.stderr
    assert "trained without subtypes: " in ended.stderr


@pytest.mark.parametrize("dataset", ["no-kinds", "fake-three", "fake-labels"])
def test_where_there_are_none_the_flag_is_refused(run, fakes: Path, dataset: str) -> None:
    ended = run(dataset, "--subtypes")
    assert ended.code == 2
    assert "use --no-subtypes" in ended.stderr
    assert not (fakes / "runs").exists()


@pytest.mark.parametrize("dataset", ["three-kinds", "no-kinds"])
def test_a_model_with_any_number_of_subtypes_is_found_again(run, pneumo, fakes: Path, dataset: str) -> None:
    assert run(dataset).code == 0
    (folder,) = (fakes / "runs" / "fake").iterdir()
    image = fakes / "image.png"
    from PIL import Image

    Image.new("L", (40, 40), 90).save(image)
    ended = pneumo("predict", folder, image, "--json")
    assert ended.code == 0, ended.stderr
    assert len(json.loads(ended.stdout)["predictions"]) == 1
    assert pneumo("evaluate", folder, "--on", "validation").code == 0
