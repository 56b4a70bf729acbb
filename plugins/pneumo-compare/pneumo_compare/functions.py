"""The function ``pneumo_cli.compare``: what ``pneumo compare`` does, in Python."""

from __future__ import annotations

from pathlib import Path

from pneumo_cli.runtime.home import StrPath, expanded_path
from pneumo_cli.workflows.plugin_functions import carry_out
from pneumo_compare.comparison import compare_runs
from pneumo_compare.result import ComparisonResult, check_target


def compare(
    *runs: StrPath, split: str = "test", baseline: StrPath | None = None, out: StrPath | None = None
) -> ComparisonResult:
    """Compare runs on the same images, with paired intervals and tests: what ``pneumo compare RUN RUN`` does.

    Args:
        runs: folders or results of finished runs or groups, at least two with the baseline.
        split: ``test`` or ``validation``.
        baseline: the run that the others are compared with; None: all pairs are compared.
        out: a new FILE.html or folder for the page, with figures; None: no page is written.

    Raises:
        UsageError: a run is not finished, the runs are of other images, or ``out`` exists.
        PneumoError: a run's files are damaged or missing, or the page cannot be written.
    """
    first = None if baseline is None else expanded_path(baseline)
    target = None if out is None else expanded_path(out)
    return carry_out(lambda caller: compared(list(map(expanded_path, runs)), split, first, target))


def compared(paths: list[Path], split: str, baseline: Path | None, out: Path | None) -> ComparisonResult:
    """The comparison of runs, whose page is written if ``out`` names a place for it."""
    if out is not None:
        check_target(out)
    result = ComparisonResult(compare_runs(paths, split=split, baseline=baseline))
    if out is not None:
        result.page(out)
    return result
