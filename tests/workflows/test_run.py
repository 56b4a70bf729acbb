"""``pneumo.run`` and ``pneumo run``: the same numbers to the last digit, from the same sources of settings."""

from __future__ import annotations

import inspect
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from pneumo_cli import UsageError
from pneumo_cli.api import hookimpl
from tests.training.comparison import assert_same_group, assert_same_results, only_run, report_of

CLOCK = ("seconds", "images_per_second")
OWN = (
    "run",
    "environment",
    "reproduce",
    "next",
    "test_access",
    "caveats",
)  # differ between two runs of one recipe


class Epochs:
    """Notes the epochs of a run."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    @hookimpl
    def epoch_finished(self, metrics: dict[str, Any]) -> None:
        self.seen.append(metrics["epoch"])


def report_without_clock(folder: Path) -> dict[str, Any]:
    report = {name: value for name, value in report_of(folder).items() if name not in OWN}
    rows = [{name: value for name, value in row.items() if name not in CLOCK} for row in report["history"]]
    settings = [row for row in report["settings"] if row["name"] != "output"]
    return {**report, "history": rows, "settings": settings}


def recorded(folder: Path) -> dict[str, Any]:
    """The settings of a run or group, without its start."""
    (file,) = (path for name in ("run", "group") if (path := folder / f"{name}.toml").exists())
    content = tomllib.loads(file.read_text())
    del content["run"]["started"]
    return content


@contextmanager
def only_new(folder: Path) -> Iterator[list[Path]]:
    """The run that is made within it."""
    found: list[Path] = []
    before = set(folder.glob("runs/*/*"))
    yield found
    found += set(folder.glob("runs/*/*")) - before


def test_a_run_is_the_same_as_that_of_the_command(
    library: ModuleType, finished_run: Callable[..., Path]
) -> None:
    command = finished_run("fake", "--epochs", 2, "--no-report")
    observer = Epochs()
    result = library.run(
        "fake", epochs=2, precision="fp32", report=False, observers=[observer], progress=False
    )
    assert observer.seen == [0, 1, 2]
    assert_same_results(command, result.folder)
    ours, theirs = (report_without_clock(folder) for folder in (result.folder, command))
    assert ours == theirs
    assert dict(result.metrics["test"]) == theirs["evaluations"]["test"]
    assert list(result.metrics["test"]["auc"].interval) == theirs["intervals"]["test"]["auc"]
    assert [row["train_loss"] for row in result.history] == [
        row["train"]["loss"] for row in theirs["history"]
    ]
    assert result.settings["epochs"] == 2


def test_a_group_is_the_same_as_that_of_the_command(
    library: ModuleType, pneumo, fakes: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert pneumo("run", "duel", "--seeds", 2, "--epochs", 1, "--no-report", "--output", "command").code == 0
    (command,) = fakes.glob("command/*/*")
    observer = Epochs()
    result = library.run("duel", seeds=2, epochs=1, report=False, observers=[observer], progress=False)
    assert result.folder == only_run(fakes)
    assert_same_group(command, result.folder)
    assert observer.seen == [0, 1, 0, 1]
    assert recorded(result.folder)["seeds"] == 2
    assert capfd.readouterr() == ("", "")


PLUGIN = """
from pydantic import Field
from pneumo_cli.api import ExtensionSpec, hookimpl
from pneumo_cli.settings import PartSettings

api_version = 1

class Settings(PartSettings):
    factor: float = Field(1.0, gt=0, description="of the loss")
    words: list[str] = Field(["x"], description="for nothing")

class Scaling:
    def __init__(self, settings):
        self.factor = settings.factor

    @hookimpl
    def around_loss(self, run):
        return lambda loss, *given: self.factor * loss(*given)

@hookimpl
def register_extensions():
    yield ExtensionSpec(name="scaling", summary="Scales", factory="scaling:Scaling", settings="scaling:Settings")
