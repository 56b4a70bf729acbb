"""The runs below a folder, read from their files: ``run.toml``, ``report.json``, ``metrics.jsonl``, the lock.

Groups of runs are read by :mod:`pneumo_cli.runs.group_index`; :mod:`pneumo_cli.runs.query` filters and sorts.
Imports neither torch nor pydantic nor numpy, loads no plugin (runs of plugins that are not installed are listed
too), and writes nothing. A damaged folder is reported and skipped.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.metric_names import in_order, is_known
from pneumo_cli.runs.folder import GROUP_SETTINGS, RunFolder, group_of
from pneumo_cli.runs.packed import packed
from pneumo_cli.runs.report_format import read_report as read_report_file
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_cli.settings.renamed import recorded

FINISHED, INTERRUPTED, RUNNING, EXPORTED = "finished", "interrupted", "running", "exported"
WHOLE = "whole"
"""The metrics of a run's summary, which belong to no split (:data:`pneumo_cli.reports.group_page.WHOLE`)."""
BUNDLE = "model.json"
"""The file that marks an exported bundle (:data:`pneumo_export.bundle.DESCRIPTION`, which imports torch)."""

_LARGEST = 64 * 2**20  # bytes of a report; a hundred times the largest one seen
_EPOCHS = re.compile(r"^epochs = (\d+)$", re.MULTILINE)
OWN_FOLDERS = frozenset({"checkpoints", "figures", "samples", "predictions", "evaluations"})
"""Folders of a run that are not searched for other runs."""
_RUN, _GROUP = "run", "group"


@dataclass(frozen=True, slots=True)
class ListedRun:
    """One run, or a group of runs, in a list.

    Attributes:
        path: its folder.
        name: the folder relative to the one that was searched.
        trainer, model, dataset: registered names, without their distributions.
        task: ``binary``, ``multiclass`` or ``multilabel``; of a run that is no classifier, that of its dataset.
        monitor: the metric that selected the best checkpoint; empty if there is none, or no report.
        split: the policy.
        epochs: finished epochs (without epoch 0), out of ``of``.
        started: ISO date and time; empty if unknown.
        state: ``finished``, ``interrupted``, ``running`` while a process works on it, or ``exported``: a bundle
            made from a run, with its settings and without its results.
        settings: as they were resolved.
        evaluations, intervals: split to metrics, and to their 95 % intervals; of a run without a report its last
            validation metrics. The metrics of the summary, such as those of generated images, are under ``whole``.
        spread: of a group, split to the metrics' standard deviations over its runs; None: there is one run only.
        members: of a group, the number of its runs and of those that are finished; of a run None.
        group: the folder of the group that a run belongs to, if any.
    """

    path: Path
    name: str
    trainer: str
    model: str
    dataset: str
    split: str
    epochs: int
    of: int
    started: str
    state: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluations: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    intervals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    spread: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    members: GroupProgress | None = None
    group: Path | None = None
    task: str = "binary"
    monitor: str = ""

    @property
    def headline(self) -> str:
        """The metric to show: a monitored one that pneumo does not know, the ROC AUC, or the first of a report."""
        names = [name for metrics in self.evaluations.values() for name in metrics]
        if self.monitor in names and not is_known(self.monitor):
            return self.monitor
        ordered = [name for name in in_order(dict.fromkeys(names)) if name != "loss"]
        return "auc" if "auc" in ordered else next(iter(ordered or names), "")

    def value(self, split: str, metric: str) -> float | None:
        """A metric on a split, or None. Metrics of the summary count as test metrics."""
        value = number(mapping(self.evaluations.get(split)).get(metric))
        return self.value(WHOLE, metric) if value is None and split == "test" else value


@dataclass(frozen=True)
class GroupProgress:
    """How many runs a group asks for (``wanted``, of ``folds`` and ``seeds``) and how many are finished.

    ``folds`` is 0 without cross-validation.
    """

    folds: int
    seeds: int
    wanted: int
    finished: int

    @property
    def kind(self) -> str:
        """Such as ``5 folds``, ``3 seeds`` or ``5 folds × 3 seeds``."""
        words = [f"{self.folds} folds"] if self.folds else []
        words += [f"{self.seeds} seeds"] if self.seeds > 1 or not words else []
        return " × ".join(words)


