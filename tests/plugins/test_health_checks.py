"""``pneumo doctor`` with plugins."""

from __future__ import annotations

import json


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
