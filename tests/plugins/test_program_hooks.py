"""The hooks that tell plugins what commands other than a single run have done."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pneumo_cli.plugins.discovery import discover
from pneumo_cli.plugins.hookspecs import PROGRAM_HOOKS

LISTENER = """
import json
from pneumo_cli.api import ObserverSpec, hookimpl
from pneumo_cli.settings import PartSettings
api_version = 1
class Settings(PartSettings):
    digits: int = 6
class Diary:
    def __init__(self, settings): pass
    @hookimpl
    def run_started(self): pass
@hookimpl
def register_observers():
    yield ObserverSpec(name="diary", summary="Nothing", factory="listener:Diary", settings="listener:Settings")
def told(hook, **values):
    print("printed by", hook)
    with open("told.jsonl", "a") as file:
        file.write(json.dumps({"hook": hook, **values}, default=str) + "\\n")
@hookimpl
def group_started(folder, settings):
    told("group_started", folder=folder, epochs=settings["epochs"], output=settings["output"],
         digits=settings.get("diary.digits"))
@hookimpl
def group_finished(folder, report):
    told("group_finished", folder=folder, members=len(report["members"]), spread=sorted(report["spread"]))
@hookimpl
def run_evaluated(folder, result):
    told("run_evaluated", folder=folder, metrics=result["metrics"])
@hookimpl
def images_predicted(paths, predictions):
    told("images_predicted", paths=paths, predictions=list(predictions))
"""


@pytest.fixture
def told(install, fakes):
    """A plugin that listens; returns what it was told, as rows."""
    install("pneumo-listener", {"listener": "listener"}, {"listener": LISTENER})

    def rows() -> list[dict]:
        file = fakes / "told.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    return rows


@pytest.fixture
def images(fakes) -> Path:
    """A folder of five images and a file that is none."""
    folder = fakes / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(folder / f"{number}.png")
    (folder / "5.png").write_bytes(b"no image")
    return folder


@pytest.mark.slow
def test_groups_are_told_of_when_they_start_resume_and_end(told, pneumo, fakes) -> None:
    flags = ("--epochs", 1, "--precision", "fp32", "--with", "diary", "--digits", 3)
    assert pneumo("run", "fake", "--seeds", 2, *flags).code == 0
    (group,) = fakes.glob("runs/fake/*-seeds")
    assert pneumo("resume", group, "--epochs", 2).code == 0
    rows = told()
    assert [row["hook"] for row in rows] == 2 * ["group_started", "group_finished"]
    assert {Path(row["folder"]).resolve() for row in rows} == {group.resolve()}
    assert [rows[0]["epochs"], rows[2]["epochs"]] == [1, 2]
    assert [rows[0]["digits"], rows[2]["digits"]] == [3, 3]
    assert rows[1]["members"] == 2
    assert "test" in rows[1]["spread"]


def test_evaluations_and_predictions_are_told_as_json_prints_them(told, pneumo, finished_run, images) -> None:
    run = finished_run("fake", "--epochs", 1)
    evaluated = pneumo("evaluate", run, "--on", "validation", "--json")
    predicted = pneumo("predict", run, images, "--json")
    evaluation, prediction = told()
    assert evaluation["metrics"] == json.loads(evaluated.stdout)["metrics"]
    assert prediction["paths"] == [str(run)]
    assert prediction["predictions"] == json.loads(predicted.stdout)["predictions"]
    assert "printed by images_predicted" in predicted.stderr


def test_of_many_images_plugins_get_one_block_after_the_other(
    told, pneumo, finished_run, images, monkeypatch
) -> None:
    monkeypatch.setattr("pneumo_cli.workflows.prediction_rows.BLOCK", 4)
    pneumo("predict", finished_run("fake", "--epochs", 1), images, "--csv")
    assert [len(row["predictions"]) for row in told()] == [4, 2]


def test_a_plugin_that_raises_is_named_and_nothing_else_changes(
    install, pneumo, finished_run, images
) -> None:
    run = finished_run("fake", "--epochs", 1)
    before = pneumo("predict", run, images, "--csv")
    source = LISTENER.replace("def told(hook, **values):", "def told(hook, **values):\n    raise ERROR\n")
    for name, error in (("one", "KeyError('oops')"), ("two", "SystemExit(0)")):
        install(
            f"pneumo-{name}", {name: f"raising_{name}"}, {f"raising_{name}": source.replace("ERROR", error)}
        )
    ended = pneumo("predict", run, images, "--csv")
    assert (ended.code, ended.stdout) == (before.code, before.stdout)
    assert "plugin one (pneumo-one 1.0) failed in images_predicted: KeyError: 'oops'" in ended.stderr
    assert "plugin two (pneumo-two 1.0) failed in images_predicted: SystemExit: 0" in ended.stderr


def test_any_command_can_call_them_and_no_other_hook(told, fakes) -> None:
    plugins = discover()
    plugins.notify("run_evaluated", folder=Path("x"), result={"metrics": {}})
    assert told()[0]["folder"] == "x"
    assert plugins.listens("run_evaluated")
    assert not plugins.listens("model_exported")
    assert set(PROGRAM_HOOKS) == {
        *("group_started", "group_finished", "run_evaluated", "images_predicted"),
        *("images_generated", "model_exported"),
    }
    with pytest.raises(ValueError, match="register_models is no program hook"):
        plugins.notify("register_models")
