"""The result of a reproduction, as Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumo_cli.workflows.report_view import Card, ShownAsCard
from pneumo_cli.workflows.tables import Table


class ReproductionResult(ShownAsCard):
    """What :func:`pneumo_cli.reproduce` returns; a notebook shows it.

    Args:
        folder: of the reproduction.
        content: of its ``report.json``.
        wanted: the tasks that were asked for.

    Attributes:
        page: ``report.html``.
        content: what ``pneumo reproduce --json`` prints.
    """

    def __init__(self, folder: Path, content: Mapping[str, Any], wanted: Sequence[str]) -> None:
        self.folder = folder
        self.page = folder / "report.html"
        self.content = {**content, "folder": str(folder)}
        self._wanted = tuple(wanted)

    @property
    def complete(self) -> bool:
        """Whether all tasks that were asked for have a result."""
        states = {task["name"]: task["state"] for task in self.content["tasks"]}
        return all(states[name] == "done" for name in self._wanted)

    @property
    def tasks(self) -> Table:
        """A row per task of the report: its ``state``, why it has no result, and its run."""
        left_out = ("numbers",)
        return Table(
            {name: value for name, value in task.items() if name not in left_out}
            for task in self.content["tasks"]
        )

    @property
    def values(self) -> Table:
        """A row per number of the report: ``task``, ``label``, ``report``, ``ours`` and its 95 % ``interval``."""
        return Table(
            {"task": task["name"], **number} for task in self.content["tasks"] for number in task["numbers"]
        )

    def _card(self) -> Card:
        numbers = [row for row in self.values if row["interval"]]
        columns = {
            name: [
                f"{row[name]:.4f}" if isinstance(row[name], float) else str(row[name] or "")
                for row in numbers
            ]
            for name in ("task", "label", "report", "ours")
        }
        return Card(
            "Reproduction of the source report",
            facts=f"{self.content['filled']} of {len(self.content['tasks'])} tasks have results",
            columns=columns if numbers else {},
            numeric=("report", "ours"),
            files={"page": self.page},
        )
