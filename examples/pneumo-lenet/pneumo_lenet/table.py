"""An observer that writes a run's metrics as a table for spreadsheets."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from pneumo_cli.api import hookimpl
from pneumo_cli.runtime import write_text

if TYPE_CHECKING:
    from pneumo_cli.runs import Run


class MetricsTable:
    """Writes ``metrics.csv`` into the run folder after each epoch: a row per epoch, a column per metric."""

    @hookimpl
    def epoch_finished(self, run: Run) -> None:
        """Write the whole table anew, so that it is also correct after a run was resumed."""
        columns = [(side, name) for side in ("train", "validation") for name in run.history[0][side]]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *(f"{side}_{name}" for side, name in columns)])
        for row in run.history:
            writer.writerow([row["epoch"], *(row[side].get(name, "") for side, name in columns)])
        write_text(run.folder.path / "metrics.csv", text.getvalue())
