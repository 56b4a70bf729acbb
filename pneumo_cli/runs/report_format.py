"""``report.json`` of any version, in the words of this one. Reading it anywhere goes through here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_cli.settings.renamed import RENAMED

FORMAT = 2
"""What this version writes. Format 1 had other names for some parts (:data:`_RENAMED`)."""

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
        ValueError: it is no JSON object.
    """
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return current(content)


def current(report: Mapping[str, Any]) -> dict[str, Any]:
    """The same report in the format of this version; what is not as expected stays as it is."""
    if number(report.get("format")) != 1:
        return dict(report)
    found = {_RENAMED.get(name, name): value for name, value in report.items()}
    if "seal" in found:
        found["test_access"] = {"count": mapping(found.pop("seal")).get("looks")}
    found["figures"] = [
        {**one, "group": _GROUPS.get(text(one.get("group")), one.get("group"))}
        for one in map(mapping, sequence(found.get("figures")))
    ]
    found["settings"] = [
        {**row, "name": RENAMED.get(text(row.get("name")), row.get("name"))}
        for row in map(mapping, sequence(found.get("settings")))
    ]
    found["details"] = {name: _details(mapping(of)) for name, of in mapping(found.get("details")).items()}
    found["spread"] = {
        split: {name: _renamed(mapping(of), "parts", "members") for name, of in mapping(metrics).items()}
        for split, metrics in mapping(found.get("spread")).items()
    }
    return found | {"format": FORMAT}


def _details(details: Mapping[str, Any]) -> dict[str, Any]:
    """What was found of one split: thresholds were called cuts, predictions calls."""
    found = dict(details)
    if "operating_points" in found:
        points = mapping(found["operating_points"]).items()
        found["operating_points"] = {
            name: _renamed(mapping(one), "cut", "logit_threshold") for name, one in points
        }
    errors = mapping(found.get("errors"))
    if "rows" in errors:
        rows = [_renamed(mapping(row), "called", "predicted") for row in sequence(errors["rows"])]
        found["errors"] = {**errors, "rows": rows}
    return found


def _renamed(values: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if name == old else name: value for name, value in values.items()}
