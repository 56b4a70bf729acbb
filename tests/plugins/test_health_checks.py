"""``pneumo doctor`` with plugins."""

from __future__ import annotations

import json
import sys

import pytest


def test_doctor_works_with_broken_plugins(install, pneumo) -> None:
    install(
        "pneumo-broken",
        {"one": "broken_one", "two": "broken_two"},
        {"broken_one": "raise SystemExit", "broken_two": "api_version = 7"},
    )
    report = json.loads(pneumo("doctor", "--json").stdout)
    assert len(report["plugins"]["problems"]) == 2
    assert report["plugins"]["fake"] == "pneumo-fake 1.0: ok"
    assert "torch" in report["versions"]


def test_doctor_shows_health_checks_and_exits_with_1_if_one_fails(install, pneumo) -> None:
    source = """
from pneumo_cli.api import HealthCheck, hookimpl
from pneumo_cli.errors import PneumoError
api_version = 1
@hookimpl
def health_checks():
    for name in {names}:
        yield HealthCheck(name=name, summary="A check", check=f"checking:{{name}}")
def mounted():
    return "the archive is mounted"
def license():
    raise PneumoError("the license has run out: renew it")
def broken():
    return 1 / 0
"""
    install("pneumo-checking", {"checking": "checking"}, {"checking": source.format(names=["mounted"])})
    healthy = pneumo("doctor")
    assert healthy.code == 0
    assert "  mounted  the archive is mounted" in healthy.stdout
    module = {
        "checking_more": source.replace("checking:", "checking_more:").format(names=["license", "broken"])
    }
    install("pneumo-more", {"more": "checking_more"}, module)
    unhealthy = pneumo("doctor")
    assert unhealthy.code == 1
    assert "problem: the license has run out: renew it (pneumo-more 1.0)" in unhealthy.stdout
    assert "problem: ZeroDivisionError: division by zero (pneumo-more 1.0)" in unhealthy.stdout
    assert "  mounted  the archive is mounted" in unhealthy.stdout


CHECK = """
from pneumo_cli.api import HealthCheck, hookimpl
api_version = 1
@hookimpl
def health_checks():
    yield HealthCheck(name="own", summary="A check", check="own_checks:check")
def check():
    {body}
"""


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("return None", "TypeError: own_checks:check returned None, not a line of text"),
        ("return 7", "TypeError: own_checks:check returned 7, not a line of text"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_a_check_that_says_nothing_or_exits_is_a_problem(body: str, words: str, install, pneumo) -> None:
    install("pneumo-own", {"own": "own_checks"}, {"own_checks": CHECK.format(body=body)})
    ended = pneumo("doctor", "--json")
    assert ended.code == 1
    assert json.loads(ended.stdout)["checks"]["own"] == f"problem: {words} (pneumo-own 1.0)"


def test_a_check_that_hangs_is_named_and_so_is_the_one_that_is_interrupted(
    install, pneumo, monkeypatch
) -> None:
    monkeypatch.setattr("pneumo_cli.plugins.loading._PATIENCE", 0.2)
    body = "import time; time.sleep(0.5); raise KeyboardInterrupt"
    install("pneumo-own", {"own": "own_checks"}, {"own_checks": CHECK.format(body=body)})
    ended = pneumo("doctor")
    assert ended.code == 130
    assert ended.stderr.splitlines()[-2:] == [
        "pneumo: still running the health check own of plugin own (pneumo-own 1.0)",
        "pneumo: interrupted while running the health check own of plugin own (pneumo-own 1.0)",
    ]


def test_doctor_tells_how_long_plugins_take_to_load_and_warns_of_heavy_imports(install, pneumo) -> None:
    source = """
import sys, types
sys.modules["tensorflow"] = types.ModuleType("tensorflow")  # as if it had been imported
from pneumo_cli.api import hookimpl
api_version = 1
@hookimpl
def epoch_started():
    pass
"""
    install("pneumo-heavy", {"heavy": "heavy_plugin"}, {"heavy_plugin": source})
    try:
        loading = json.loads(pneumo("doctor", "--json").stdout)["loading"]
    finally:
        del sys.modules["tensorflow"]
    assert loading["fake"].endswith(" ms")
    assert loading["heavy"].startswith("warning: ")
    assert "imports tensorflow" in loading["heavy"]


def test_doctor_names_references_that_cannot_be_imported(install, pneumo) -> None:
    source = """
from pneumo_cli.api import DatasetSpec, DecoderSpec, ModelFamily, ModelSpec, Preset, TrainerSpec, hookimpl
api_version = 1
@hookimpl
def register_models():
    yield ModelSpec(
        name="lost", kind="classifier", summary="Lost", factory="nowhere_at_all:build",
        weights="lost_parts:missing", stages="lost_parts:api_version",
    )
    yield ModelFamily(name="lost-zoo", kind="classifier", summary="Lost", members="lost_parts:members")
@hookimpl
def register_trainers():
    yield TrainerSpec(
        name="lost", summary="Lost", trainer="lost_parts:Trainer", settings="lost_parts:dict", kind="classifier",
        model="lost", presets=(Preset(name="source", summary="Lost"),),
    )
@hookimpl
def register_decoders():
    yield DecoderSpec(
        name="lost", summary="Lost", suffixes=(".lost",), magic=(((0, b"LOST"),),), decode="lost_parts:decode"
    )
"""
    install("pneumo-lost", {"lost": "lost_parts"}, {"lost_parts": source})
    ended = pneumo("doctor", "--json")
    assert ended.code == 1
    found = {
        part: text for part, text in json.loads(ended.stdout)["references"].items() if "pneumo-lost" in text
    }
    assert set(found) == {
        *("model lost, factory", "model lost, weights", "model lost, stages", "models lost-zoo/, members"),
        *("trainer lost, trainer", "trainer lost, settings", "decoder lost, decode"),
    }
    assert found["model lost, factory"] == (
        "problem: nowhere_at_all:build: ModuleNotFoundError: No module named 'nowhere_at_all' (pneumo-lost 1.0)"
    )
    assert "it is int, which cannot be called" in found["model lost, stages"]
    assert "model lost, factory" in pneumo("doctor").stdout
