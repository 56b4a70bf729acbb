"""``report.json`` of every kind of run is as its schema says, and the schema describes every field."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.reports.report_schema import SCHEMA, problems

DOCUMENTED = Path(__file__).parents[2] / "docs" / "report-json.md"
FLAGS = ("--epochs", "1")


def test_the_schema_is_one_of_draft_2020_12() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize(
    "flags",
    [
        ("fake", "--model", "plain-net"),
        ("fake", "--model", "plain-net", "--dataset", "fake-three", "--split", "patient"),
        ("fake", "--model", "plain-net", "--dataset", "fake-labels", "--split", "patient"),
        ("fake", "--model", "plain-net", "--no-report"),
        ("duel",),
        ("painter", "--fidelity-images", "24"),
    ],
    ids=["two classes", "three classes", "labels", "without pages", "an own trainer", "generated images"],
)
def test_the_report_of_a_run_is_valid(flags: tuple[str, ...], finished_run) -> None:
    assert problems(finished_run(*flags, *FLAGS)) == []


@pytest.mark.slow
def test_the_report_of_a_group_is_valid(finished_run) -> None:
    assert problems(finished_run("fake", "--model", "plain-net", "--seeds", "2", *FLAGS, "--no-report")) == []


def test_what_is_not_in_the_schema_is_found(finished_run) -> None:
    report = json.loads((finished_run("duel", *FLAGS) / "report.json").read_text())
    wrong = copy.deepcopy(report)
    wrong["surprise"] = 1
    wrong["monitor"]["mode"] = "maximum"
    wrong["figures"][0]["file"] = "../../escaped.png"
    del wrong["evaluations"]
    assert sorted(line.split(":")[0] for line in problems(wrong)) == [
        "$",
        "$",
        "$.figures[0].file",
        "$.monitor.mode",
    ]


def described(part: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All fields of the schema with their paths."""
    for name, value in part.get("properties", {}).items():
        yield f"{path}.{name}", value
        yield from described(value, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(part.get(name), dict):
            yield from described(part[name], f"{path}[]")
    for name, value in part.get("$defs", {}).items():
        yield from described(value, name)


def test_every_field_is_described() -> None:
    fields = dict(described(SCHEMA))
    assert len(fields) > 100
    for path, field in fields.items():
        reference = field.get("$ref", "").rpartition("/")[2]
        assert field.get("description") or SCHEMA["$defs"].get(reference, {}).get("description"), path


def test_the_page_names_every_field_of_a_report() -> None:
    page = DOCUMENTED.read_text(encoding="utf-8")
    for kind in ("run", "group"):
        for name in SCHEMA["$defs"][kind]["properties"]:
            assert f"| `{name}` |" in page, name
