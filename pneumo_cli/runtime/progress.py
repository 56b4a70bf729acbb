"""Progress of long steps: a null object for libraries and tests, rich bars for a terminal.

Long steps receive a :class:`Progress` and open a *stage*, whether or not anything is shown.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]

_REDRAWN = 0.1  # seconds

NOTICE = 25
"""Log level of messages that are shown on a terminal although nothing is wrong."""


class Progress:
    """Shows nothing; base class of those that do."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Advance]:
        """Open a step of ``total`` ``unit``; the yielded function takes the number of units just completed."""
        yield lambda count: None


class WatchedProgress(Progress):
    """Wraps another progress and calls back after each advance.

    Args:
        progress: shows the stages.
        callback: called after each advance; an exception from it ends the step.
    """

    def __init__(self, progress: Progress, callback: Callable[[], None]) -> None:
        self._progress, self._callback = progress, callback

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Advance]:
        with self._progress.stage(name, total, unit) as show:

            def advance(count: int) -> None:
                show(count)
                self._callback()

            yield advance


class TerminalProgress(Progress):
    """One transient bar on stderr per stage: name, bar, count, rate and time left.

    One at a time: of several runs in threads, those that come later show none.
    """

    _showing = threading.Lock()

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "images") -> Iterator[Advance]:
        if not self._showing.acquire(blocking=False):
            yield lambda count: None
            return
        try:
            with self._bar(name, total, unit) as advance:
                yield advance
        finally:
            self._showing.release()

    @contextmanager
    def _bar(self, name: str, total: int, unit: str) -> Iterator[Advance]:
        import sys

        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        from pneumo_cli.runtime.streams import is_terminal, printable

        columns = (
            TextColumn("{task.description:<22}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}", markup=False),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
        )
        # With redirection, printed lines go above the bar through its console, which is stderr: right only where
        # stdout is the terminal, too.
        redirect, console = is_terminal(sys.stdout), Console(stderr=True)
        with Bars(*columns, console=console, transient=True, expand=True, redirect_stdout=redirect) as bars:
            task = bars.add_task(printable(name), total=total, rate="")
            done, shown_at = 0, -math.inf

            def advance(count: int) -> None:
                # An update takes longer than a small training step may, and the bar is drawn ten times a second.
                nonlocal done, shown_at
                done += count
                now = time.monotonic()
                if now - shown_at < _REDRAWN and done < total:
                    return
                shown_at = now
                speed = bars.tasks[0].speed
                bars.update(task, completed=done, rate=f"{speed:,.0f} {unit}/s" if speed else "")

            yield advance


def for_stderr(wanted: bool = True) -> Progress:
    """Progress bars where stderr is a terminal and NO_COLOR is not set; nothing elsewhere."""
    import os
    import sys

    from pneumo_cli.runtime.streams import is_terminal

    if (
        wanted
        and is_terminal(sys.stderr)
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    ):
        return TerminalProgress()
    return Progress()
