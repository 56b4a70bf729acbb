"""What is installed, what can be set and which runs there are: the same as the commands list."""

from __future__ import annotations

import inspect
import json
import pydoc
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pneumo_cli import UsageError
from tests.runs.written_runs import FOLDS, write_group, write_run


def test_lists_have_the_rows_of_the_commands(library: ModuleType, pneumo) -> None:
    for name in ("trainers", "models", "datasets", "extensions"):
        assert getattr(library, name)() == json.loads(pneumo(f"list-{name}", "--json").stdout), name
    assert [row["name"] for row in library.models("TINY".lower())] == ["tiny-net"]
    with pytest.raises(UsageError, match="no model's name contains or matches 'nothing'"):
        library.models("nothing")


def test_settings_have_types_bounds_and_the_values_of_presets(library: ModuleType, pneumo) -> None:
    table = library.settings("fake")
    rows = {row["name"]: row for row in table}
    shown = {one["name"]: one for one in json.loads(pneumo("show", "fake", "--json").stdout)["fields"]}
    for name, row in rows.items():
        assert {key: value for key, value in row.items() if not key.startswith("preset ")} == shown[name]
    epochs = rows["epochs"]
    assert (epochs["preset quick"], epochs["preset source"]) == (1, epochs["default"])
    assert (epochs["type"], epochs["bounds"]["ge"], epochs["flag"]) == ("int", 1, "--epochs")
    assert "at least 1" in table._repr_html_()
    assert [row["name"] for row in library.settings("machine")][:1] == ["device"]
    assert library.presets("fake")[1] == {
        "name": "quick", "summary": "One epoch", "values": {"epochs": 1, "lr": 0.02},
    }  # fmt: skip
    with pytest.raises(UsageError, match="did you mean fake"):
        library.settings("fakee")
    with pytest.raises(UsageError, match="unknown trainer"):
        library.presets("fakee")


def test_settings_of_datasets_and_extensions(library: ModuleType, install) -> None:
    source = (
        "from pneumo_cli.api import DatasetSpec, ExtensionSpec, hookimpl\n"
        "from pneumo_cli.settings import DatasetSettings, PartSettings\n"
        "api_version = 1\n"
        "class Options(DatasetSettings):\n    noise: float = 0.5\n"
        "class Slow(PartSettings):\n    factor: int = 2\n"
        "@hookimpl\ndef register_datasets():\n"
        "    yield DatasetSpec(name='noisy', summary='x', factory='listed:f', settings='listed:Options')\n"
        "@hookimpl\ndef register_extensions():\n"
        "    yield ExtensionSpec(name='slow', summary='x', factory='listed:f', settings='listed:Slow')\n"
    )
    install("pneumo-listed", {"listed": "listed"}, {"listed": source})
    assert [(row["name"], row["default"]) for row in library.settings("noisy")] == [("noise", 0.5)]
    assert [(row["name"], row["flag"]) for row in library.settings("slow")] == [("factor", "--slow-factor")]


def test_runs_are_those_of_the_command_in_its_order(library: ModuleType, pneumo, tmp_path: Path) -> None:
    write_run(tmp_path / "cnn" / "a", trainer="cnn", auc=0.8, started="2026-01-01T00:00:00", lr=0.1)
    write_run(tmp_path / "cnn" / "b", trainer="cnn", auc=0.9, started="2026-01-03T00:00:00", lr=0.2)
    write_run(tmp_path / "fake" / "c", auc=None, done=1, started="2026-01-02T00:00:00", lr=0.1)
    write_group(tmp_path / "fake" / "g-folds", FOLDS)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.toml").write_text("= =")
    for options, flags in (
        ({}, ()),
        ({"sort": "auc", "members": True}, ("--sort", "auc", "--members")),
        ({"trainer": "cnn", "finished": True}, ("--trainer", "cnn", "--finished")),
        ({"where": {"lr": 0.1}}, ("--where", "lr=0.1")),
        ({"where": "lr=0.2"}, ("--where", "lr=0.2")),
        ({"dataset": "other"}, ("--dataset", "other")),
    ):
        printed = pneumo("list-runs", tmp_path, *flags, "--json")
        rows = json.loads(printed.stdout)
        found = library.runs(tmp_path, **options)
        assert [str(one.folder) for one in found] == [row["run"] for row in rows["runs"]], options
        assert [one.name for one in found] == [row["name"] for row in rows["runs"]]
        assert found.problems == rows["problems"]
        assert (f"pneumo: {found.note}\n" if found.note else "") == printed.stderr
    first = library.runs(tmp_path, sort="auc")
    assert first[0].metrics["test"]["auc"] == 0.93
    assert first.table["test"][:2] == [0.93, 0.9]
    assert len(first[:2].table) == 2
    assert first[:2][1].folder == first[1].folder
    first.reverse()
    assert [row["name"] for row in first.table] == [one.name for one in first]
    first.reverse()
    assert "broken" in first._repr_html_()
    assert "0.900 (0.880–0.920)" in repr(first)
    with pytest.raises(UsageError, match="no run has a setting 'lrr'"):
        library.runs(tmp_path, where={"lrr": 1})
    with pytest.raises(UsageError, match="there is no folder"):
        library.runs(tmp_path / "nothing")
    shutil.rmtree(tmp_path / "cnn")
    assert "0.900 (0.880–0.920)" in repr(first), "as they were found"
    assert library.runs() == []
    assert "there are no runs yet" in repr(library.runs())


def test_packages_are_functions_too(library: ModuleType) -> None:
    import pneumo_cli.runs.folder  # noqa: F401  (binds the package to its name)
    from pneumo_cli import runs
    from pneumo_cli.runs import Run

    assert runs is library.runs
    assert runs.folder.RunFolder
    assert Run.__name__ == "Run"
    assert library.settings.schema.TrainerSettings
    assert "trainer" in inspect.signature(library.runs).parameters
    manual = pydoc.plain(pydoc.render_doc(library.settings))
    assert "The settings of a trainer, a dataset" in manual
    assert "As a package" in manual


def test_packages_that_are_functions_import_nothing_heavy() -> None:
    code = (
        "import sys, pneumo_cli as pneumo, pneumo_cli.runs, pneumo_cli.settings, pneumo_cli.workflows.run_list\n"
        "assert callable(pneumo.runs) and callable(pneumo.settings) and callable(pneumo.trainers)\n"
        "assert not {'torch', 'numpy', 'pydantic', 'matplotlib', 'IPython', 'webbrowser'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
