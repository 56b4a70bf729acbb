"""The result of a comparison as Python values, and where its page may be written."""

from __future__ import annotations

import os
import re
from functools import cached_property
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.runtime import atomic
from pneumo_cli.workflows.metric_values import metrics_of
from pneumo_cli.workflows.report_view import Card, ShownAsCard
from pneumo_cli.workflows.tables import Table
from pneumo_compare.comparison import Comparison
from pneumo_compare.tables import difference_table, plain
from pneumo_compare.wording import cautions, pair_sentence, side_by_side

_FILE_SUFFIX = re.compile(r"\.[A-Za-z]{2,5}")  # and not that of a folder such as results-0.5 or trial.v2


class ComparisonResult(ShownAsCard):
    """What :func:`pneumo_cli.compare` returns; a notebook shows it.

    Args:
        comparison: of at least two runs, which have the letters A, B, … in their order.

    Attributes:
        written: the page that was written; None: none was.
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self.written: Path | None = None

    @cached_property
    def content(self) -> dict[str, Any]:
        """Everything: what ``pneumo compare --json`` prints."""
        return plain(self.comparison)

    @property
    def runs(self) -> Table:
        """A row per run: its letter, short name, folder, trainer, model, dataset, epochs."""
        left_out = ("metrics", "intervals")
        return Table(
            {name: value for name, value in run.items() if name not in left_out}
            for run in self.content["runs"]
        )

    @property
    def metrics(self) -> Table:
        """A row per metric, with each run's value, a :class:`~pneumo_cli.Metric`, by its letter."""
        values = {run["letter"]: metrics_of(run["metrics"], run["intervals"]) for run in self.content["runs"]}
        names = dict.fromkeys(name for metrics in values.values() for name in metrics)
        return Table(
            {"metric": name, **{letter: metrics.get(name) for letter, metrics in values.items()}}
            for name in names
        )

    @property
    def differences(self) -> Table:
        """A row per pair and metric: how ``run`` differs from ``baseline``, for the same patients.

        Without a baseline that was asked for, all pairs are compared.

        ``difference`` with its 95 % interval from ``low`` to ``high``, ``p``, ``p_adjusted`` for the number of
        tests, ``significant``, and ``result`` in words. Empty if the runs are no classifiers.
        """
        return Table(
            {
                "run": pair["run"],
                "baseline": pair["baseline"],
                "metric": name,
                **{_COLUMNS.get(key, key): value for key, value in tested.items()},
            }
            for pair in self.content["differences"]
            for name, tested in pair["metrics"].items()
        )

    @property
    def sentences(self) -> list[str]:
        """The results in words, one per pair of runs."""
        untested = side_by_side(self.comparison)
        return [
            *([untested] if untested else []),
            *(pair_sentence(self.comparison, one) for one in self.comparison.pairs),
        ]

    @property
    def caveats(self) -> list[str]:
        """What a reader has to know about this comparison."""
        return list(cautions(self.comparison))

    def page(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, with figures, to a new FILE.html or into a new folder; returns the file.

        Raises:
            UsageError: it exists, or cannot be written.
            PneumoError: writing failed.
        """
        from pneumo_compare.page import write_comparison

        out = Path(path)
        check_target(out)
        try:
            self.written = write_comparison(self.comparison, out)
        except OSError as error:
            raise PneumoError(f"the comparison cannot be written to {out}: {error.strerror}") from error
        return self.written

    def _card(self) -> Card:
        names = " and ".join(run.title for run in self.comparison.runs)
        columns: dict[str, list[str]] = {}
        if len(self.comparison.runs) == 2 and self.comparison.pairs:
            (place,) = self.comparison.pairs
            rows = difference_table(self.comparison, place)
            heads = ("metric", "difference", "p", "adjusted", "result")
            columns = {head: list(cells) for head, cells in zip(heads, zip(*rows, strict=True), strict=False)}
        return Card(
            f"Comparison of {names}",
            facts=f"on the {self.comparison.split} images",
            sentence=" ".join(self.sentences),
            columns=columns,
            remarks={"Caveats": self.caveats},
            files={} if self.written is None else {"page": self.written},
        )


_COLUMNS = {"value": "difference", "verdict": "result"}


def check_target(target: Path) -> None:
    """Check, before the comparison, that it may be written to a file or folder.

    Raises:
        UsageError: it exists already, has the suffix of another kind of file, or cannot be written.
    """
    if target.suffix != ".html" and _FILE_SUFFIX.fullmatch(target.suffix) and not target.is_dir():
        raise UsageError(
            f"{target} has the suffix of a file: --out takes a new file that ends in .html, or a folder "
            f"({target.with_suffix('.html')}, {target.with_suffix('')})"
        )
    if target.suffix == ".html":
        if os.path.lexists(target):
            raise UsageError(f"{target} exists already: name another file with --out")
        folder = target.parent
    else:
        if os.path.lexists(target) and not target.is_dir():
            raise UsageError(
                f"{target} exists already and is not a folder: name another one, or a new FILE.html, with --out"
            )
        folder = target
    try:
        if folder is target and target.is_dir() and any(target.iterdir()):
            raise UsageError(f"the folder {target} is not empty: name another one with --out")
        atomic.try_folder(folder)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
