"""Groups of runs (folds, seeds of one recipe) in a list of runs.

Read from a group's ``group.toml`` and ``report.json`` and from its members as :mod:`pneumo_cli.runs.index` lists
them. As there, no heavy imports, and a damaged folder is reported and skipped.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumo_cli.errors import PneumoError
from pneumo_cli.runs.folder import GROUP_SETTINGS, RunFolder
from pneumo_cli.runs.index import (
    FINISHED,
    INTERRUPTED,
    RUNNING,
    GroupProgress,
    ListedRun,
    Problem,
    bare,
    is_locked,
    named,
    numbers,
    problem_of,
    read_report,
    search,
    taken_facts,
    unreadable,
)
from pneumo_cli.runtime.json_values import mapping, number, sequence, text
from pneumo_cli.settings.renamed import recorded


def find_runs(folder: Path, *, members: bool = False) -> tuple[list[ListedRun], list[Problem]]:
    """Find the runs and groups in and below a folder, the newest first.

    Args:
        members: list the runs of groups too. Those of a group in ``folder`` itself are always listed.

    Raises:
        UsageError: there is no such folder.
    """
    found = search(folder)
    problems = list(found.problems)
    by_group = defaultdict(list)
    for run in found.runs:
        by_group[run.group].append(run)
    groups = []
    for path in found.groups:
        try:
            groups.append(_read_group(path, by_group[path.absolute()], folder))
        except PneumoError as error:
            problems.append(problem_of(path, error))
    # The runs of a group that cannot be read are listed.
    hidden = {group.path.absolute() for group in groups} - {folder.absolute()}
    runs = [run for run in found.runs if members or run.group not in hidden]
    listed = sorted([*groups, *runs], key=lambda run: (run.started, run.name), reverse=True)
    return listed, problems


def read_group(path: Path) -> ListedRun:
    """Read one group, as :func:`find_runs` lists it.

    Raises:
        UsageError: ``group.toml`` cannot be read, or is not that of a group.
        PneumoError: ``report.json`` is damaged.
    """
    group = path.absolute()
    runs = [run for run in search(path).runs if run.group == group]
    return _read_group(path, runs, group.parent.parent)


def _read_group(path: Path, runs: Sequence[ListedRun], base: Path) -> ListedRun:
    """Read a group from its folder and its ``runs``. Raises as :func:`read_group`."""
    try:
        content = tomllib.loads((path / GROUP_SETTINGS).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise unreadable(GROUP_SETTINGS, error) from error
    facts, trainer = taken_facts(content, GROUP_SETTINGS, "group")
    report = read_report(RunFolder(path)) or {}
    of = int(number(content.get("epochs")) or 0)
    folds, fold, seeds = (int(number(content.get(name)) or 0) for name in ("folds", "fold", "seeds"))
    seeds = max(1, seeds)
    wanted = (1 if fold else max(1, folds)) * seeds
    done = [run for run in runs if run.state == FINISHED and max(run.epochs, run.of) >= of]
    progress = GroupProgress(0 if fold else folds, seeds, wanted, min(len(done), wanted))
    # The report is written after the last run, and again when all runs have been trained further.
    rows = [mapping(member) for member in sequence(report.get("members"))]
    reported = len(rows) == wanted and all(
        row.get("state") == FINISHED and (number(row.get("epochs")) or 0) >= of for row in rows
    )
    if is_locked(path):
        state = RUNNING
    else:
        state = FINISHED if reported and progress.finished == wanted else INTERRUPTED
    spread = {split: mapping(metrics) for split, metrics in mapping(report.get("spread")).items()}
    return ListedRun(
        path=path,
        name=named(path.absolute(), base.absolute()),
        trainer=trainer,
        model=bare(mapping(report.get("model")).get("name") or _first(runs, "model") or content.get("model")),
        dataset=bare(content.get("dataset")),
        split=text(content.get("split")),
        epochs=min((run.epochs for run in runs), default=0) if len(runs) >= wanted else 0,
        of=of,
        started=text(facts.get("started")),
        state=state,
        settings=recorded({key: value for key, value in content.items() if not isinstance(value, Mapping)}),
        evaluations=numbers(_values(spread, mapping(report.get("evaluations")))),
        intervals={"test": mapping(mapping(report.get("intervals")).get("test"))},
        spread={
            split: {name: number(mapping(statistics).get("sd")) for name, statistics in metrics.items()}
            for split, metrics in spread.items()
        },
        members=progress,
        task=text(mapping(report.get("dataset")).get("task") or _first(runs, "task")) or "binary",
        monitor=text(mapping(report.get("monitor")).get("metric")) or _first(runs, "monitor"),
    )


def _values(
    spread: Mapping[str, Mapping[str, Any]], ensemble: Mapping[str, Any]
) -> dict[str, Mapping[str, Any]]:
    """The metrics that represent a group: means over its runs; on the test images those of the ensemble.

    Out-of-fold images are evaluated by one run each, so there mean and spread say more.
    """
    means: dict[str, Mapping[str, Any]] = {
        split: {name: mapping(statistics).get("mean") for name, statistics in metrics.items()}
        for split, metrics in spread.items()
    }
    return means | ({"test": mapping(ensemble["test"])} if ensemble.get("test") else {})


def _first(runs: Sequence[ListedRun], name: str) -> str:
    return next((text(getattr(run, name)) for run in runs), "")
