"""Filtering and sorting listed runs, for ``pneumo list-runs``. Groups have settings and values of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.evaluation.metric_names import lower_is_better
from pneumo_cli.runs.index import FINISHED, ListedRun, bare
from pneumo_cli.runtime.json_values import number, value_text
from pneumo_cli.settings.renamed import RENAMED, current_setting

_TRUTHS = {"yes": "true", "no": "false"}


def matching(
    runs: Sequence[ListedRun],
    *,
    trainer: str | None = None,
    model: str | None = None,
    dataset: str | None = None,
    finished: bool | None = None,
    where: Sequence[str] = (),
) -> list[ListedRun]:
    """The runs that meet all conditions.

    Args:
        trainer, model, dataset: registered names.
        finished: True for those with a report of all their epochs, False for the others.
        where: ``setting=value``; numbers are compared as numbers, ``yes`` equals ``true``.

    Raises:
        UsageError: a condition is not ``setting=value``, or no run has such a setting.
    """
    conditions = [_condition(one, runs) for one in where]
    wanted = {"trainer": trainer, "model": model, "dataset": dataset}
    return [
        run
        for run in runs
        if all(name is None or getattr(run, field) == bare(name) for field, name in wanted.items())
        and finished in (None, run.state == FINISHED)
        and all(key in run.settings and _equal(run.settings[key], value) for key, value in conditions)
    ]


def in_sequence(runs: Sequence[ListedRun], by: str) -> list[ListedRun]:
    """Sort runs by ``started`` (the newest first), ``name``, or a metric (the best first).

    By a metric, runs with a test value come first, then those with a validation value only, then the others.

    Raises:
        UsageError: no run has such a metric.
    """
    if by == "started":
        return sorted(runs, key=lambda run: (run.started, run.name), reverse=True)
    if by == "name":
        return sorted(runs, key=lambda run: run.name)
    metrics = {name for run in runs for values in run.evaluations.values() for name in values}
    if by not in metrics and runs:
        raise UsageError(f"no run has a metric {by!r}; {nearest(by, metrics | {'started', 'name'})}")
    sign = 1 if lower_is_better(by) else -1

    def rank_and_value(run: ListedRun) -> tuple[int, float]:
        for rank, split in enumerate(("test", "validation")):
            value = run.value(split, by)
            if value is not None:
                return rank, sign * value
        return 2, 0.0

    return sorted(runs, key=rank_and_value)


def what_sorts(runs: Sequence[ListedRun], by: str) -> str:
    """A note on which values a list is sorted by, if they are not of the same split for all runs; else empty."""
    untested = [run for run in runs if run.value("test", by) is None]
    validated = sum(run.value("validation", by) is not None for run in untested)
    if not validated:
        return ""
    if len(untested) == len(runs):
        return f"no run has {by} on the test images: sorted by {by} on the validation images"
    comes = "comes" if validated == 1 else "come"
    return f"sorted by {by} on the test images; then {comes} {validated} without, by the validation images"


def why_none(
    runs: Sequence[ListedRun], folder: Path, trainer: str | None, model: str | None, dataset: str | None
) -> str:
    """Why a list is empty, and which name was perhaps meant.

    Args:
        runs: below ``folder``, before the conditions ``trainer``, ``model`` and ``dataset``.
    """
    if not runs:
        return f"there are no runs in or below {folder}"
    for field, wanted in (("trainer", trainer), ("model", model), ("dataset", dataset)):
        names = {getattr(run, field) for run in runs} - {""}
        if wanted is not None and bare(wanted) not in names:
            return f"no run below {folder} has the {field} {wanted}; {nearest(wanted, names)}"
    return f"no run below {folder} meets all conditions"


def _condition(written: str, runs: Sequence[ListedRun]) -> tuple[str, str]:
    key, equals, value = written.partition("=")
    key = key.strip().replace("-", "_")
    if not equals or not key:
        raise UsageError(f"--where takes setting=value, such as lr=0.005, not {written!r}")
    names = {name for run in runs for name in run.settings}
    if key not in names:
        key, value = current_setting(RENAMED.get(key, key), value.strip())
    if runs and key not in names:
        raise UsageError(f"no run has a setting {key!r}; {nearest(key, names)}")
    return key, value.strip()


def _equal(value: Any, wanted: str) -> bool:
    numeric = number(value)
    if numeric is not None:
        try:
            return numeric == float(wanted)
        except ValueError:
            return False
    if isinstance(value, bool):
        return _TRUTHS.get(wanted.lower(), wanted.lower()) == str(value).lower()
    return wanted in (str(value), value_text(value))
