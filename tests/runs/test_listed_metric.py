"""The metric by which a list shows a run: a monitored one that pneumo does not know comes before all others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pneumo_cli.runs.group_index import find_runs
from pneumo_cli.testing import Invocation
from tests.runs.written_runs import FOLDS, write_group, write_run


def monitoring(path: Path, metric: str, evaluations: dict[str, Any]) -> Path:
    """A finished run with another monitor and other results."""
    write_run(path)
    report = json.loads((path / "report.json").read_text())
    report |= {"monitor": {"metric": metric}, "evaluations": evaluations, "intervals": {}}
    (path / "report.json").write_text(json.dumps(report))
    return path


def test_a_monitored_metric_of_a_third_party_is_shown_with_its_name(
    pneumo: Callable[..., Invocation], tmp_path: Path
) -> None:
    measured = {"loss": 0.4, "accuracy": 0.9, "lesion_dice": 0.75}
    monitoring(
        tmp_path / "a", "lesion_dice", {"validation": measured, "test": {**measured, "lesion_dice": 0.5}}
    )
    heading, row = pneumo("list-runs", tmp_path).stdout.splitlines()
    assert "METRIC" in heading.upper()
    assert "Lesion dice" in row
    assert row.split()[-2:] == ["0.7500", "0.5000"]
    (listed,) = json.loads(pneumo("list-runs", tmp_path, "--json").stdout)["runs"]
    assert (listed["monitor"], listed["headline"]) == ("lesion_dice", "lesion_dice")


def test_known_metrics_keep_their_order_whatever_is_monitored(tmp_path: Path) -> None:
    both = {"test": {"loss": 0.4, "accuracy": 0.9, "auc": 0.8}}
    monitoring(tmp_path / "accuracy", "accuracy", both)
    monitoring(tmp_path / "loss", "loss", {"test": {"loss": 0.4, "lesion_dice": 0.75}})
    monitoring(tmp_path / "undefined", "lesion_dice", {"test": {"accuracy": 0.9, "lesion_dice": None}})
    headlines = {run.name: run.headline for run in find_runs(tmp_path)[0]}
    assert headlines == {"accuracy": "auc", "loss": "lesion_dice", "undefined": "accuracy"}


def test_a_group_shows_the_metric_that_its_runs_monitor(tmp_path: Path) -> None:
    group = write_group(tmp_path / "group", FOLDS)
    report = json.loads((group / "report.json").read_text())
    report["monitor"] = {"metric": "lesion_dice"}
    report["spread"] = {
        "validation": {"lesion_dice": {"mean": 0.7, "sd": 0.1}, "auc": {"mean": 0.9, "sd": 0.0}}
    }
    report["evaluations"] = {}
    (group / "report.json").write_text(json.dumps(report))
    ((found,), _) = find_runs(tmp_path)
    assert found.headline == "lesion_dice"
