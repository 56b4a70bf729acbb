"""``pneumo.register``: what a notebook cell defines runs at once."""

from __future__ import annotations

import logging
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pneumo_cli as pneumo
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.specs import load_reference
from pneumo_cli.testing import Invocation
from pneumo_cli.workflows.installed import installed
from pneumo_cli.workflows.registering import _objects

CELL = """
import pneumo_cli as pneumo
from pneumo_cli.api import ModelSpec, SamplerSpec, hookimpl
from pneumo_cli.settings import ClassificationSettings
from pneumo_cli.testing import TinyDataset
from pneumo_cli.trainers import ClassificationTrainer
from pneumo_fake.settings import FakeSettings
from torch import nn
"""
MODEL = """
@pneumo.register
class TwoLayers(nn.Sequential):
    "Two layers."

    def __init__(self, channels, outputs):
        super().__init__(nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(WIDTH * channels, outputs))
"""
DATASET = """
@pneumo.register
class Discs(TinyDataset):
    "Noise and discs."

    def __init__(self):
        super().__init__("discs")

    def read(self, record, size=None):
        return shifted(super().read(record, size))

def shifted(image):
    return image // 2 + SHIFT
"""
TRAINER = """
class ProbeSettings(FakeSettings):
    epochs: int = 1

@pneumo.register(model="tiny-net")
class MyProbe(ClassificationTrainer):
    settings: ProbeSettings
"""
TRAIN = {"precision": "fp32", "epochs": 1, "report": False, "progress": False}


