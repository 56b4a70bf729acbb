"""Options of datasets: they are settings like all others, of the chosen dataset alone."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover
from pneumo_cli.registry import Entry, Provenance
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import reopen_settings
from pneumo_cli.settings.resolve import Resolved, resolve, resolve_options
from pneumo_cli.specs import DatasetSpec, Preset

MODULE = """
from pydantic import Field
from pneumo_cli.settings import DatasetSettings

class Clinic(DatasetSettings):
    ward: str = Field("all", description="ward of the hospital")
    views: int = Field(2, ge=1, le=4, description="views of each patient")

class Archive(DatasetSettings):
    ward: str = Field("west", description="ward of the archive")

class Clash(DatasetSettings):
    epochs: int = Field(2, description="not ours")
"""


@pytest.fixture
def plugins(fakes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What is installed, and the datasets ``clinic``, ``archive`` and ``clash`` with options."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "options_of_a_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    found = discover()
    for name in ("clinic", "archive", "clash"):
        spec = DatasetSpec(
            name=name,
            summary="A test's",
            factory="pneumo_fake.data:open_tiny",
            settings=f"options_of_a_test:{name.capitalize()}",
        )
        found.datasets.add(spec, Provenance("a-test", "1"))
    return found


@pytest.fixture
def resolved(plugins):
    def run(dataset: str, flags=None, environ=None, **options) -> Resolved:
        flags = {"dataset": dataset, **(flags or {})}
        return resolve(plugins, plugins.trainers.get("fake"), flags, environ=environ or {}, **options)

    return run


def test_options_come_from_defaults_file_environment_and_flags(resolved, fakes: Path) -> None:
    assert dict(resolved("clinic").options) == {"ward": "all", "views": 2}
    (fakes / "pneumo.toml").write_text('ward = "north"\nviews = 3\n')
    settings = resolved("clinic", {"ward": "south"}, {"PNEUMO_VIEWS": "4"})
    assert dict(settings.options) == {"ward": "south", "views": 4}
    assert (settings.origins["ward"], settings.origins["views"]) == ("--ward", "PNEUMO_VIEWS")


def test_an_option_of_another_dataset_is_an_error_as_a_flag_only(resolved, fakes: Path) -> None:
    (fakes / "pneumo.toml").write_text("views = 3\n")
    settings = resolved("archive", environ={"PNEUMO_VIEWS": "4"})
    assert dict(settings.options) == {"ward": "west"}
    assert "views" not in settings.origins
    with pytest.raises(UsageError) as caught:
        resolved("archive", {"views": "3"})
    assert str(caught.value) == "the dataset archive has no option --views; those that do: clinic"
    with pytest.raises(
        UsageError, match="the dataset tiny has no option --ward; those that do: archive, clinic"
    ):
        resolved("tiny", {"ward": "x"})


def test_a_value_out_of_bounds_or_an_unknown_name_is_an_error_that_names_its_place(
    resolved, fakes: Path
) -> None:
    with pytest.raises(UsageError, match=r"views = '9' \(--views\): input should be less than or equal to 4"):
        resolved("clinic", {"views": "9"})
    (fakes / "pneumo.toml").write_text('wart = "x"\n')
    with pytest.raises(UsageError, match=r"unknown setting 'wart'; did you mean ward or"):
        resolved("clinic")


def test_an_option_may_not_have_the_name_of_a_setting(resolved) -> None:
    with pytest.raises(UsageError, match=r"the option epochs of dataset clash .* has the name of a setting"):
        resolved("clash")


def test_a_run_records_the_options_and_reads_them_back(resolved, plugins, tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs", "fake")
    settings = resolved("clinic", {"ward": "south"})
    folder.settings.write_text(settings.to_toml({"trainer": "fake"}))
    assert tomllib.loads(folder.settings.read_text())["ward"] == "south"
    again = reopen_settings(plugins, folder, {"dataset": None})
    assert again.options == settings.options
    assert again.origins["ward"] == "--ward"


def test_options_stay_with_their_dataset_when_a_run_is_evaluated_on_another(
    resolved, plugins, tmp_path: Path
) -> None:
    folder = RunFolder.create(tmp_path / "runs", "fake")
    folder.settings.write_text(resolved("clinic", {"ward": "south"}).to_toml({"trainer": "fake"}))
    assert dict(reopen_settings(plugins, folder, {"dataset": "archive"}).options) == {"ward": "west"}
    given = reopen_settings(plugins, folder, {"dataset": "archive", "ward": "east"})
    assert dict(given.options) == {"ward": "east"}
    assert dict(reopen_settings(plugins, folder, {"dataset": "clinic"}).options)["ward"] == "south"


def test_commands_without_a_trainer_resolve_options_alone(plugins, fakes: Path) -> None:
    (fakes / "pneumo.toml").write_text('ward = "north"\nepochs = 3\n')
    entry = plugins.datasets.get("clinic")
    assert dict(resolve_options(plugins, entry, {"views": "1", "ward": None}, environ={})) == {
        "ward": "north",
        "views": 1,
    }
    with pytest.raises(UsageError, match="no option --views"):
        resolve_options(plugins, plugins.datasets.get("archive"), {"views": "1"}, environ={})


@pytest.mark.parametrize(
    ("given", "expected"), [("true", "balanced"), ("false", "none"), ("0", "none"), (False, "none")]
)
def test_the_former_switch_weighted_loss_sets_class_weights(resolved, given, expected: str) -> None:
    settings = resolved("clinic", {"weighted_loss": given})
    assert settings.trainer.class_weights == expected
    assert settings.trainer.weighted_loss is (expected != "none")


def test_a_run_whose_dataset_is_not_installed_is_read_without_its_options(resolved, fakes: Path) -> None:
    recorded = fakes / "run.toml"
    text = 'trainer = "fake"\ndataset = "DATASET"\nfloor = 3\n\n[run]\ndataset = "a-test:DATASET"\n'
    recorded.write_text(text.replace("DATASET", "hospital"))
    settings = resolved("hospital", config=recorded)
    assert dict(settings.options) == {}
    recorded.write_text(text.replace("DATASET", "clinic"))
    with pytest.raises(UsageError, match="unknown setting 'floor'"):
        resolved("clinic", config=recorded)


def test_a_preset_sets_an_option_of_the_dataset_that_it_names_alone(plugins, fakes: Path) -> None:
    entry = plugins.trainers.get("fake")
    preset = Preset(name="large", summary="Large", options={"clinic": {"ward": "east", "beds": 3}})
    large = Entry(replace(entry.spec, presets=(preset, *entry.spec.presets)), entry.provenance)

    def ward(dataset: str, preset: str = "large", **options) -> tuple[str, str]:
        settings = resolve(plugins, large, {"dataset": dataset}, preset=preset, environ={}, **options)
        return settings.options.ward, settings.origins["ward"]

    assert ward("clinic") == ("east", "preset large")
    assert ward("clinic", "quick") == ("all", "default")
    assert ward("archive") == ("west", "default")
    (fakes / "pneumo.toml").write_text('ward = "north"\n')
    assert ward("clinic") == ("north", "pneumo.toml")
    # A run of before the option was recorded without it, and is resumed on the same images.
    (fakes / "run.toml").write_text(
        'trainer = "fake"\npreset = "large"\ndataset = "clinic"\n[run]\ndataset = "a-test:clinic"\n'
    )
    of_a_run = resolve(plugins, large, {}, config=fakes / "run.toml", environ={})
    assert (of_a_run.options.ward, of_a_run.origins["ward"]) == ("all", "default")
