"""Discovery of plugins: each is loaded on its own, broken ones do not affect others, conflicts are named."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import discover

MODEL = """
from pneumo_cli.api import ModelSpec, hookimpl
api_version = 1
@hookimpl
def register_models():
    yield ModelSpec(name={name!r}, kind="classifier", summary="One more", factory="pneumo_fake.models:tiny_net")
"""
TRAINER = """
from pneumo_cli.api import ModelSpec, Preset, TrainerSpec, hookimpl
api_version = 1
@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="fake", summary="A rival", trainer="pneumo_fake.trainers:FakeTrainer",
        settings="pneumo_fake.settings:FakeSettings", kind="classifier", model="tiny-net",
        presets=(Preset(name="source", summary="Its own"),),
    )
@hookimpl
def register_models():
    yield ModelSpec(name="tiny-net", kind="classifier", summary="A rival", factory="pneumo_fake.models:plain_net")
"""

BROKEN = {
    "raises": ("raise RuntimeError('no\\nluck')", "import", "RuntimeError: no luck"),
    "exits": ("raise SystemExit(3)", "import", "SystemExit: 3"),
    "misspelt": ("import not_installed_anywhere", "import", "No module named 'not_installed_anywhere'"),
    "syntax": ("def (", "import", "SyntaxError"),
    "future": ("api_version = 2", "version", "was written for API version 2, and this pneumo has version 1"),
    "silent": ("", "version", "states no api_version"),
    "unknown-hook": (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef register_model(): pass",
        "hooks",
        "there is no hook 'register_model'; did you mean register_models",
    ),
    "unknown-argument": (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef epoch_started(run, epok): pass",
        "hooks",
        "epok",
    ),
    "register-raises": (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef register_models(): 1 / 0",
        "register",
        "register_models: ZeroDivisionError",
    ),
    "no-text": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError('no')\nraise Odd",
        "import",
        "Odd: no message",
    ),
    "version-text": (
        "api_version = '1'",
        "version",
        "was written for API version '1', and this pneumo has version 1",
    ),
    "nothing": (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef register_datasets(): return None",
        "register",
        "register_datasets: TypeError: returned None: yield each DatasetSpec, or return a list of them",
    ),
    "text": (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef register_models(): return 'x'",
        "register",
        "returned 'x': yield each ModelSpec or ModelFamily, or return a list of them",
    ),
    "no-spec": (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef register_models(): return ['x']",
        "register",
        "register_models returned 'x', not a ModelSpec",
    ),
    "not-iterable": (
        "from pneumo_cli.api import hookimpl\napi_version = 1\n@hookimpl\ndef register_datasets(): return None",
        "register",
        "register_datasets: TypeError",
    ),
    "bad-spec": (
        MODEL.format(name="Not A Name"),
        "register",
        "the name 'Not A Name' is not of lower-case words",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_plugin_is_reported_in_one_line_and_the_others_work(kind: str, install, pneumo) -> None:
    source, stage, words = BROKEN[kind]
    module = f"broken_{kind.replace('-', '_')}"
    install("pneumo-broken", {"broken": module}, {module: source}, "0.3")
    listed = pneumo("list-models", "--json")
    assert listed.code == 0
    assert {"tiny-net", "plain-net"} <= {row["name"] for row in json.loads(listed.stdout)}
    (line,) = listed.stderr.splitlines()
    assert line.startswith(f"pneumo: plugin broken (pneumo-broken 0.3): {stage}: ")
    assert words in line
    # list-plugins shows it in its table, and so not on stderr.
    plugins = pneumo("list-plugins")
    assert plugins.code == 0
    assert plugins.stderr == ""
    assert words in plugins.stdout
    (problem,) = json.loads(pneumo("list-plugins", "--json").stdout)["problems"]
    assert (problem["plugin"], problem["distribution"], problem["stage"]) == (
        "broken",
        "pneumo-broken",
        stage,
    )
    assert ("Traceback" in problem["traceback"]) == (stage not in ("version",) and kind != "unknown-hook")


def test_ctrl_c_while_plugins_are_loaded_ends_the_program(install, pneumo) -> None:
    install("pneumo-slow", {"slow": "slow_plugin"}, {"slow_plugin": "raise KeyboardInterrupt"})
    ended = pneumo("list-models")
    assert ended.code == 130
    assert ended.stderr == "pneumo: interrupted while loading plugin slow (pneumo-slow 1.0)\n"


def test_ctrl_c_while_a_plugin_registers_names_the_plugin_and_the_hook(install, pneumo) -> None:
    source = MODEL.format(name="slow").replace("    yield", "    raise KeyboardInterrupt\n    yield")
    install("pneumo-slow", {"slow": "slow_plugin"}, {"slow_plugin": source})
    ended = pneumo("list-models")
    assert ended.code == 130
    assert (
        ended.stderr == "pneumo: interrupted while calling register_models of plugin slow (pneumo-slow 1.0)\n"
    )


def test_a_plugin_that_takes_long_to_load_or_to_register_is_named_meanwhile(
    install, pneumo, monkeypatch
) -> None:
    monkeypatch.setattr("pneumo_cli.plugins.loading._PATIENCE", 0.2)
    source = "import time\ntime.sleep(0.5)\n" + MODEL.format(name="slow").replace(
        "    yield", "    time.sleep(0.5)\n    yield"
    )
    install("pneumo-slow", {"slow": "slow_plugin"}, {"slow_plugin": source})
    listed = pneumo("list-models")
    assert listed.code == 0
    assert listed.stderr.splitlines() == [
        "pneumo: still loading plugin slow (pneumo-slow 1.0)",
        "pneumo: still calling register_models of plugin slow (pneumo-slow 1.0)",
    ]


def test_what_c_code_and_subprocesses_print_while_plugins_load_does_not_spoil_json(
    install, fakes, tmp_path
) -> None:
    loud = """
