"""The page docs/objects.md, made from the docstrings: ``make pages`` writes it anew."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from functools import cached_property

INTRODUCTION = """# The objects that hooks receive

Made from the docstrings (`make pages` writes it anew; a test compares). Public names are imported from the packages
in [public names](public-names.md). Hooks read these objects; where a method changes a run, it says so. The methods
of trainers and trackers are at the end. Types, errors and the rest are in the docstrings.
"""
OBJECTS = {
    "A run": (
        "pneumo_cli.runs.run:Run",
        "pneumo_cli.runs.run:Monitor",
        "pneumo_cli.runs.folder:RunFolder",
        "pneumo_cli.runtime.devices:Device",
        "pneumo_cli.runtime.distributed:Ranks",
        "pneumo_cli.runtime.progress:Progress",
        "pneumo_cli.settings.resolve:Resolved",
        "pneumo_cli.settings.resolve:Part",
        "pneumo_cli.registry:Entry",
        "pneumo_cli.registry:Provenance",
    ),
    "Data": (
        "pneumo_cli.data.records:DatasetRequest",
        "pneumo_cli.data.records:Dataset",
        "pneumo_cli.data.records:Record",
        "pneumo_cli.data.records:Target",
        "pneumo_cli.data.records:UnusedFiles",
        "pneumo_cli.data.prepare:PreparedData",
        "pneumo_cli.data.splits:Split",
        "pneumo_cli.data.loader:Loader",
        "pneumo_cli.data.loader:Batch",
        "pneumo_cli.data.batch_inputs:Transforms",
        "pneumo_cli.data.batch_inputs:Sources",
    ),
    "Results": (
        "pneumo_cli.evaluation.result:Evaluation",
        "pneumo_cli.evaluation.result:NamedFigure",
        "pneumo_cli.evaluation.result:NamedTable",
        "pneumo_cli.evaluation.result:ReportSection",
        "pneumo_cli.evaluation.result:RunSummary",
        "pneumo_cli.plugins.requests:PredictorRequest",
    ),
    "What plugins derive from": (
        "pneumo_cli.trainers.base:Trainer",
        "pneumo_cli.trainers.capabilities:ImagePredictor",
        "pneumo_cli.trainers.capabilities:ImageGenerator",
        "pneumo_cli.data.file_dataset:FileDataset",
        "pneumo_cli.plugins.tracker:Tracker",
    ),
}


def described_attributes(cls: type) -> dict[str, str]:
    """The text of each attribute in the section ``Attributes`` of a class's docstring."""
    text = inspect.getdoc(cls) or ""
    section = re.search(r"^Attributes:\n((?:    .*\n?|\n)+)", text, re.MULTILINE)
    found: dict[str, str] = {}
    for match in re.finditer(
        r"^    (\w[\w, ]*): ((?:.*)(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE
    ):
        for name in match[1].split(", "):
            found[name] = match[2]
    return found


def own_members(cls: type) -> Iterator[tuple[str, str]]:
    """Fields, properties and public methods of a class, each with its text; empty: it has none."""
    described = described_attributes(cls)
    fields = [field.name for field in dataclasses.fields(cls)] if dataclasses.is_dataclass(cls) else []
    fields = fields or list(getattr(cls, "_fields", ())) or list(described)
    for name in [*fields, *(name for name in described if name not in fields)]:
        if not name.startswith("_"):
            yield name, described.get(name, "")
    for name, member in vars(cls).items():
        if name.startswith("_") or name in fields or name in described:
            continue
        function = member.fget if isinstance(member, property) else getattr(member, "func", member)
        function = getattr(function, "__func__", function)
        if not inspect.isfunction(function) or function.__module__ == "pneumo_cli.compat":
            continue
        documented = member if isinstance(member, property) else function  # else it is of the base class
        line = (inspect.getdoc(documented) or "").partition("\n\n")[0]
        attribute = isinstance(member, (property, cached_property))
        arguments = ", ".join(list(inspect.signature(function).parameters)[1:])
        yield name if attribute else f"{name}({arguments})", line


def plain_text(text: str) -> str:
    """A docstring's text as a cell of a table."""
    text = re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    return " ".join(text.split()).replace("|", "\\|")


def page() -> str:
    """The whole page."""
    lines = [INTRODUCTION]
    for title, references in OBJECTS.items():
        lines.append(f"## {title}\n")
        for reference in references:
            module, _, name = reference.partition(":")
            cls = getattr(importlib.import_module(module), name)
            summary = plain_text((inspect.getdoc(cls) or "").partition("\n\n")[0])
            lines += [f"### {name}\n", f"{summary} (`{module}`)\n", "| | |", "| --- | --- |"]
            lines += [f"| `{member}` | {plain_text(text)} |" for member, text in own_members(cls)]
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(page(), end="")
