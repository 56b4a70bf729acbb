"""The evaluation of generated images as Python values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumo_cli.workflows.metric_values import Metric, metrics_of
from pneumo_cli.workflows.report_view import Card, ShownAsCard
from pneumo_cli.workflows.tables import Table


class ImagesResult(ShownAsCard):
    """What :func:`pneumo_cli.evaluate_images` and :func:`pneumo_cli.tstr` return; a notebook shows it.

    Args:
        content: what the command prints with ``--json``, and keeps in the folder ``evaluations`` of the run.
        title: what was evaluated.
    """

    def __init__(self, content: Mapping[str, Any], title: str) -> None:
        self.content = dict(content)
        self._title = title

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics by name, which includes how each was measured."""
        return metrics_of(self.content["metrics"])

    @property
    def tables(self) -> dict[str, Table]:
        """Each number with the baselines to compare it with, as texts; by the title of the table."""
        return {
            table["title"]: Table(dict(zip(table["head"], row, strict=True)) for row in table["rows"])
            for table in self.content["tables"]
        }

    @property
    def notes(self) -> list[str]:
        """Sentences that a reader needs to interpret the numbers."""
        found = [self.content.get("verdict"), *self.content["notes"]]
        return [*(table["note"] for table in self.content["tables"] if table["note"]), *filter(None, found)]

    def _card(self) -> Card:
        columns = {
            head: self.tables[title][head]
            for title in list(self.tables)[:1]
            for head in self.tables[title].columns
        }
        return Card(self._title, columns=columns, numeric=list(columns)[1:], remarks={"Notes": self.notes})
