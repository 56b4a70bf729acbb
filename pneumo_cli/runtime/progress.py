"""Progress of long steps: a null object for libraries and tests, rich bars for a terminal.

Code that takes long receives a :class:`Progress` and opens a *stage*; it never asks whether anybody is looking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]

NOTICE = 25
"""Level of log messages that a person at a terminal should read although nothing is wrong."""


class Progress:
    """Shows nothing. The base of everything that does."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """Open a step of ``total`` ``unit``; call the yielded function with how many more are done."""
        yield lambda count: None


class WatchedProgress(Progress):
    """Shows what another one shows, and looks up at each advance.

    Args:
        shown: does the showing.
        look: called after each advance; what it raises ends the step.
    """

    def __init__(self, shown: Progress, look: Callable[[], None]) -> None:
        self._shown, self._look = shown, look

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Advance]:
        with self._shown.stage(name, total, unit) as shown:

            def advance(count: int) -> None:
                shown(count)
                self._look()

            yield advance


class TerminalProgress(Progress):
    """One transient bar on stderr per stage: name, bar, count, rate and time left."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Advance]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description:<22}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
        )
        import sys

        # What is printed meanwhile goes above the bar, through the bar's console, which is stderr: right only
        # where both are the same terminal.
        lines = sys.stdout.isatty()
        console = Console(stderr=True)
        with Bars(*columns, console=console, transient=True, expand=True, redirect_stdout=lines) as bars:
            task = bars.add_task(name, total=total, rate="")

            def advance(count: int) -> None:
                speed = bars.tasks[0].speed
                bars.update(task, advance=count, rate=f"{speed:,.0f} {unit}/s" if speed else "")

            yield advance


def for_stderr(wanted: bool = True) -> Progress:
    """Bars where stderr is a terminal and NO_COLOR is not set; silence elsewhere."""
    import os
    import sys

    if wanted and sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        return TerminalProgress()
    return Progress()