@pytest.fixture
def cell(fakes: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the source of a notebook cell; returns the names that the notebook has then."""
    notebook = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)

    def run(source: str, **names: Any) -> dict[str, Any]:
        vars(notebook).update(names)
        exec(compile(CELL + source, "<cell>", "exec", dont_inherit=True), vars(notebook))
        return vars(notebook)

    return run


def registered(kind: str) -> list[Any]:
    registry = getattr(installed(), kind)
    return [entry.spec for entry in registry.entries() if entry.provenance.distribution == "registered"]


def test_a_model_a_dataset_and_a_trainer_of_a_cell_run_at_once_and_say_where_they_are_from(
    cell: Callable[..., Any],
) -> None:
    names = cell(MODEL + DATASET + TRAINER, WIDTH=16, SHIFT=0)
    assert isinstance(names["TwoLayers"], type)  # as a decorator has to leave it
    parts = {"model": "two-layers", "dataset": "discs"}
    result = pneumo.run("my-probe", **parts, precision="fp32", report=False, progress=False)
    assert 0 <= result.metrics["test"]["auc"] <= 1
    assert len(result.history) == 2  # its own settings: one epoch
    facts = tomllib.loads((result.folder / "run.toml").read_text())["run"]
    assert facts["model"] == "registered:two-layers"
    assert facts["registered"].keys() == {"model two-layers", "dataset discs", "trainer my-probe"}
    assert all(len(digest) == 64 for digest in facts["registered"].values())
    (spec,) = registered("models")
    assert (spec.name, spec.summary, spec.kind) == ("two-layers", "Two layers.", "classifier")
    (spec,) = registered("trainers")
    assert (spec.model, spec.presets[0].name) == ("tiny-net", "default")


def test_a_cell_that_is_run_again_replaces_what_it_registered_and_a_present_holder_keeps_it(
    cell: Callable[..., Any],
) -> None:
    cell(MODEL, WIDTH=16)
    before = installed()
    first = before.models.get("two-layers")
    cell(MODEL.replace("Two layers.", "Changed."), WIDTH=16)
    assert [spec.summary for spec in registered("models")] == ["Changed."]
    assert before.models.get("two-layers") is first
    attribute = first.spec.factory.partition(":")[2]
    assert getattr(_objects, attribute).__doc__ == "Two layers."
    del before, first
    assert not hasattr(_objects, attribute)  # nor its memory is kept


def test_functions_instances_specs_and_plugins_are_registered_too(cell: Callable[..., Any]) -> None:
    names = cell("""
@pneumo.register(name="built", summary="Built")
def build(channels, outputs):
    return nn.Sequential(nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(16 * channels, outputs))

@pneumo.register(synthetic=True)
def opened_discs(request):
    return TinyDataset("whatever")

instance = pneumo.register(TinyDataset("instance"))
def twice(positions, records, seed, epoch):
    import numpy as np
    return np.concatenate([positions, positions])

pneumo.register(SamplerSpec(name="twice", summary="Twice", sample="__main__:twice"))
heard = []

class Listener:
    @hookimpl
    def epoch_finished(self, metrics):
        heard.append(metrics["epoch"])

    @hookimpl
    def register_models(self):
        yield ModelSpec(name="from-hook", kind="classifier", summary="Hooked", factory="__main__:build")

pneumo.register(Listener())
""")
    assert {spec.name for spec in registered("models")} == {"built", "from-hook"}
    assert {spec.name for spec in registered("datasets")} == {"opened-discs", "instance"}
    for spec in registered("datasets"):
        opened = load_reference(spec.factory)(None)
        assert (opened.name, spec.synthetic) == (spec.name, True)
        assert opened is not names.get("instance")
    pneumo.run("fake", model="from-hook", dataset="opened-discs", sampling="twice", **TRAIN)
    assert names["heard"] == [0, 1]
    pneumo.register(names["Listener"]())  # the cell again
    assert [plugin.name for plugin in installed().loaded].count("listener") == 1


def test_a_trainer_that_derives_from_a_registered_one_has_its_settings_kind_model_and_presets(
    cell: Callable[..., Any],
) -> None:
    cell("""
from pneumo_fake.trainers import DuelTrainer, FakeTrainer

@pneumo.register
class Mine(FakeTrainer):
    "Mine."

class Steeper(FakeSettings):
    lr: float = 0.5

@pneumo.register
class Other(FakeTrainer):
    settings: Steeper

pneumo.register(type("DUEL2Fast", (DuelTrainer,), {}))
""")
    duel, mine, other = registered("trainers")
    assert (mine.settings, mine.kind, mine.model) == (
        "pneumo_fake.settings:FakeSettings",
        "classifier",
        "tiny-net",
    )
    assert [preset.name for preset in mine.presets] == ["source", "quick"]
    assert other.settings.startswith("pneumo_registered:")
    assert (duel.name, duel.kind, duel.model) == ("duel2-fast", "pair", "two-nets")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("pneumo.register(nn.Linear(1, 1))", "a Linear is a module that exists already.*register its class"),
        ("pneumo.register(5)", "an int cannot be registered: give a Trainer, nn.Module or Dataset class"),
        ("pneumo.register(dict)", "the class dict cannot be registered"),
        ("pneumo.register(lambda channels: 1)", "the name '<lambda>' is not of lower-case words.*name='…'"),
        ("pneumo.register(nn.Linear, name='tiny-net')", "the model 'tiny-net' is one of pneumo-fake 1.0: register"),
        ("pneumo.register(nn.Linear, kindd='x')", "a model has no 'kindd'; did you mean kind"),
        (
            "pneumo.register(ModelSpec(name='m', kind='classifier', summary='s', factory='__main__:nope'))",
            "the model m cannot be registered: factory __main__:nope: AttributeError: module '__main__' has no",
        ),
        (
            "pneumo.register(ModelSpec(name='m', kind='classifier', summary='s', factory='__main__:nn'), name='x')",
            "a spec has its name and values",
        ),
        (
            "class Bad(FakeSettings):\n    _hidden: int = 3\n"
            "class Probe(ClassificationTrainer):\n    settings: Bad\npneumo.register(Probe)",
            "the trainer probe cannot be registered: .* the field _hidden begins with an underscore",
        ),
        (
            "class Late(ClassificationTrainer):\n    settings: 'NotYet'\npneumo.register(Late)",
            "the annotation settings: NotYet of Late leads nowhere .*'NotYet' is not defined.*or name the class",
        ),
        (
            "class Odd:\n    @hookimpl\n    def epoch_finishd(self):\n        pass\npneumo.register(Odd())",
            "the plugin odd: there is no hook 'epoch_finishd'; did you mean epoch_finished",
        ),
        (
            "class Odd:\n    @hookimpl\n    def register_models(self):\n        1 / 0\npneumo.register(Odd())",
            "the plugin odd: register_models: ZeroDivisionError",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_registered_is_refused_in_one_line_and_nothing_is_registered(
    cell: Callable[..., Any], source: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        cell(source)
    assert "\n" not in str(raised.value)
    assert not installed().registered
    assert not registered("models")


def test_a_process_without_the_registration_is_told_to_run_that_code(
    cell: Callable[..., Any],
    pneumo: Callable[..., Invocation],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    import pneumo_cli

    cell(MODEL, WIDTH=16)
    result = pneumo_cli.run("fake", model="two-layers", **TRAIN)
    run = str(result.folder)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(film := tmp_path / "film.png")
    for command in (("resume", run, "--epochs", 2), ("evaluate", run), ("predict", run, film)):
        ended = pneumo(*command)
        assert ended.code == 2
        assert len(ended.stderr.splitlines()) == 1, ended.stderr
        assert "was registered in a notebook or script: run that code (pneumo.register)" in ended.stderr
        assert "two-layers" in ended.stderr
    assert "two-layers" in pneumo("list-runs").stdout
    # Where the code was run again, it goes on; another code is a warning.
    assert len(pneumo_cli.resume(run, epochs=2, progress=False).history) == 3
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    cell(MODEL.replace("nn.Flatten()", "nn.Flatten(), nn.Identity()").replace("4)", "2 + 2)"), WIDTH=16)
    with pytest.raises(PneumoError):  # its layers have other names now
        pneumo_cli.resume(run, epochs=3, progress=False)
    assert "the registered model two-layers is not the same as when" in caplog.text
