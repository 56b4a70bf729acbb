"""The source report as data: the numbers, tables and figures that ``pneumo reproduce`` compares ours with.

They are in ``source.toml``, in the words and digits of the report, each with the path of the same number in a run
of ours. Tasks have the names of the registered trainers, whichever distribution these come from.
:mod:`pneumo_reproduce.reproduction` runs them, :mod:`pneumo_reproduce.page` shows them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Number:
    """One number of the report.

    Attributes:
        label: what it is.
        value: the report's, a number or its words; empty if only we have one.
        ours: a dotted path to ours (``report.evaluations.test.accuracy``); empty if we have none.
        metric: the metric whose digits ours is shown with; empty for counts and texts.
    """

    label: str
    value: float | int | str
    ours: str = ""
    metric: str = ""


@dataclass(frozen=True)
class Group:
    """The numbers of one table; those of a ``result`` are shown at once, others when they are opened."""

    title: str
    numbers: tuple[Number, ...]
    note: str = ""
    result: bool = False


@dataclass(frozen=True)
class Figures:
    """Figures of the report: files of a run that show the same, or epochs whose samples the report shows.

    ``folded`` ones are shown when they are opened.
    """

    title: str
    files: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()
    folded: bool = False


@dataclass(frozen=True)
class Task:
    """One of the report's tasks: its ``kind`` is ``classification`` or ``generation``."""

    name: str
    title: str
    kind: str
    summary: str
    groups: tuple[Group, ...]
    figures: tuple[Figures, ...]


@dataclass(frozen=True)
class SourceReport:
    """Everything in the report that is reproduced.

    Attributes:
        data: ``head`` and ``rows`` of the class table, ``origin``, ``classes``, ``images`` and ``test_images``.
        data_figures: those of the data.
        others: ``rows`` (result, accuracy, AUC, note) and ``note``: other authors' results on the same test images.
        why: setting to the reason why it may differ.
    """

    data: Mapping[str, Any]
    data_figures: tuple[Figures, ...]
    tasks: tuple[Task, ...]
    others: Mapping[str, Any]
    why: Mapping[str, str]

    def names(self) -> list[str]:
        """The tasks in the report's order."""
        return [task.name for task in self.tasks]


@cache
def source_report() -> SourceReport:
    """Read the report's facts."""
    content = tomllib.loads((files("pneumo_reproduce") / "source.toml").read_text(encoding="utf-8"))
    return SourceReport(
        data={name: value for name, value in content["data"].items() if name != "figures"},
        data_figures=_figures(content["data"]),
        tasks=tuple(
            Task(
                name=task["name"],
                title=task["title"],
                kind=task["kind"],
                summary=task["summary"],
                groups=tuple(
                    Group(
                        group["title"],
                        tuple(Number(**number) for number in group["numbers"]),
                        group.get("note", ""),
                        group.get("result", False),
                    )
                    for group in task["group"]
                ),
                figures=_figures(task),
            )
            for task in content["task"]
        ),
        others=content["others"],
        why=content["why"],
    )


def _figures(part: Mapping[str, Any]) -> tuple[Figures, ...]:
    return tuple(
        Figures(
            item["title"],
            tuple(item.get("files", ())),
            tuple(item.get("epochs", ())),
            item.get("folded", False),
        )
        for item in part["figures"]
    )
