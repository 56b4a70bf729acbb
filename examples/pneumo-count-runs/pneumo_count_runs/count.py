"""What the command does; imported when it runs."""

from __future__ import annotations

from pathlib import Path

from pneumo_cli.runs import find_runs


def count(folder: str, state: str) -> int:
    """The number of runs in and below a folder that are in a state.

    Raises:
        UsageError: there is no such folder.
    """
    runs, _ = find_runs(Path(folder), members=True)
    return sum(run.state == state for run in runs)
