"""One rule for the default preset: the trainer's first, which is the report's in all five trainers."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.settings.resolve import resolve, with_preset


@pytest.mark.parametrize("name", ["cnn", "feature_extraction", "fine_tuning", "gan", "autoencoder"])
def test_the_first_preset_of_each_of_the_reports_trainers_is_the_reports(name: str) -> None:
    pytest.importorskip(f"pneumo_{name}")
    (spec,) = importlib.import_module(f"pneumo_{name}.plugin").register_trainers()
    assert spec.presets[0].name == "source"


def test_a_reproduction_takes_the_same_preset() -> None:
    assert pytest.importorskip("pneumo_reproduce").PRESET == "source"


def test_another_preset_keeps_what_flags_variables_and_files_have_set(fakes: Path) -> None:
    Path("pneumo.toml").write_text("batch_size = 4\n")
    plugins = discover()
    environ = {"PNEUMO_SEED": "7"}
    source = resolve(plugins, plugins.trainers.get("fake"), {"image_size": 16}, environ=environ)
    quick = with_preset(plugins, source, "quick")
    assert (source.preset.name, quick.preset.name) == ("source", "quick")
    settings = quick.trainer
    assert (settings.epochs, settings.image_size, settings.batch_size, settings.seed) == (1, 16, 4, 7)
