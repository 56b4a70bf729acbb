"""Checking a ``report.json`` against its schema."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

import pneumo_cli.reports

SCHEMA: dict[str, Any] = json.loads(
    (Path(pneumo_cli.reports.__file__).parent / "report.schema.json").read_text(encoding="utf-8")
)
_VALIDATOR = Draft202012Validator(SCHEMA)


def problems(report: Mapping[str, Any] | Path) -> list[str]:
    """What is wrong with a report, or with the ``report.json`` of a folder; with its place."""
    if isinstance(report, Path):
        report = json.loads((report / "report.json").read_text(encoding="utf-8"))
    return [f"{error.json_path}: {error.message[:200]}" for error in _VALIDATOR.iter_errors(report)]
