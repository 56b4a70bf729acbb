"""Plugins of one file: ``--plugin FILE.py``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

PROBE = '''
"""A trainer, a model and a command in one file."""
import torch
from torch import nn
from pneumo_cli.api import ModelSpec, Preset, TrainerSpec, hookimpl
from pneumo_cli.trainers import ClassificationTrainer

api_version = 1

@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="filed", summary="From a file", trainer=__name__ + ":Filed",
        settings="pneumo_fake.settings:FakeSettings", kind="classifier", model="filed-net",
        presets=(Preset(name="source", summary="As it is"),),
    )

@hookimpl
def register_models():
    yield ModelSpec(name="filed-net", kind="classifier", summary="A layer", factory="my_probe:build")

@hookimpl
def register_commands(app):
    @app.command()
    def filed():
        "Say where from."
        print("from a file")

class Filed(ClassificationTrainer):
    pass

def build(channels, outputs):
    return nn.Sequential(nn.AdaptiveMaxPool2d(4), nn.Flatten(), nn.Linear(16 * channels, outputs))
'''
FLAGS = ("--precision", "fp32", "--epochs", 1)


@pytest.fixture
def probe(fakes) -> Path:
    """``elsewhere/my-probe.py``; returns the path."""
    file = fakes / "elsewhere" / "my-probe.py"
    file.parent.mkdir()
    file.write_text(PROBE)
    return file


def test_what_a_file_registers_is_there_and_only_if_it_is_named(probe, pneumo) -> None:
    assert pneumo("filed").code == 2
    for arguments in (
        ("--plugin", probe, "filed"),
        ("filed", "--plugin", probe),
        (f"--plugin={probe}", "filed"),
        ("filed", "--plugin", probe, "--plugin", probe),
    ):
        assert pneumo(*arguments).stdout == "from a file\n"
    (row,) = (
        row
        for row in json.loads(pneumo("list-models", "--json", "--plugin", probe).stdout)
        if row["name"] == "filed-net"
    )
    assert row["distribution"] == "my-probe.py"
    assert len(row["version"]) == 12
    assert "my-probe.py" in pneumo("list-plugins", "--plugin", probe).stdout
    assert "--plugin FILE.py" in pneumo("--help").stdout


def test_the_variable_names_files_too(probe, pneumo, monkeypatch) -> None:
    monkeypatch.setenv("PNEUMO_PLUGINS", str(probe))
    assert pneumo("filed").stdout == "from a file\n"
    assert pneumo("run", "filed", "--print-config").code == 0  # it is no misspelt setting


def test_a_run_with_a_file_records_it_and_needs_it_again(probe, pneumo, fakes) -> None:
    ended = pneumo("run", "filed", *FLAGS, "--plugin", probe)
    assert ended.code == 0, ended.stderr
    (run,) = fakes.glob("runs/filed/*")
    report = json.loads((run / "report.json").read_text())
    (file,) = report["plugin_files"]
    assert (file["path"], len(file["sha256"])) == (str(probe), 64)
    assert report["reproduce"][0].endswith(f"--plugin {probe}")
    assert any(str(probe) in caveat["text"] for caveat in report["caveats"])
    assert report["environment"]["plugins"]["my-probe"] == f"my-probe.py {file['sha256'][:12]}"

    without = pneumo("resume", run, "--epochs", 2)
    assert (without.code, without.stderr) == (
        2,
        f"pneumo: {run} needs the plugin file that it was started with: --plugin {probe}\n",
    )
    predicted = pneumo("predict", run, "x.png")
    assert predicted.code == 2
    assert "my-probe.py" in predicted.stderr
    assert "--plugin" in predicted.stderr
    assert "pip install" not in predicted.stderr

    resumed = pneumo("resume", run, "--epochs", 2, "--plugin", probe)
    assert resumed.code == 0, resumed.stderr
    assert "its SHA-256 was" not in resumed.stderr
    probe.write_text(PROBE + "# changed\n")
    changed = pneumo("resume", run, "--epochs", 3, "--plugin", probe)
    assert changed.code == 0, changed.stderr
    assert f"its SHA-256 was {file['sha256'][:12]}, and is " in changed.stderr


@pytest.mark.slow
def test_the_members_of_a_group_have_the_file_too(probe, pneumo, fakes) -> None:
    ended = pneumo("run", "filed", *FLAGS, "--seeds", 2, "--plugin", probe)
    assert ended.code == 0, ended.stderr
    (group,) = fakes.glob("runs/filed/*-seeds")
    assert "my-probe.py" in (group / "group.toml").read_text()
    without = pneumo("resume", group, "--epochs", 2)
    assert without.code == 2
    assert f"--plugin {probe}" in without.stderr


@pytest.mark.slow
def test_every_rank_loads_the_file(probe, processes, fakes) -> None:
    ended = processes.run(fakes, "run", "filed", *FLAGS, "--devices", 2, "--device", "cpu", "--plugin", probe)
    assert ended.code == 0, ended.stderr


WRONG = {
    "absent.py": (None, "there is no such file"),
    "notes.txt": ("api_version = 1", "with the suffix .py"),
    "syntax.py": ("def (", "SyntaxError: "),
    "raises.py": ("api_version = 1\n\n1 / 0", "ZeroDivisionError: division by zero (line 3)"),
    "exits.py": ("raise SystemExit(0)", "SystemExit: 0 (line 1)"),
    "unversioned.py": (
        "x = 1",
        "it states no api_version, and this pneumo has version 1: write api_version = 1",
    ),
    "hookless.py": ("api_version = 1", "it implements no hook of pneumo"),
    "misspelt.py": (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef register_model(): pass",
        "there is no hook 'register_model'; did you mean register_models",
    ),
    "numpy.py": ("api_version = 1", "there is another module 'numpy'; rename the file"),
    # Up to Python 3.11.3 compile() raised another error for a NUL.
    "binary.py": (b"\xff\x00\x01", "SyntaxError: " if sys.version_info >= (3, 11, 4) else "ValueError: "),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(name: str, pneumo, fakes) -> None:
    source, words = WRONG[name]
    if source is not None:
        (fakes / name).write_bytes(source if isinstance(source, bytes) else source.encode())
    ended = pneumo("list-models", "--plugin", name)
    assert (ended.code, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"pneumo: --plugin {fakes / name}: ")
    assert words in line


def test_two_files_of_one_name_and_a_flag_without_file_are_refused(probe, pneumo, fakes) -> None:
    (fakes / "my_probe.py").write_text(PROBE)
    ended = pneumo("list-models", "--plugin", probe, "--plugin", "my_probe.py")
    assert ended.code == 2
    assert "another plugin file has this name" in ended.stderr
    for arguments in (("list-models", "--plugin"), ("--plugin", "--help")):
        assert pneumo(*arguments).stderr == (
            "pneumo: --plugin needs the path of a Python file: --plugin FILE.py\n"
        )


def test_after_two_dashes_it_is_an_argument(pneumo) -> None:
    ended = pneumo("list-models", "--", "--plugin")
    assert "no model's name contains or matches '--plugin'" in ended.stderr


DATASET = """
from pneumo_cli.api import DatasetSpec, hookimpl
api_version = 1
@hookimpl
def register_datasets():
    yield DatasetSpec(name="filed-data", summary="From a file", factory=__name__ + ":make")
"""


def test_a_file_may_have_a_name_in_any_language(fakes: Path, pneumo) -> None:
    file = fakes / "elsewhere" / "übung ä.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(DATASET, encoding="utf-8")
    listed = pneumo("list-datasets", "--json", "--plugin", file)
    assert listed.stderr == ""
    assert "filed-data" in {one["name"] for one in json.loads(listed.stdout)}


def test_the_variable_may_name_a_file_in_the_home_folder(fakes: Path, pneumo, monkeypatch) -> None:
    (fakes / "home").mkdir()
    (fakes / "home" / "of_mine.py").write_text(DATASET, encoding="utf-8")
    monkeypatch.setenv("HOME", str(fakes / "home"))
    monkeypatch.setenv("USERPROFILE", str(fakes / "home"))
    monkeypatch.setenv("PNEUMO_PLUGINS", "~/of_mine.py")
    assert "filed-data" in pneumo("list-datasets").stdout


def test_the_home_of_an_unknown_user_is_no_crash(pneumo) -> None:
    ended = pneumo("list-datasets", "--plugin", "~nobody-of-this-name/x.py")
    assert ended.code == 2
    assert ended.stderr.endswith("x.py: there is no such file\n")
