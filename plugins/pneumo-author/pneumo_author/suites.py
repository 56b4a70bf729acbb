"""The conformance suites of some parts, as a module of test classes that pytest collects."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from pneumo_author.parts import Part
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.settings.resolve import resolve
from pneumo_cli.testing import (
    CommandConformance,
    DatasetConformance,
    DecoderConformance,
    ExtensionConformance,
    ExtractorConformance,
    ModelConformance,
    ObserverConformance,
    SamplerConformance,
    SplitConformance,
    TrainerConformance,
)
from pneumo_cli.testing.suite import Conformance
from pneumo_cli.trainers.session import make_trainer

_KEPT = ("PNEUMO_DISABLE_PLUGINS", "PNEUMO_PLUGINS", "PNEUMO_CACHE")


class Model(ModelConformance):
    """A model of any kind: those whose kind nobody knows how to call are built and saved."""

    def output(self, model: Any, size: int) -> torch.Tensor:
        """The output for four images, or for noise, as its kind has it."""
        if hasattr(model, "generator") and hasattr(model, "discriminator"):
            return _tensor(model(torch.randn(4, model.z_dim, generator=torch.Generator().manual_seed(0))))
        if self.kind == "classifier" or hasattr(model, "encode"):
            return super().output(model, size)
        return pytest.skip(f"how a model of the kind {self.kind} is called is for its own tests to say")

    kind = "classifier"


class PluginConformance(Conformance):
    """A plugin that registers no part, and only implements other hooks."""

    @pytest.fixture
    def entry(self, plugins: Plugins) -> Entry[Any]:
        """The plugin under test."""
        (found,) = [one for one in plugins.loaded if one.name == self.name]
        plugin: Any = found
        return Entry(plugin, found.provenance)


_SUITES: dict[str, type[Conformance]] = {
    "trainer": TrainerConformance,
    "model": Model,
    "dataset": DatasetConformance,
    "extension": ExtensionConformance,
    "observer": ObserverConformance,
    "split": SplitConformance,
    "sampler": SamplerConformance,
    "extractor": ExtractorConformance,
    "decoder": DecoderConformance,
    "command": CommandConformance,
    "plugin": PluginConformance,
}


def suites_of(plugins: Plugins, parts: Sequence[Part], dataset: str, data_root: Path | None) -> ModuleType:
    """A module with a test class for each part, in order.

    Args:
        dataset: that trainers are tried on; empty: the suite chooses.
        data_root: the folder of its images, of the images of datasets, and of files for decoders.
    """
    module = ModuleType("suites")

    @pytest.fixture(autouse=True)
    def alone(self: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the user's settings, in a folder of its own."""
        for name in [n for n in os.environ if n.upper().startswith("PNEUMO_") and n not in _KEPT]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("PNEUMO_DATA_HOME", str(tmp_path / "home"))
        monkeypatch.setattr("pneumo_cli.reports.figures.style._DPI", 40)  # what is drawn is not looked at
        (tmp_path / "work").mkdir()
        monkeypatch.chdir(tmp_path / "work")

    @pytest.fixture
    def root(self: Any) -> Path | None:
        return data_root

    for number, part in enumerate(parts):
        values: dict[str, Any] = {"name": part.qualified_name, "alone": alone, "__doc__": str(part)}
        if data_root is not None and part.kind in ("trainer", "dataset", "decoder"):
            values["data_root"] = root
        if part.kind == "trainer":
            values["dataset"] = dataset
        if part.kind == "model":
            values |= _model_values(plugins, part)
        setattr(module, f"Test{number}", type(f"Test{number}", (_SUITES[part.kind],), values))
    return module


def _model_values(plugins: Plugins, part: Part) -> dict[str, Any]:
    """What trainers of its kind pass to the factory of a model, for small images."""
    entry = plugins.models.get(part.qualified_name)
    kind, size = entry.spec.kind, entry.spec.size or 32
    sizes = (entry.spec.size,) if entry.spec.size else (32, 64)
    if kind == "classifier":
        return {"kind": kind, "sizes": sizes, "options": {"channels": 3, "outputs": 1}}
    options: dict[str, Any] = {}
    for trainer in plugins.trainers.entries():
        if trainer.spec.kind == kind:
            values = {"image_size": size, "model": part.qualified_name}
            options = make_trainer(resolve(plugins, trainer, values, environ={})).model_options()
            break
    return {"kind": kind, "sizes": sizes[:1], "options": options}


def _tensor(value: Any) -> torch.Tensor:
    assert isinstance(value, torch.Tensor)
    return value
