"""Which of the listed runs are wanted, and in which order: conditions and sorting of ``pneumo list-runs``.

Groups of runs are filtered and sorted like runs, by the group's own settings and values.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.evaluation.metric_names import lower_is_better
from pneumo_cli.runs.index import FINISHED, ListedRun, bare
from pneumo_cli.runtime.json_values import number, value_text
from pneumo_cli.settings.renamed import RENAMED

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
    """The runs that all conditions hold for.

    Args:
        trainer, model, dataset: registered names.
        finished: True for those with a report of all their epochs, False for the others.
        where: ``setting=value``; numbers are compared as numbers, ``yes`` and ``true`` are one.

    Raises:
        UsageError: a condition is no ``setting=value``, or no run has such a setting.
    """
    conditions = [_condition(one, runs) for one in where]
    wanted = {"trainer": trainer, "model": model, "dataset": dataset}
    return [
        run
        for run in runs
        if all(name is None or getattr(run, part) == bare(name) for part, name in wanted.items())
        and finished in (None, run.state == FINISHED)
        and all(key in run.settings and _equal(run.settings[key], value) for key, value in conditions)
    ]


def in_sequence(runs: Sequence[ListedRun], by: str) -> list[ListedRun]:
    """Sort runs: ``started`` the newest first, ``name``, or a metric's best first.

    By a metric, runs with a test value come first, then those that have one of the validation images only, then
    those without.

    Raises:
        UsageError: no run has such a metric.
    """
    if by == "started":
        return sorted(runs, key=lambda run: (run.started, run.name), reverse=True)
    if by == "name":
        return sorted(runs, key=lambda run: run.name)
    known = {name for run in runs for metrics in run.evaluations.values() for name in metrics}
    if by not in known and runs:
        raise UsageError(f"no run has a metric {by!r}; {nearest(by, known | {'started', 'name'})}")
    sign = 1 if lower_is_better(by) else -1

    def place(run: ListedRun) -> tuple[int, float]:
        for rank, split in enumerate(("test", "validation")):
            value = run.value(split, by)
            if value is not None:
                return rank, sign * value
        return 2, 0.0

    return sorted(runs, key=place)


def what_sorts(runs: Sequence[ListedRun], by: str) -> str:
    """What a list is sorted by where that is not one number for all of it; empty where it is.

    Args:
        by: as :func:`in_sequence` takes it.
    """
    tested = sum(run.value("test", by) is not None for run in runs)
    further = sum(run.value("validation", by) is not None for run in runs if run.value("test", by) is None)
    if not further:
        return ""
    if not tested:
        return f"no run has {by} on the test images: sorted by that on the validation images"
    comes = "comes" if further == 1 else "come"
    return (
        f"sorted by {by} on the test images; then {comes} {further} without, by that on the validation images"
    )


def why_none(
    runs: Sequence[ListedRun], folder: Path, trainer: str | None, model: str | None, dataset: str | None
) -> str:
    """Why a list is empty, and which name was perhaps meant.

    Args:
        runs: what there was before conditions narrowed it down.
        folder: where it was looked for.
        trainer, model, dataset: the conditions.
    """
    if not runs:
        return f"there are no runs in or below {folder}"
    for part, wanted in (("trainer", trainer), ("model", model), ("dataset", dataset)):
        known = {getattr(run, part) for run in runs} - {""}
        if wanted is not None and bare(wanted) not in known:
            return f"no run below {folder} has the {part} {wanted}; {nearest(wanted, known)}"
    return f"no run below {folder} meets all conditions"


def _condition(written: str, runs: Sequence[ListedRun]) -> tuple[str, str]:
    key, equals, value = written.partition("=")
    key = key.strip().replace("-", "_")
    if not equals or not key:
        raise UsageError(f"--where takes setting=value, such as lr=0.005, not {written!r}")
    known = {name for run in runs for name in run.settings}
    key = key if key in known else RENAMED.get(key, key)
    if runs and key not in known:
        raise UsageError(f"no run has a setting {key!r}; {nearest(key, known)}")
    return key, value.strip()


def _equal(value: Any, wanted: str) -> bool:
    known = number(value)
    if known is not None:
        try:
            return known == float(wanted)
        except ValueError:
            return False
    if isinstance(value, bool):
        return _TRUTHS.get(wanted.lower(), wanted.lower()) == str(value).lower()
    return wanted in (str(value), value_text(value))
