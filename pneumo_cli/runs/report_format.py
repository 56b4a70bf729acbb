"""Reading ``report.json`` of any version in the format of this one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_cli.settings.renamed import RENAMED

FORMAT = 2
"""What this version writes. Format 1 used other names for some parts (:data:`_RENAMED`)."""

_RENAMED = {
    "judgement": "summary",
    "why": "explanations",
    "honesty": "caveats",
    "parts": "members",
    "beside": "baselines",
}
_GROUPS = {"judgement": "summary", "why": "explanations"}


def read_report(file: Path) -> dict[str, Any]:
    """Read a run's or a group's report.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a JSON object.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return current(content)


def covered_epochs(report: Mapping[str, Any]) -> int:
    """How many epochs a run's report answers for: those in it, or all that a run was to train when it was stopped.

    Raises:
        KeyError, TypeError: it is damaged.
    """
    stopped = number(mapping(mapping(report.get("run")).get("stopped")).get("of"))
    return int(stopped) if stopped is not None else len(report["history"]) - 1


def current(report: Mapping[str, Any]) -> dict[str, Any]:
    """The same report in the format of this version; whatever is not as expected is kept."""
    if number(report.get("format")) != 1:
        return dict(report)
    new = {_RENAMED.get(name, name): value for name, value in report.items()}
    if "seal" in new:
        new["test_access"] = {"count": mapping(new.pop("seal")).get("looks")}
    new["figures"] = [
        {**figure, "group": _GROUPS.get(text(figure.get("group")), figure.get("group"))}
        for figure in map(mapping, sequence(new.get("figures")))
    ]
    new["settings"] = [
        {**row, "name": RENAMED.get(text(row.get("name")), row.get("name"))}
        for row in map(mapping, sequence(new.get("settings")))
    ]
    new["details"] = {split: _details(mapping(of)) for split, of in mapping(new.get("details")).items()}
    new["spread"] = {
        split: {name: _renamed(mapping(of), "parts", "members") for name, of in mapping(metrics).items()}
        for split, metrics in mapping(new.get("spread")).items()
    }
    return new | {"format": FORMAT}


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    """The details of one split: thresholds were named "cut", predictions "called"."""
    new = dict(details)
    if "operating_points" in new:
        points = mapping(new["operating_points"]).items()
        new["operating_points"] = {
            name: _renamed(mapping(point), "cut", "logit_threshold") for name, point in points
        }
    errors = mapping(new.get("errors"))
    if "rows" in errors:
        rows = [_renamed(mapping(row), "called", "predicted") for row in sequence(errors["rows"])]
        new["errors"] = {**errors, "rows": rows}
    return new


def _renamed(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in values.items()}
