"""Runs without a report's pages (``--no-report``): what is left, and what still works with it."""

from __future__ import annotations

import json

import pytest


def test_a_run_without_pages_keeps_all_its_numbers(pneumo, finished_run) -> None:
    flags = ("--epochs", "1", "--model", "plain-net")
    lean, full = finished_run("fake", *flags, "--no-report"), finished_run("fake", *flags)
    numbers, all_of_it = (json.loads((run / "report.json").read_text()) for run in (lean, full))
    for name in ("evaluations", "intervals", "details", "tables", "monitor"):
        assert numbers[name] == all_of_it[name]
    assert numbers["figures"] == []
    assert "explanations" not in numbers
    assert {path.name for path in lean.iterdir()}.isdisjoint(
        {"report.html", "report.md", "figures", "samples"}
    )
    for split in ("validation", "test"):
        tables = [(run / "predictions" / f"{split}.csv").read_bytes() for run in (lean, full)]
        assert tables[0] == tables[1]
    (setting,) = [row for row in numbers["settings"] if row["name"] == "report"]
    assert (setting["value"], setting["origin"]) == (False, "--report")

    assert f"{lean}/report.json" in pneumo("resume", lean).stderr
    listed = json.loads(pneumo("list-runs", lean, "--json").stdout)["runs"]
    assert listed[0]["state"] == "finished"
    assert listed[0]["evaluations"]["test"] == pytest.approx(numbers["evaluations"]["test"])


@pytest.mark.slow
def test_a_group_without_pages_keeps_its_numbers(pneumo, fakes) -> None:
    ended = pneumo("run", "fake", "--epochs", 1, "--model", "plain-net", "--seeds", 2, "--no-report")
    assert ended.code == 0, ended.stderr
    (group,) = (fakes / "runs" / "fake").iterdir()
    report = json.loads((group / "report.json").read_text())
    assert report["figures"] == report["notes"] == []
    assert report["spread"]["test"]["auc"]["members"] == 2
    assert not list(group.rglob("*.png")) + list(group.rglob("*.html"))
