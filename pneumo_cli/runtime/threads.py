"""Threads for work that releases the interpreter lock: reading, hashing, decoding.

Not processes: Pillow, hashlib and NumPy run in parallel in threads, which need no pickling, no start-up time and no
cleaning up after a crash.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import TypeVar

_limit: ContextVar[int] = ContextVar("threads", default=0)
_QUOTAS = (
    ("/sys/fs/cgroup/cpu.max",),
    ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
)
Item = TypeVar("Item")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Number of cores that this process may use; in containers often fewer than the machine has."""
    cores = affine_cores()
    quota = _quota()
    return cores if quota is None else max(1, min(cores, quota))


def affine_cores() -> int:
    """Number of cores that this process may run on, whatever share of their time a container has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> int | None:
    """Whole cores' worth of time that the container has, by the files of cgroups v2 or v1; None: no limit."""
    for files in _QUOTAS:
        try:
            quota, period = " ".join(Path(file).read_text() for file in files).split()
            # "max" (v2) and -1 (v1) are no quota.
            return int(quota) // int(period) if int(quota) > 0 and int(period) > 0 else None
        except (OSError, ValueError):
            continue
    return None


def limit_threads(wanted: int) -> None:
    """Let :func:`ordered_map` use at most this many threads, in this context; 0: one per usable core."""
    _limit.set(wanted)


def ordered_map(function: Callable[[Item], Result], items: Iterable[Item]) -> Generator[Result, None, None]:
    """Yield ``function(item)`` in the order of ``items``, computed ahead in threads.

    Only a few results are held at a time. An exception of ``function`` is raised in place of its result. When the
    iterator is closed or anything is raised, items that have not been started are dropped; close it
    (``contextlib.closing``) where the consumer may stop early. The threads have the caller's context, so that what
    they log belongs to the run that they work for, and what they call of pneumo computes in its turn.
    """
    workers = _limit.get() or usable_cores()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="pneumo-data")
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(copy_context().run, function, item))
            if len(pending) >= 8 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