@dataclass(frozen=True)
class Problem:
    """A folder that cannot be listed, and the reason."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Found:
    """All runs below a folder (also those of groups), the folders of groups, and problems."""

    runs: list[ListedRun]
    groups: list[Path]
    problems: list[Problem]


def search(folder: Path) -> Found:
    """Find all runs and groups in and below a folder. Links below it are not followed.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    found = Found([], [], [])
    for path, kind in _walk(folder):
        if kind == _GROUP:
            found.groups.append(path)
        elif kind != _RUN:
            found.problems.append(Problem(path, kind))
        else:
            try:
                found.runs.append(read_run(path, folder))
            except PneumoError as error:
                found.problems.append(problem_of(path, error))
    return found


def _walk(folder: Path) -> Iterator[tuple[Path, str]]:
    """Yield folders with their kind, run or group; or, for a broken run, with the problem."""
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            with os.scandir(path) as entries:
                below = {entry.name: entry.is_dir(follow_symlinks=False) for entry in entries}
        except OSError as error:
            yield path, f"cannot be read: {error.strerror}"
            continue
        is_run = "run.toml" in below
        if is_run:
            yield path, _RUN
        elif GROUP_SETTINGS in below:
            yield path, _GROUP
        elif below.get("checkpoints") or below.get("metrics.jsonl") is False:
            yield path, "looks like a run, but has no run.toml: it cannot be resumed or compared"
        inner = [name for name, is_folder in below.items() if is_folder and not name.startswith(".")]
        waiting += [path / name for name in inner if not (is_run and name in OWN_FOLDERS)]


def read_run(path: Path, base: Path | None = None) -> ListedRun:
    """Read a run from its folder.

    Args:
        base: the folder that its name is relative to; by default two levels up.

    Raises:
        UsageError: ``run.toml`` cannot be read or is not that of a run.
        PneumoError: ``report.json`` is damaged.
    """
    folder = RunFolder(path)
    report = read_report(folder)
    try:
        written = folder.settings.read_text(encoding="utf-8-sig")
        planned = _EPOCHS.search(written)
        # Parsing TOML takes longer than everything else; a finished run's report has the settings too.
        content = _settings_of(report) if report and planned else tomllib.loads(written)
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable("run.toml", error) from error
    facts, trainer = taken_facts(content, "report.json" if report and planned else "run.toml", "run")
    rows = sequence(report.get("history")) if report else _rows(folder.metrics)
    last = mapping(rows[-1]) if rows else {}
    done = int(number(last.get("epoch")) or 0)
    stopped = mapping(mapping(mapping(report).get("run")).get("stopped"))
    covered = max(done, int(number(stopped.get("of")) or 0))
    of = int(planned[1]) if planned else int(number(content.get("epochs")) or 0)
    if report is None and (path / BUNDLE).is_file():
        state = EXPORTED
    elif is_locked(path):
        state = RUNNING
    else:
        state = FINISHED if report is not None and covered >= of else INTERRUPTED
    return ListedRun(
        path=path,
        name=named(path.absolute(), (base or path.absolute().parent.parent).absolute()),
        trainer=trainer,
        model=bare(facts.get("model") or content.get("model")),
        dataset=bare(facts.get("dataset") or content.get("dataset")),
        split=text(content.get("split")),
        epochs=done,
        of=of,
        started=text(facts.get("started")),
        state=state,
        settings=packed(
            recorded({key: value for key, value in content.items() if not isinstance(value, Mapping)})
        ),
        evaluations=numbers(
            {WHOLE: _summary_metrics(report), **mapping(report.get("evaluations"))}
            if report
            else {"validation": last.get("validation")}
        ),
        intervals=packed(
            {
                split: packed(mapping(ends))
                for split, ends in mapping(mapping(report).get("intervals")).items()
            }
        ),
        group=group_of(path),
        task=text(mapping(mapping(report).get("dataset")).get("task") or facts.get("task")) or "binary",
        monitor=text(mapping(mapping(report).get("monitor")).get("metric")),
    )


