"""How many of the usable cores other processes keep busy, from two looks at the system's own counters.

No time is spent on measuring: a look takes a tenth of a millisecond, and the program's start, which takes seconds,
lies between two of them. The load average answers another question: what has waited over the last minute. Linux
only; elsewhere nothing is known, and all cores count as free.

Why it matters: threads that share a computation wait for each other many times in a step. One core that is taken by
another process makes a step many times slower, not twice: with one busy process on two cores, two threads train
the small CNN at a quarter of the speed of one thread.
"""

from __future__ import annotations

import os
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

_STAT = "/proc/stat"
# The columns of a core's line that count as busy: user, system, irq, softirq, steal. Not nice, whose processes
# hardly slow others; guests are in user.
_BUSY = (1, 3, 6, 7, 8)
_NICE = 2
_COUNTS_FROM = 0.7  # of a core, for it to count as busy: a start of another program in between is less
_SHORTEST = 0.3  # seconds between two looks: the counters go by hundredths
_SURE = 1.0  # seconds between two looks that find a core busy
_RECENT = 60.0  # seconds: what was before says little about a run that begins now


class Look(NamedTuple):
    """What the counters showed.

    Attributes:
        at: seconds of the monotonic clock.
        busy: seconds that the usable cores have been busy, with whatever.
        own: seconds of processor time of this process and of its children that have ended.
    """

    at: float
    busy: float
    own: float


class Choice(NamedTuple):
    """A number of threads.

    Attributes:
        threads: of each process.
        busy: cores that others keep busy.
        cores: that this process may run on.
        most: threads of each process if no core was busy.
    """

    threads: int
    busy: int
    cores: int
    most: int

    @property
    def threads_text(self) -> str:
        """Such as ``1 thread``."""
        return f"{self.threads} thread{'' if self.threads == 1 else 's'}"

    @property
    def text(self) -> str:
        """One line that says it, such as ``one of 2 cores is busy: 1 thread; --threads 2 takes all``."""
        busy = "one" if self.busy == 1 else str(self.busy)
        verb = "is" if self.busy == 1 else "are"
        return (
            f"{busy} of {self.cores} cores {verb} busy: {self.threads_text}; --threads {self.most} takes all"
        )


_looks: deque[Look] = deque(maxlen=16)
if hasattr(os, "register_at_fork"):
    # Of the parent's looks a child would take the parent's own work for that of others.
    os.register_at_fork(after_in_child=_looks.clear)


def look() -> None:
    """Read the counters now, for a later :func:`busy_cores`."""
    found = counters()
    if found is not None:
        _looks.append(found)


def busy_cores(*, since_last: bool = False) -> float:
    """Cores' worth of the usable ones that other processes keep busy, since the earliest look of the last minute.

    Without such a look, as in a notebook that has been idle, this takes 0.3 s, and where cores seem to be busy a
    second, so that a moment's work of another program does not count. 0 where nothing is known.

    Args:
        since_last: since the latest look instead.
    """
    now = counters()
    if now is None:
        return 0.0
    recent = [one for one in _looks if now.at - one.at < _RECENT] or [now]
    first, busy = recent[-1 if since_last else 0], 0.0
    for seconds in (_SHORTEST, _SURE):
        time.sleep(max(0.0, seconds - (time.monotonic() - first.at)))
        now = counters() or now
        busy = others(first, now)
        if busy < _COUNTS_FROM:
            break
    _looks.append(now)
    return busy


def others(first: Look, last: Look) -> float:
    """The same between two looks, the second one later."""
    return max(0.0, (last.busy - first.busy) - (last.own - first.own)) / max(last.at - first.at, 0.01)


def choice(busy: float, cores: int, usable: int, processes: int = 1) -> Choice:
    """The threads of each process of a run: of the free cores the share of each, at least one thread.

    Args:
        busy: see :func:`busy_cores`.
        cores: that the processes may run on.
        usable: how many of them they may use at once; fewer under a container's quota.
        processes: that share the run.
    """
    taken = min(cores, int(busy + 1 - _COUNTS_FROM))
    return Choice(max(1, min(usable, cores - taken) // processes), taken, cores, max(1, usable // processes))


def busy_seconds(stat: str, cores: set[int], *, nice: bool = False, ticks: int = 100) -> float | None:
    """Seconds that some cores have been busy, from the text of ``/proc/stat``; None if it names none of them.

    Args:
        nice: whether processes of lowered priority count, too, as they do for one of them.
        ticks: units of the counters per second.
    """
    columns = (*_BUSY, _NICE) if nice else _BUSY
    total, found = 0, False
    for line in stat.splitlines():
        name, *_ = words = line.split()[:9] or [""]
        if not name.startswith("cpu"):
            break  # the lines of the cores come first
        if name[3:].isdecimal() and int(name[3:]) in cores and all(word.isdecimal() for word in words[1:]):
            total += sum(int(words[column]) for column in columns if column < len(words))
            found = True
    return total / ticks if found else None


def counters(*, nice: bool = False) -> Look | None:
    """What the counters show now; None where there are none.

    Args:
        nice: count processes of lowered priority, too, as for one of them is always done.
    """
    try:
        stat = Path(_STAT).read_text(encoding="ascii", errors="replace")
        cores, nice = os.sched_getaffinity(0), nice or os.getpriority(os.PRIO_PROCESS, 0) > 0
        busy = busy_seconds(stat, cores, nice=nice, ticks=os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, AttributeError):
        return None
    return None if busy is None else Look(time.monotonic(), busy, sum(os.times()[:4]))
