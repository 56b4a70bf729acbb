"""Results of runs as Python values, read from the folder of the run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.errors import PneumoError, UsageError, one_line
from pneumo_cli.evaluation.metric_names import is_known, metric_text, sd_text
from pneumo_cli.reports.formatting import count, duration
from pneumo_cli.reports.results import verdict
from pneumo_cli.runs.folder import GroupFolder, RunFolder, is_group
from pneumo_cli.runs.group_index import read_group
from pneumo_cli.runs.index import EXPORTED, WHOLE, ListedRun, read_run
from pneumo_cli.runtime.home import expanded_path
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_cli.settings.renamed import recorded
from pneumo_cli.workflows.failures import one_line_errors
from pneumo_cli.workflows.metric_values import Metric, Named, metric_columns, metrics_of
from pneumo_cli.workflows.report_view import Card, Report, ShownAsCard
from pneumo_cli.workflows.run_tables import epoch_rows, history, predictions
from pneumo_cli.workflows.tables import Table

if TYPE_CHECKING:
    from pneumo_cli.workflows.predictions import Predictions


class RunResult(ShownAsCard):
    """A run, or a group of runs (``folds``, ``seeds``), as its folder is when it is asked.

    Args:
        folder: of the run.

    Attributes:
        folder: of the run.

    Raises:
        UsageError: it is no run's folder.
    """

    @one_line_errors()
    def __init__(self, folder: str | os.PathLike[str], found: ListedRun | None = None) -> None:
        self.folder = expanded_path(folder)
        self._group = is_group(self.folder)
        self._files = GroupFolder(self.folder) if self._group else RunFolder.open(self.folder)
        self._found = found  # by a list of runs, which shows what it has found
        self._read: tuple[tuple[int, int], dict[str, Any]] | None = None

    def __fspath__(self) -> str:
        return str(self.folder)

    @property
    def _listed(self) -> ListedRun:
        return read_group(self.folder) if self._group else read_run(self.folder)

    @property
    def _content(self) -> dict[str, Any]:
        """Of the report, which is read again once it has changed: the run goes on, or is resumed."""
        if not self._finished:
            return self.report.content  # raises, and says what to do
        status = self._files.report_json.stat()
        stamp = status.st_mtime_ns, status.st_size
        if self._read is None or self._read[0] != stamp:
            self._read = stamp, self.report.content
        return self._read[1]

    @property
    def _finished(self) -> bool:
        return self._files.report_json.is_file()

    @property
    def name(self) -> str:
        """The folder, relative to where it was searched; such as ``cnn/2026-11-24-a1b2``."""
        return (self._found or self._listed).name

    @property
    def trainer(self) -> str:
        """The name of the trainer."""
        return self._listed.trainer

    @property
    def model(self) -> str:
        """The name of the model."""
        return self._listed.model

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return self._listed.dataset

    @property
    def state(self) -> str:
        """``finished``, ``interrupted``, ``running``, or ``exported``: a bundle made of a run."""
        return self._listed.state

    @property
    def epochs(self) -> int:
        """Finished epochs; of a group those that all members have finished."""
        return self._listed.epochs

    @property
    def seconds(self) -> float:
        """The duration, of all resumptions; of an unfinished run that of its epochs."""
        if self._finished:
            return number(mapping(self._content.get("run")).get("seconds")) or 0.0
        return sum(number(row.get("seconds")) or 0.0 for row in self.history)

    @property
    def metrics(self) -> dict[str, dict[str, Metric]]:
        """Split to metrics: ``result.metrics["test"]["auc"]``, a float with ``.interval``.

        Undefined metrics are NaN. Metrics of the whole run, such as the quality of generated images, are under
        ``whole``. Of a group those of its ensemble, and where it has none the means over its members. Of an
        unfinished run those of its last epoch.

        Raises:
            PneumoError: there are none yet, or the report is damaged.
        """
        if not self._finished:
            return self._last_epoch()
        report = self._content
        intervals = mapping(report.get("intervals"))
        means = {
            split: {name: statistics.get("mean") for name, statistics in of.items()}
            for split, of in self.spread.items()
        }
        whole = mapping(mapping(report.get("summary")).get("metrics"))
        own = {WHOLE: {name: value for name, value in whole.items() if is_known(text(name))}}
        measured = {**own, **means, **mapping(report.get("evaluations"))}
        return Named(
            (split, metrics_of(values, intervals.get(split))) for split, values in measured.items() if values
        )

    def _last_epoch(self) -> dict[str, dict[str, Metric]]:
        if self._group or self.state == EXPORTED:
            _ = self._content  # raises
        for row in reversed(epoch_rows(self._files.metrics)):
            sides = [side for side in ("train", "validation") if mapping(row.get(side))]
            found = Named((side, metrics_of(row[side])) for side in sides)
            if found:
                return found
        raise PneumoError(f"{self.folder} has no metrics yet: its first epoch is not finished")

    @property
    def history(self) -> Table:
        """A row per epoch; epoch 0 is the untrained model. ``train_loss``, ``validation_auc``, ``learning_rate``, …

        Of a group the epochs of all members, with the column ``member``.

        Raises:
            PneumoError: ``metrics.jsonl`` is damaged.
        """
        if self._group:
            return Table({"member": one.folder.name, **row} for one in self.members for row in one.history)
        return history(self._files.metrics)

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the run, by name; those of extensions and observers in dicts of their own.

        Raises:
            UsageError: the file is damaged.
        """
        from pneumo_cli.settings.sources import read_toml  # here: it imports pydantic

        values = read_toml(self._files.settings)
        return recorded(
            {name: value for name, value in values.items() if name not in ("run", "origin", "trainer")}
        )

    @property
    def notes(self) -> list[str]:
        """Remarks of the report: images that were left out, what the results mean."""
        if not self._finished:
            return []
        summary = mapping(self._content.get("summary"))
        found = [*sequence(self._content.get("notices")), *sequence(self._content.get("notes"))]
        return [text(note) for note in (*found, *sequence(summary.get("notes")))]

    @property
    def caveats(self) -> list[str]:
        """Reasons for doubt that were found in the results."""
        rules = sequence(self._content.get("caveats")) if self._finished else ()
        return [text(mapping(rule).get("text")) for rule in rules]

    @property
    def spread(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """Of a group, split to metrics to ``mean``, ``sd``, ``min``, ``max`` and the members' ``values``."""
        found = mapping(self._content.get("spread")) if self._finished else {}
        return {
            split: {name: mapping(statistics) for name, statistics in mapping(of).items()}
            for split, of in found.items()
        }

    @property
    def members(self) -> list[RunResult]:
        """Of a group its runs, finished or not; of a run none."""
        if not isinstance(self._files, GroupFolder):
            return []
        folders = (path.parent for path in self._files.members.glob("*/run.toml"))
        return [RunResult(path) for path in sorted(folders, key=_in_order_of_numbers)]

    @property
    def report(self) -> Report:
        """The report, which a notebook shows."""
        return Report(self._files)

    def predictions(self, split: str = "test") -> Table:
        """What the selected checkpoint predicts for each image of a split, with its name and patient.

        Raises:
            UsageError: there are none of this split.
            PneumoError: the file is damaged.
        """
        known = sorted(path.stem for path in self._files.predictions.glob("*.csv"))
        if split not in known:
            there = (
                f"there are those of {', '.join(known)}"
                if known
                else "it is not finished, or its task has none"
            )
            raise UsageError(f"{self.folder} has no predictions of {split!r} images: {there}")
        return predictions(self._files.predictions / f"{split}.csv")

    def predict(self, images: Any, **options: Any) -> Predictions:
        """Predict images with the best checkpoint, of a group with all; see :meth:`pneumo_cli.Model.predict`.

        Loads the model; for several requests :func:`pneumo_cli.load` it once.
        """
        from pneumo_cli.workflows.models import load

        return load(self.folder, progress=options.get("progress")).predict(images, **options)

    def _card(self) -> Card:
        run, finished, page = self._listed, self._finished, self._files.report_html
        facts = [run.state]
        if not self._group:
            facts.append(f"{run.epochs} of {count(run.of)} epoch{'' if run.of == 1 else 's'}")
        elif run.members is not None:
            facts.append(run.members.kind)
        if seconds := self.seconds:
            facts.append(duration(seconds))
        columns, below = self._columns(run.task)
        unfinished = f"The metrics are those of epoch {run.epochs}." if columns else ""
        return Card(
            f"{run.trainer} on {run.dataset}" + (f" ({run.model})" if run.model != run.trainer else ""),
            facts=", ".join(filter(None, facts)),
            sentence=verdict(self._content) if finished else unfinished,
            columns=columns,
            numeric=list(columns)[1:],
            below=below,
            remarks={"Caveats": self.caveats, "Notes": self.notes},
            files={"folder": self.folder, **({"report": page} if page.is_file() else {})},
        )

    def _columns(self, task: str) -> tuple[dict[str, list[str]], str]:
        """The metrics as columns of text, and what is left out."""
        spread = self.spread
        try:
            metrics = self.metrics
        except PneumoError as error:
            return {}, one_line(error)
        if spread:  # the means are shown with their deviations
            own = mapping(self._content.get("evaluations"))
            metrics = {split: values for split, values in metrics.items() if own.get(split)}
        cells = {
            _HEADS.get(split, split): {name: str(value) for name, value in metrics[split].items()}
            for split in sorted(metrics, key=_place)
        }
        for split in sorted(spread, key=_place):
            values = {name: _with_sd(name, statistics) for name, statistics in spread[split].items()}
            cells[f"{_HEADS.get(split, split)}, mean ± SD"] = values
        return metric_columns(cells, task)


class EvaluationResult(ShownAsCard):
    """The result of :func:`pneumo_cli.evaluate`.

    Args:
        content: what ``pneumo evaluate --json`` prints.

    Attributes:
        content: the same.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = dict(content)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics, with their intervals."""
        return metrics_of(self.content.get("metrics"), self.content.get("intervals"))

    @property
    def split(self) -> str:
        """``train``, ``validation`` or ``test``."""
        return text(self.content.get("split"))

    @property
    def dataset(self) -> str:
        """The name of the dataset."""
        return text(self.content.get("dataset"))

    @property
    def images(self) -> int:
        """The number of images."""
        return int(number(self.content.get("images")) or 0)

    @property
    def operating_point(self) -> str:
        """The name of the operating point that decides; empty where nothing is decided."""
        return text(self.content.get("operating_point"))

    @property
    def classes(self) -> Table:
        """The metrics of each of K classes or labels against the rest; empty for two classes."""
        return Table(
            {
                **{name: one.get(name) for name in ("name", "images", "positives")},
                **metrics_of(one.get("metrics"), one.get("intervals")),
            }
            for one in map(mapping, sequence(self.content.get("classes")))
        )

    def _card(self) -> Card:
        metrics, runs = self.metrics, len(sequence(self.content.get("runs")))
        columns, below = metric_columns(
            {self.split or "value": {name: str(value) for name, value in metrics.items()}}
        )
        facts = [f"{self.images:,} images"]
        facts += [f"operating point {self.operating_point}"] if self.operating_point else []
        accesses = number(self.content.get("test_accesses"))
        facts += [f"test set evaluated {accesses:.0f} times"] if accesses and accesses > 1 else []
        who = f"ensemble of {runs} runs" if runs else f"checkpoint {text(self.content.get('checkpoint'))}"
        return Card(
            f"{self.split} images of {self.dataset}, {who}",
            ", ".join(facts),
            columns=columns,
            numeric=list(columns)[1:],
            below=below,
        )


def _with_sd(name: str, statistics: Mapping[str, Any]) -> str:
    return f"{metric_text(name, statistics.get('mean'))} ± {sd_text(name, statistics.get('sd'))}"


_HEADS = {WHOLE: "whole run"}


def _place(split: str) -> int:
    order = ("test", WHOLE, "validation", "train")
    return order.index(split) if split in order else len(order)


def _in_order_of_numbers(path: Path) -> tuple[list[int], str]:
    """``fold-2`` before ``fold-10``."""
    return [int(digits) for digits in re.findall(r"\d{1,9}", path.name)], path.name
