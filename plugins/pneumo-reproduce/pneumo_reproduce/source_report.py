"""The source report as data: the numbers, tables and figures that ``pneumo reproduce`` sets ours beside.

They lie in ``reports/source.toml``, in the words and digits of the report, with the place where a run of ours has
the same. Not here: what is run for them (:mod:`pneumo_reproduce.reproduction`), and how they are shown
(:mod:`pneumo_reproduce.page`). The tasks are named as their trainers are registered; which
distribution brings them is nobody's business here.
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
        value: the report's, a number or its words; empty where it is ours alone.
        ours: a dotted path to ours (``report.evaluations.test.accuracy``); empty where we have none.
        metric: the metric whose digits ours has; empty for counts and texts.
    """

    label: str
    value: float | int | str
    ours: str = ""
    metric: str = ""


@dataclass(frozen=True)
class Group:
    """Numbers that stand in one table."""

    title: str
    numbers: tuple[Number, ...]
    note: str = ""


@dataclass(frozen=True)
class Figures:
    """Figures of the report: the files of a run's folder that show the same.

    Attributes:
        epochs: those whose sample images the report shows, instead of files.
    """

    title: str
    files: tuple[str, ...] = ()
    epochs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Task:
    """One of the report's tasks.

    Attributes:
        name: of the registered trainer.
        kind: ``classification`` or ``generation``.
    """

    name: str
    title: str
    kind: str
    summary: str
    groups: tuple[Group, ...]
    figures: tuple[Figures, ...]


@dataclass(frozen=True)
class SourceReport:
    """Everything of the report that is reproduced.

    Attributes:
        data: ``head`` and ``rows`` of the class table, ``origin``, ``classes`` and ``images``.
        data_figures: those of the data.
        others: ``rows`` (result, accuracy, AUC, note) and ``note``: results of others on the same test images.
        why: setting to the reason for which it may differ.
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
        Figures(item["title"], tuple(item.get("files", ())), tuple(item.get("epochs", ())))
        for item in part["figures"]
    )
