"""What a task finds out: of each split in its ``evaluate`` hook, and about its whole result at the end."""

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
    """A figure that is drawn only if somebody wants it.

    Attributes:
        name: the file's stem, lower-case words joined by ``-``.
        caption: one or two sentences for the report.
        draw: makes the matplotlib figure.
        group: the part of the report that it stands in: ``results``, ``summary``, ``explanations``,
            ``training`` or ``samples``.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]
    group: str = "results"

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", _FORMER_GROUPS.get(self.group, self.group))


@dataclass(frozen=True)
class NamedTable:
    """A table for people; what programs want of it is in the metrics too.

    Attributes:
        title: one line above it.
        head: the columns' names; the first column names the rows, the others are set flush right.
        rows: texts, as many in each as in the head.
        note: a sentence or two below it; may be empty.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class ReportSection:
    """A section of a report that a plugin adds (the hook ``add_to_report``).

    Attributes:
        title: its heading, one line.
        text: paragraphs, with an empty line between them; may be empty.
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
        outputs: per-image values by name, each [N] in the order of ``outputs["index"]``, the images' positions
            in the dataset's records.
        intervals: metric to the lower and upper end of its 95 % interval.
        tables: what people want to see beside the metrics.
        details: what programs want to know beside them, as JSON can hold it, by name.
    """

    metrics: Mapping[str, float]
    figures: tuple[NamedFigure, ...] = ()
    outputs: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tables: tuple[NamedTable, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunSummary:
    """What a task has to say about its result as a whole, once, at the end of a run.

    Attributes:
        metrics: name to value; a name tells how it was measured (the extractor of a distance).
        tables: each number beside what it has to be compared with.
        figures: drawn and kept with the report.
        notes: sentences that a reader needs for the numbers.
        group: the part of the report that it stands in: ``summary``, how good generated images
            are, or ``explanations``, what a model looks at.
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
        """What JSON can hold of it: all but the figures."""
        return {
            "metrics": plain(self.metrics),
            "tables": [
                {
                    "title": table.title,
                    "head": list(table.head),
                    "rows": [list(row) for row in table.rows],
                    "note": table.note,
                }
                for table in self.tables
            ],
            "notes": list(self.notes),
        }


def plain(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as JSON can hold them."""
    return {name: float(value) for name, value in metrics.items()}
