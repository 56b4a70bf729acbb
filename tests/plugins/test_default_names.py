"""A name that two plugins register: what pneumo or a trainer chose is not ambiguous, what a user typed is."""

from __future__ import annotations

import json

import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.trainers.session import set_up

DATASET = """
from pneumo_cli.api import DatasetSpec, hookimpl
api_version = 1
@hookimpl
def register_datasets():
    yield DatasetSpec(
        name={name!r}, summary="Discs", factory=__name__ + ":open", synthetic=True, {more}
    )
def open(request):
    from pneumo_cli.testing import TinyDataset
    return TinyDataset({name!r})
"""
TRAINER = """
from pneumo_cli.api import ModelSpec, Preset, TrainerSpec, hookimpl
api_version = 1
@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="thirds", summary="A trainer without models", trainer="pneumo_fake.trainers:FakeTrainer",
        settings="pneumo_cli.settings:ClassificationSettings", kind="classifier", model="cnn",
        presets=(
            Preset(name="source", summary="Its own"),
            Preset(name="same", summary="The same", values={"model": "cnn"}),
        ),
    )
"""
MODEL = """
from pneumo_cli.api import ModelSpec, hookimpl
api_version = 1
@hookimpl
def register_models():
    yield ModelSpec(name="cnn", kind="classifier", summary="One", factory="pneumo_fake.models:tiny_net")
"""


@pytest.fixture
def two_of_each(install) -> None:
    """The bundled phantom and cnn, a rival of each under the same names, and a third party's trainer."""
    install("pneumo-phantom", {"own-data": "own_data"}, {"own_data": DATASET.format(name="phantom", more="")})
    install("pneumo-cnn", {"own-model": "own_model"}, {"own_model": MODEL})
    rival = DATASET.format(name="phantom", more="settings='rival_options:Options'")
    options = (
        "from pydantic import Field\nfrom pneumo_cli.settings import DatasetSettings\n"
        "class Options(DatasetSettings):\n    rivalry: int = Field(3, description='rivalry')\n"
    )
    install("pneumo-a-rival", {"rival": "rival_data"}, {"rival_data": rival, "rival_options": options})
    install("pneumo-a-rival-model", {"rival-model": "rival_model"}, {"rival_model": MODEL})
    install("pneumo-thirds", {"thirds": "thirds"}, {"thirds": TRAINER})


@pytest.mark.parametrize("preset", ["source", "same"])
def test_the_default_dataset_and_model_are_the_bundled_ones(preset: str, two_of_each, fakes) -> None:
    plugins = discover()
    resolved = resolve(plugins, plugins.trainers.get("thirds"), {}, preset=preset, environ={})
    setup = set_up(plugins, resolved)
    assert setup.dataset.qualified_name == "pneumo-phantom:phantom"
    assert setup.model.qualified_name == "pneumo-cnn:cnn"
    assert not hasattr(resolved.options, "rivalry")


@pytest.mark.parametrize(("setting", "name"), [("dataset", "phantom"), ("model", "cnn")])
def test_the_same_name_from_a_user_is_ambiguous(
    setting: str, name: str, two_of_each, fakes, monkeypatch
) -> None:
    plugins = discover()
    trainer = plugins.trainers.get("thirds")
    for flags, environ in (({setting: name}, {}), ({}, {f"PNEUMO_{setting.upper()}": name})):
        with pytest.raises(UsageError, match=f"pneumo-a-rival.*choose .*:{name} or .*:{name}"):
            set_up(plugins, resolve(plugins, trainer, flags, environ=environ))
    (fakes / "pneumo.toml").write_text(f"{setting} = '{name}'\n")
    with pytest.raises(UsageError, match=f"choose .*:{name}"):
        set_up(plugins, resolve(plugins, trainer, {}, environ={}))


def test_a_run_goes_on_with_the_parts_that_it_recorded(two_of_each, pneumo, fakes) -> None:
    flags = ("--image-size", 32, "--batch-size", 8, "--precision", "fp32", "--epochs", 1)
    chosen = ("--dataset", "pneumo-a-rival:phantom", "--model", "pneumo-a-rival-model:cnn")
    for further, dataset, model in (
        ((), "pneumo-phantom:phantom", "pneumo-cnn:cnn"),
        (chosen, "pneumo-a-rival:phantom", "pneumo-a-rival-model:cnn"),
    ):
        ended = pneumo("run", "thirds", *flags, *further, "--no-evaluate-test")
        assert ended.code == 0, ended.stderr
        run = max(fakes.glob("runs/thirds/*"), key=lambda path: path.stat().st_mtime_ns)
        assert f'dataset = "{dataset}"' in (run / "run.toml").read_text()
        for command in (("resume", run, "--epochs", 2), ("evaluate", run, "--on", "validation", "--json")):
            again = pneumo(*command)
            assert again.code == 0, again.stderr
        report = json.loads((run / "report.json").read_text())
        assert report["model"]["distribution"] == model.partition(":")[0]
        # A recorded file is no file that a user wrote: its names mean what they meant.
        printed = pneumo("run", "thirds", "--config", run / "run.toml", "--print-config")
        assert printed.code == 0, printed.stderr


def test_a_bare_name_that_a_run_recorded_means_its_distribution_alone(two_of_each, pneumo, fakes) -> None:
    flags = ("--image-size", 32, "--batch-size", 8, "--precision", "fp32", "--epochs", 1)
    assert pneumo("run", "thirds", *flags, "--no-evaluate-test").code == 0
    (run,) = fakes.glob("runs/thirds/*")
    text = (run / "run.toml").read_text().replace("pneumo-phantom:phantom", "pneumo-elsewhere:phantom")
    (run / "run.toml").write_text(text)
    refused = pneumo("evaluate", run, "--on", "validation")
    assert refused.code == 2
    assert "pneumo-elsewhere:phantom" in refused.stderr


def test_the_automatic_extractor_is_the_bundled_model(install, fakes) -> None:
    from pneumo_cli.runtime.devices import choose_device
    from pneumo_cli.trainers.feature_extractors import find_extractor

    source = """
from pneumo_cli.api import ModelSpec, hookimpl
api_version = 1
@hookimpl
def register_models():
    yield ModelSpec(
        name="efficientnet-lite0", kind="classifier", summary="One", factory="{module}:build",
        weights="{module}:weights",
    )
def build(channels, outputs):
    from torch import nn
    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(4 * channels, outputs))
def weights(name, progress):
    raise {error}
"""
    error = "__import__('pneumo_cli').UsageError('of {}')"
    for name in ("pneumo-efficientnet-lite", "pneumo-a-rival"):
        module = name.replace("-", "_")
        text = source.format(module=module, error=error.format(name))
        install(name, {name: module}, {module: text})
    plugins = discover()
    with pytest.raises(UsageError, match="of pneumo-efficientnet-lite"):
        find_extractor("auto", plugins, choose_device("cpu", "fp32"))
    with pytest.raises(UsageError, match="choose pneumo-a-rival:efficientnet-lite0"):
        find_extractor("efficientnet-lite0", plugins, choose_device("cpu", "fp32"))