import ctypes, os, subprocess, sys
def loud(where):
    os.write(1, f"raw {where}\\n".encode())
    subprocess.run([sys.executable, "-c", f"print('child {where}')"], check=True)
    sys.__stdout__.write(f"python {where}\\n")
    if os.name == "posix":
        ctypes.CDLL(None).puts(f"libc {where}".encode())
loud("import")
"""
    source = loud + MODEL.format(name="loud").replace("    yield", "    loud('register')\n    yield")
    install("pneumo-loud", {"loud": "loud_plugin"}, {"loud_plugin": source})
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(
        [sys.executable, "-m", "pneumo_cli", "list-models", "--json"],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "loud" in {row["name"] for row in json.loads(ended.stdout)}
    for where in ("import", "register"):
        assert {f"{how} {where}" for how in ("raw", "child", "python")} <= set(ended.stderr.splitlines())


def test_a_closed_stdout_is_no_problem_for_loading(fakes) -> None:
    command = f"{sys.executable} -m pneumo_cli list-models >&-"
    ended = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr


def test_output_of_plugins_goes_to_stderr(install, pneumo) -> None:
    source = "print('hello from import')\n" + MODEL.format(name="chatty").replace(
        "    yield", "    print('hello from register')\n    yield"
    )
    install("pneumo-chatty", {"chatty": "chatty_plugin"}, {"chatty_plugin": source})
    listed = pneumo("list-models", "--json")
    assert "chatty" in {row["name"] for row in json.loads(listed.stdout)}
    assert listed.stderr == "hello from import\nhello from register\n"


def test_a_name_of_two_distributions_is_listed_twice_and_used_by_its_full_name(install, pneumo) -> None:
    install("pneumo-rival", {"rival": "rival_plugin"}, {"rival_plugin": TRAINER}, "2.0")
    listed = pneumo("list-trainers", "--json")
    names = [row["name"] for row in json.loads(listed.stdout)]
    assert names == ["duel", "pneumo-fake:fake", "pneumo-rival:fake", "painter"]
    conflicts = [line for line in listed.stderr.splitlines() if "conflict" in line]
    assert len(conflicts) == 2  # the trainer's name and the model's, a line each
    assert all("pneumo-fake 1.0" in line and "pneumo-rival 2.0" in line for line in conflicts)
    bare = pneumo("run", "fake", "--print-config")
    assert bare.code == 2
    assert bare.stderr.splitlines()[-1] == (
        "pneumo: the trainer 'fake' is registered by pneumo-fake 1.0 and pneumo-rival 2.0; "
        "choose pneumo-fake:fake or pneumo-rival:fake"
    )
    for full in ("pneumo-fake:fake", "pneumo-rival:fake"):
        assert pneumo("run", full, "--print-config").code == 0
    assert pneumo("run", "duel", "--print-config").code == 0


def test_the_default_model_of_a_trainer_is_of_the_same_distribution(install, fakes) -> None:
    from pneumo_cli.settings.resolve import resolve
    from pneumo_cli.trainers.session import set_up

    install("pneumo-rival", {"rival": "rival_plugin"}, {"rival_plugin": TRAINER})
    plugins = discover()
    for distribution in ("pneumo-fake", "pneumo-rival"):
        entry = plugins.trainers.get(f"{distribution}:fake")
        chosen = set_up(plugins, resolve(plugins, entry, {}, environ={}))
        assert chosen.model.qualified_name == f"{distribution}:tiny-net"
        # The same name given by the user is ambiguous.
        with pytest.raises(UsageError, match="choose pneumo-fake:tiny-net or pneumo-rival:tiny-net"):
            set_up(plugins, resolve(plugins, entry, {"model": "tiny-net"}, environ={}))
        explicit = resolve(plugins, entry, {"model": "pneumo-rival:tiny-net"}, environ={})
        assert set_up(plugins, explicit).model.provenance.distribution == "pneumo-rival"


def test_one_distribution_cannot_register_a_name_twice(install, fakes) -> None:
    source = MODEL.format(name="twin") + "    yield from list(register_twin())\n"
    source += (
        source.replace("register_models", "register_twin")
        .replace("@hookimpl", "")
        .replace("    yield from list(register_twin())\n", "")
    )
    install("pneumo-twins", {"twins": "twins_plugin"}, {"twins_plugin": source})
    (problem,) = discover().problems
    assert problem.stage == "register"
    assert "pneumo-twins registers the model 'twin' twice" in problem.error


@pytest.mark.parametrize("name", ["fake", "pneumo-fake", " saboteur , fake"])
def test_plugins_are_disabled_by_entry_point_or_distribution(name: str, fakes, monkeypatch) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", name)
    plugins = discover()
    assert "fake" not in plugins.trainers.names()
    assert ("fake" in {point for point, _ in plugins.disabled}) is True
    assert [problem for problem in plugins.problems if problem.stage == "disable"] == []


def test_an_unknown_name_in_the_list_of_disabled_plugins_is_reported(pneumo, monkeypatch) -> None:
    monkeypatch.setenv("PNEUMO_DISABLE_PLUGINS", "fakee")
    listed = pneumo("list-models")
    assert listed.code == 0
    assert "PNEUMO_DISABLE_PLUGINS names 'fakee', and no such plugin is installed" in listed.stderr


def test_debug_shows_the_traceback_and_without_it_there_is_one_line(pneumo, monkeypatch) -> None:
    assert "Traceback" not in pneumo("run", "nobody").stderr
    monkeypatch.setenv("PNEUMO_DEBUG", "1")
    assert "Traceback" in pneumo("run", "nobody").stderr
