"""The page docs/report-json.md, made from the JSON schema: ``make pages`` writes it anew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pneumo_cli

SCHEMA = Path(pneumo_cli.__file__).parent / "reports" / "report.schema.json"
INTRODUCTION = """# `report.json`

The results of a run, or of a group of runs, for programs. It is written last: a folder that has it is finished. Its
JSON schema (draft 2020-12) is [`report.schema.json`](../pneumo_cli/reports/report.schema.json), installed with the
package; the reports of all kinds of runs are tested against it. Numbers that are undefined are null. Read it with
`pneumo_cli.runs.read_report`, which takes the reports of all versions.

What a trainer returns is in it: the metrics of an `Evaluation` under `evaluations`, its `intervals`, `tables` and
`details`, a `RunSummary` under `summary` or `explanations`. What a plugin adds (`add_to_report`) is in `sections`.
What fails while the report is made is named under `notes`; everything else is reported. With `--no-report` there
are no figures, summaries and sections, and no pages beside it.

This page is made from the schema (`make pages` writes it anew; a test compares).
"""
PARTS = ("part", "setting", "row", "overlap", "monitor", "epoch", "stopped", "table", "summary", "figure", "layers",
         "member", "statistics")  # fmt: skip
HEAD = ["| Field | Type | Meaning |", "| --- | --- | --- |"]
SHORT = {"number": "number or null", "metrics": "metrics", "interval": "[low, high]"}


def type_text(schema: dict[str, Any]) -> str:
    """A schema's type in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return SHORT.get(name) or f"[{name}](#{name})"
    if "const" in schema:
        return f"`{json.dumps(schema['const'])}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    kind = schema.get("type")
    if kind == "array":
        return f"list of {type_text(schema['items'])}"
    if (
        kind == "object"
        and "properties" not in schema
        and isinstance(schema.get("additionalProperties"), dict)
    ):
        return f"object of {type_text(schema['additionalProperties'])}"
    return " or ".join(kind) if isinstance(kind, list) else kind or "any value"


def rows(schema: dict[str, Any], parts: dict[str, Any], prefix: str = "") -> list[str]:
    """The rows of an object's properties, and of those within them."""
    found = []
    for name, one in schema["properties"].items():
        text = one.get("description") or parts[one["$ref"].rpartition("/")[2]].get("description", "")
        optional = "" if name in schema.get("required", ()) else "; may be missing"
        found.append(f"| `{prefix}{name}` | {type_text(one)}{optional} | {text} |")
        if one.get("properties"):
            found += rows(one, parts, f"{prefix}{name}.")
        if "properties" in (one.get("items") or {}):
            found += rows(one["items"], parts, f"{prefix}{name}[].")
    return found


def page() -> str:
    """The whole page."""
    parts = json.loads(SCHEMA.read_text(encoding="utf-8"))["$defs"]
    lines = [INTRODUCTION, "## A run", "", *HEAD, *rows(parts["run"], parts)]
    lines += [
        "",
        "## A group of runs",
        "",
        "`kind` tells it from a run.",
        "",
        *HEAD,
        *rows(parts["group"], parts),
    ]
    lines += [
        "",
        "## Parts",
        "",
        "**metrics** are an object with a number, or null, by the name of each metric.",
    ]
    for name in PARTS:
        text = parts[name]["description"]
        lines += [
            "",
            f"### {name}",
            "",
            f"{text[:1].upper()}{text[1:]}.",
            "",
            *HEAD,
            *rows(parts[name], parts),
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(page(), end="")
