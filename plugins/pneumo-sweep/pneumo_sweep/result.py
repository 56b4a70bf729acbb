"""The result of a sweep as Python values, read from its folder."""

from __future__ import annotations

import shlex
from functools import cached_property
from pathlib import Path
from typing import Any

from pneumo_cli.evaluation.metric_names import interval_text, metric_label, metric_text
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.workflows.report_view import Card, ShownAsCard
from pneumo_cli.workflows.results import EvaluationResult, RunResult
from pneumo_cli.workflows.tables import Table
from pneumo_sweep.plan import open_folder
from pneumo_sweep.results import read_content, recorded_test
from pneumo_sweep.study import FAILED, FINISHED, PRUNED
from pneumo_sweep.wording import seeds_sentence, test_sentence, winner_sentence
from pneumo_sweep.worker import settings_text

_SHOWN = 20  # trials
_LINE = 100  # characters of a row


class SweepResult(ShownAsCard):
    """A finished sweep; a notebook shows it.

    Args:
        folder: of the sweep.

    Raises:
        UsageError: it is no folder of a sweep.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = open_folder(folder)

    @cached_property
    def content(self) -> dict[str, Any]:
        """The content of ``sweep.json``.

        Raises:
            PneumoError: the sweep is not finished.
        """
        return read_content(self._files)

    @property
    def page(self) -> Path:
        """The page with curves, importance and all trials."""
        return self._files.report_html

    @property
    def best(self) -> RunResult:
        """The winner: the run with the best validation metric, whose value is optimistic as it was chosen by it."""
        return RunResult(self.folder / self.content["winner"]["folder"])

    @property
    def test(self) -> EvaluationResult | None:
        """The winner's evaluation on the test images; None: they are sealed."""
        found = recorded_test(RunFolder(self.folder / self.content["winner"]["folder"]))
        return EvaluationResult(found) if found else None

    @property
    def command(self) -> str:
        """The command that runs the winner's settings."""
        return shlex.join(self.content["winner"]["command"])

    @property
    def seeds(self) -> dict[str, Any]:
        """What the further seeds of the best two settings say (``with_seeds``); empty: there are none."""
        return dict(self.content["seeds"])

    @property
    def trials(self) -> Table:
        """A row per trial: ``trial``, its settings, ``state``, the metric, its interval, epochs, ``reason``, …"""
        metric = self.content["metric"]
        rows = []
        for row in self.content["trials"]:
            low, high = row["interval"] or (None, None)
            rows.append(
                {
                    "trial": row["trial"],
                    **row["settings"],
                    "state": row["state"],
                    metric: row["value"],
                    f"{metric}_low": low,
                    f"{metric}_high": high,
                    **{name: row[name] for name in ("epochs", "best_epoch", "seconds", "reason", "folder")},
                }
            )
        return Table(rows)

    @property
    def failures(self) -> dict[str, str]:
        """Why runs failed, by their folder in the sweep's."""
        rows = [*self.content["trials"], *self.content["seeds"].get("runs", ())]
        return {row["folder"]: row["reason"] for row in rows if row["state"] == FAILED}

    def sentences(self) -> list[str]:
        """The result in sentences."""
        found = [winner_sentence(self.content), test_sentence(self.content), seeds_sentence(self.content)]
        return [one for one in found if one]

    def table(self, most: int, line: int) -> tuple[list[str], list[list[str]]]:
        """Head and rows of the best trials, then those without a result, for a terminal.

        Args:
            most: rows.
            line: characters of a row; settings are cut to fit.
        """
        metric, rows = self.content["metric"], self.content["trials"]
        order = [rows[number] for number in self.content["ranking"]]
        order += [row for row in rows if row["state"] != FINISHED]
        head = ["trial", "settings", metric_label(metric).label, "state"]
        cells = []
        for row in order[:most]:
            ends = interval_text(metric, row["interval"])
            value = metric_text(metric, row["value"]) + (f" ({ends})" if ends else "")
            state = row["state"] + (f" at {row['epochs']}" if row["state"] == PRUNED else "")
            cells.append([str(row["trial"]), settings_text(row["settings"]), value, state])
        widths = [max(map(len, column)) for column in zip(head, *cells, strict=True)]
        room = max(20, line - sum(widths) + widths[1] - 2 * (len(head) - 1))
        for row in cells:
            row[1] = row[1] if len(row[1]) <= room else f"{row[1][: room - 1]}…"
        return head, cells

    def _card(self) -> Card:
        head, rows = self.table(_SHOWN, _LINE)
        return Card(
            f"Sweep {self.folder.name}",
            facts=f"{len(self.content['trials'])} trials",
            sentence=" ".join(self.sentences()),
            columns={name: list(cells) for name, cells in zip(head, zip(*rows, strict=True), strict=True)},
            below=f"The winner's settings: {self.command}",
            files={"folder": self.folder, "page": self.page},
        )