"""


def test_files_variables_presets_and_extensions_are_read_alike(
    library: ModuleType, pneumo, install, fakes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("pneumo-scaling", {"scaling": "scaling"}, {"scaling": PLUGIN})
    (fakes / "pneumo.toml").write_text("momentum = 0.5\nepochs = 3\n[scaling]\nfactor = 3.0\n")
    monkeypatch.setenv("PNEUMO_LR", "0.03")
    monkeypatch.setenv("PNEUMO_EPOCHS", "1")
    parts = ("--with", "scaling", "--scaling-words", "a,b", "--batch-size", 16, "--no-nesterov")
    with only_new(fakes) as (first):
        ended = pneumo("run", "fake", "--preset", "quick", *parts, "--no-report")
    assert ended.code == 0, ended.stderr
    with only_new(fakes) as (second):
        result = library.run(
            "fake",
            preset="quick",
            extensions=["scaling"],
            scaling_words=("a", "b"),
            batch_size=np.int64(16),
            nesterov=False,
            report=False,
            model=None,
            progress=False,
        )
    ours, theirs = recorded(second[0]), recorded(first[0])
    assert ours == theirs
    assert ours["scaling"] == {"factor": 3.0, "words": ["a", "b"]}
    assert (ours["lr"], ours["momentum"], ours["preset"]) == (0.03, 0.5, "quick")
    assert report_without_clock(first[0]) == report_without_clock(result.folder)

    # The recorded command asks for the same again.
    command = json.loads((result.folder / "environment.json").read_text())["command"]
    assert command[:4] == ["pneumo", "run", "fake", "--preset"]
    shown = pneumo(*command[1:], "--print-config")
    assert shown.code == 0, shown.stderr
    expected = {name: value for name, value in ours.items() if name not in ("run", "origin")}
    assert tomllib.loads(shown.stdout) == expected

    # So does its file, from another folder.
    config = shutil.copy(result.folder / "run.toml", fakes / "a.toml")
    monkeypatch.delenv("PNEUMO_EPOCHS")
    (fakes / "pneumo.toml").unlink()
    monkeypatch.setenv("HOME", str(fakes))
    again = library.run("fake", config="~/a.toml", output="~/out", observers=[Epochs()], progress=False)
    assert again.folder.parent == fakes / "out" / "fake"
    assert report_without_clock(again.folder)["evaluations"] == report_of(result.folder)["evaluations"]
    command = json.loads((again.folder / "environment.json").read_text())["command"]
    assert command[3:] == [
        *("--config", str(config), "--output", str(fakes / "out")),
        "# in Python, with the observer Epochs",
    ]


def test_what_was_registered_is_named_where_the_command_alone_would_not_do(
    library: ModuleType, fakes: Path
) -> None:
    from pneumo_fake.models import plain_net

    library.register(plain_net, name="mine", kind="classifier")
    settings: dict[str, Any] = {"model": "mine", "epochs": 1, "report": False, "progress": False}
    result = library.run("fake", **settings)
    command = json.loads((result.folder / "environment.json").read_text())["command"]
    assert command[-1] == "# in Python, with the registered model mine"
    assert report_of(result.folder)["reproduce"] == [
        f"pneumo run fake --config {result.folder.relative_to(fakes)}/run.toml",
        "# only in Python, where the model mine is registered: pneumo.run('fake', config=…)",
    ]
    with pytest.raises(
        UsageError, match="other processes do the work, which do not have the registered model"
    ):
        library.run("fake", devices=2, **settings)


def test_no_setting_has_the_name_of_a_parameter() -> None:
    """Of everything that is bundled, whatever is installed in other tests."""
    from pneumo_cli.plugins.discovery import discover
    from pneumo_cli.settings.dataset_options import all_options
    from pneumo_cli.settings.parts import part_fields
    from pneumo_cli.settings.resolve import settings_class
    from pneumo_cli.settings.schema import MachineSettings
    from pneumo_cli.workflows.functions import evaluate, resume, run

    plugins = discover(disabled="")
    options = set(all_options(plugins))
    names = {name for entry in plugins.trainers.entries() for name in settings_class(entry).model_fields}
    names |= options | MachineSettings.model_fields.keys() | part_fields(plugins).keys()
    assert not names & inspect.signature(run).parameters.keys()
    own = inspect.signature(evaluate).parameters
    assert not options & own.keys()
    assert {"dataset", "operating_point"} <= {name for name in own if name in names}
    assert {name for name in inspect.signature(resume).parameters if name in names} == {
        *("epochs", "device", "precision", "data_root", "cache", "threads")
    }