def unreadable(file: str, error: Exception) -> UsageError:
    """The error for recorded settings that cannot be read."""
    return UsageError(f"{file} cannot be read: {getattr(error, 'strerror', None) or _damage(error)}")


def problem_of(path: Path, error: PneumoError) -> Problem:
    """Why a folder cannot be listed, without its path, which the list shows, and without advice."""
    return Problem(path, str(error).replace(f"{path}{os.sep}", "").partition("; ")[0])


def _damage(error: Exception) -> str:
    """What is wrong with the text of a file."""
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    return "it is not JSON" if isinstance(error, json.JSONDecodeError) else text(error)


def taken_facts(content: dict[str, Any], file: str, kind: str) -> tuple[Mapping[str, Any], str]:
    """Remove the facts and the trainer's name from recorded settings, and return them.

    Args:
        content: of the file; afterwards the settings alone.
        file, kind: for the error: the file's name, and ``run`` or ``group``.

    Raises:
        UsageError: it names no trainer.
    """
    facts = mapping(content.pop("run", None))
    content.pop("origin", None)
    trainer = bare(facts.get("trainer") or content.pop("trainer", ""))
    if not trainer:
        raise UsageError(f"{file} is not that of a {kind}: it names no trainer")
    return facts, trainer


def read_report(folder: RunFolder) -> dict[str, Any] | None:
    """The content of ``report.json``; None if there is none, because the run is not finished.

    Raises:
        PneumoError: it is damaged.
    """
    file = folder.report_json
    again = f"without it, pneumo resume {folder.path} writes it again"
    try:
        size = file.stat().st_size
        if size > _LARGEST:
            raise PneumoError(f"{file} is not a report: it has {size / 2**20:,.0f} MB")
        report = read_report_file(file)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PneumoError(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise PneumoError(f"{file} is damaged ({_damage(error)}); {again}") from error
    if not isinstance(report.get("evaluations"), dict):
        raise PneumoError(f"{file} is damaged (it has no evaluations); {again}")
    return report


def _settings_of(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report's settings and names, in the shape of a ``run.toml``."""
    settings = {
        text(item["name"]): item.get("value")
        for item in map(mapping, sequence(report.get("settings")))
        if item.get("name")
    }
    facts = {kind: mapping(report.get(kind)).get("name") for kind in ("trainer", "model", "dataset")}
    return {**settings, "run": {**facts, "started": mapping(report.get("run")).get("started")}}


def _rows(file: Path) -> list[Any]:
    """The last complete row of ``metrics.jsonl``, as a list of at most one."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError:
        return []
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):  # a killed process may have written half a row
            continue
        if isinstance(row, dict):
            return [row]
    return []


def _summary_metrics(report: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a report's summary, without those of its baselines."""
    metrics = mapping(mapping(report.get("summary")).get("metrics"))
    return {name: value for name, value in metrics.items() if is_known(text(name))}


def numbers(evaluations: Mapping[str, Any]) -> Mapping[str, Mapping[str, float]]:
    """The finite numbers of each split; splits without any are omitted."""
    finite = {
        split: {name: n for name, value in mapping(metrics).items() if (n := number(value)) is not None}
        for split, metrics in evaluations.items()
    }
    return packed({split: packed(metrics) for split, metrics in finite.items() if metrics})


def is_locked(path: Path) -> bool:
    """Whether a process is working on a run. The lock is tested and released at once."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        return False
    try:
        with (path / ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def bare(name: Any) -> str:
    """A registered name without its distribution."""
    return text(name).rpartition(":")[2]


def named(path: Path, base: Path) -> str:
    """A folder relative to another; the absolute path if it is not below it."""
    try:
        relative = path.relative_to(base).as_posix()
    except ValueError:
        return str(path)
    return path.name if relative == "." else relative
