"""Results of a task: of each split from its ``evaluate`` hook, and a summary of the run at the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMER_GROUPS = {"judgement": "summary", "why": "explanations"}


@dataclass(frozen=True)
class NamedFigure:
    """A figure that is drawn only on demand.

    Attributes:
        name: the file's stem, lower-case words joined by ``-``.
        caption: one or two sentences for the report.
        draw: makes the matplotlib figure.
        group: its section of the report: ``results``, ``summary``, ``explanations``, ``training`` or ``samples``.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]
    group: str = "results"

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", _FORMER_GROUPS.get(self.group, self.group))


@dataclass(frozen=True)
class NamedTable:
    """A table for people; programs find its values in the metrics or details.

    Attributes:
        title: one line above it.
        head: the columns' names; the first column names the rows, the others are right-aligned.
        rows: texts, one per column.
        note: a sentence or two below it; may be empty.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class ReportSection:
    """A section that a plugin adds to a report (the hook ``add_to_report``).

    Attributes:
        title: its heading, one line.
        text: paragraphs, separated by empty lines; may be empty.
        tables, figures: below the text, in this order. Figures need no group.
    """

    title: str
    text: str = ""
    tables: tuple[NamedTable, ...] = ()
    figures: tuple[NamedFigure, ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """The result of one pass over one split.

    Attributes:
        metrics: name to value; ``loss`` among them.
        figures: drawn and kept only where the pass is reported.
        outputs: per-image values by name, each [N] or [N, K], in the order of ``outputs["index"]``, the images'
            positions in the dataset's records.
        intervals: metric to the lower and upper end of its 95 % interval.
        tables: further results for people.
        details: further results for programs, by name, as JSON-compatible values.
    """

    metrics: Mapping[str, float]
    figures: tuple[NamedFigure, ...] = ()
    outputs: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tables: tuple[NamedTable, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSummary:
    """A task's results for the run as a whole, computed once at its end.

    Attributes:
        metrics: name to value; a name includes how it was measured (the extractor of a distance).
        tables: each number with the baselines to compare it with.
        figures: drawn and kept with the report.
        notes: sentences that a reader needs to interpret the numbers.
        group: its section of the report: ``summary`` (the quality of generated images) or ``explanations``
            (which regions a model uses).
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    tables: tuple[NamedTable, ...] = ()
    figures: tuple[NamedFigure, ...] = ()
    notes: tuple[str, ...] = ()
    group: str = "summary"

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", _FORMER_GROUPS.get(self.group, self.group))

    def __add__(self, other: RunSummary) -> RunSummary:
        return RunSummary(
            {**self.metrics, **other.metrics},
            self.tables + other.tables,
            self.figures + other.figures,
            self.notes + other.notes,
            self.group,
        )

    def content(self) -> dict[str, Any]:
        """All but the figures, as JSON-compatible values."""
        tables = [
            {
                "title": table.title,
                "head": list(table.head),
                "rows": [list(row) for row in table.rows],
                "note": table.note,
            }
            for table in self.tables
        ]
        return {"metrics": plain(self.metrics), "tables": tables, "notes": list(self.notes)}


def plain(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as JSON-compatible values."""
    return {name: float(value) for name, value in metrics.items()}
