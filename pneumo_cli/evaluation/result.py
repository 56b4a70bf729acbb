"""Results of a task: of each split from its ``evaluate`` hook, and a summary of the run at the end."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE_GROUPS = ("opening", "errors", "results", "summary", "explanations", "training", "samples")
SUMMARY_GROUPS = ("summary", "explanations")

_FORMER_GROUPS = {"judgement": "summary", "why": "explanations"}
_STEM = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
_LONGEST = 100  # characters of a file's stem


@dataclass(frozen=True)
class NamedFigure:
    """A figure that is drawn only on demand.

    Attributes:
        name: the file's stem, lower-case words joined by ``-``; of two with one name the second gets a number.
        caption: one or two sentences for the report.
        draw: makes the matplotlib figure; called once before training too, so that its errors are found early.
        group: its section of the report: ``opening`` (above all others), ``errors``, ``results``, ``summary``,
            ``explanations``, ``training`` or ``samples``.
        alternative: what it shows in words, for those who do not see it, with the result; empty: the caption.
        curves: the metrics that it shows by epoch; the general figure of curves leaves them out.

    Raises:
        ValueError: the name cannot be that of a file, or there is no such group.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]
    group: str = "results"
    alternative: str = ""
    curves: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _STEM.fullmatch(self.name) or len(self.name) > _LONGEST:
            raise ValueError(
                f"the name of a figure is that of its file, lower-case words joined by '-' such as 'roc-curve', "
                f"not {self.name!r}"
            )
        object.__setattr__(self, "group", _group(self.group, FIGURE_GROUPS, f"the figure {self.name}"))


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
        metrics: name to value, a number as ``float()`` takes it. The loss, if there is one, is named ``loss``. It
            and the metric that is monitored have to be finite while the run trains; any other may be NaN where it
            is undefined.
        figures: drawn and kept only where the pass is reported.
        outputs: per-image values by name, arrays or tensors [N] or [N, K], in the order of ``outputs["index"]``,
            the images' positions in the dataset's records. Empty, or of all N images of the split.
        intervals: metric to the lower and upper end of its 95 % interval.
        tables: further results for people.
        details: further results for programs, by name, as JSON-compatible values; arrays and tensors become lists,
            NaN becomes null.

    What a trainer returns is checked (:mod:`pneumo_cli.training.contract`).
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
        warnings: sentences on what went wrong, and what to do.
        verdict: the main result in one sentence; may be empty.
        epochs: that may mend what the warnings say, in all: to resume the run with; 0: no warning asks for more.

    Raises:
        ValueError: there is no such group.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    tables: tuple[NamedTable, ...] = ()
    figures: tuple[NamedFigure, ...] = ()
    notes: tuple[str, ...] = ()
    group: str = "summary"
    warnings: tuple[str, ...] = ()
    verdict: str = ""
    epochs: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "group", _group(self.group, SUMMARY_GROUPS, "a RunSummary"))

    def __add__(self, other: RunSummary) -> RunSummary:
        return RunSummary(
            {**self.metrics, **other.metrics},
            self.tables + other.tables,
            self.figures + other.figures,
            self.notes + other.notes,
            self.group,
            self.warnings + other.warnings,
            " ".join(filter(None, (self.verdict, other.verdict))),
            max(self.epochs, other.epochs),
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
        return {
            "metrics": plain(self.metrics),
            "tables": tables,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
            "verdict": self.verdict,
        }


def _group(given: Any, allowed: tuple[str, ...], what: str) -> str:
    """The present name of a group. Raises ValueError if there is none."""
    group = _FORMER_GROUPS.get(given, given) if isinstance(given, str) else given
    if group not in allowed:
        raise ValueError(f"{what} is in the group {given!r}; there are {', '.join(allowed)}")
    return str(group)


def plain(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as JSON-compatible values."""
    return {name: float(value) for name, value in metrics.items()}
