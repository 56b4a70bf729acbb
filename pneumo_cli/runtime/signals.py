"""Orderly interruption: by a signal (Ctrl-C, SIGTERM, a closed terminal), or by the program that called.

The training loop checks for it at every step, saves and stops. On the command line signals are recorded here, and a
second Ctrl-C ends the process at once. Where pneumo is called as a library, no handler is installed: the caller's
own :class:`Interruption` is used (:func:`interruptible`).
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interruption:
    """The signal that was received, if any.

    Attributes:
        number: number of the signal; 0: none so far.
        awaited: whether somebody checks for it, who will save and stop.
    """

    number = 0
    awaited = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


_callers: ContextVar[Interruption | None] = ContextVar("interruption", default=None)


@contextmanager
def interruptible(by: Interruption) -> Iterator[None]:
    """Within it, work is stopped by the caller, who sets ``by.number``, and no signal handler is installed."""
    token = _callers.set(by)
    try:
        yield
    finally:
        _callers.reset(token)


def callers_interruption() -> Interruption | None:
    """The interruption by which a calling program may stop this work; None: signals stop it."""
    return _callers.get()


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Record signals instead of ending the process, while the block runs; or use the caller's interruption."""
    received = _callers.get()
    if received is not None:
        outer, received.awaited = received.awaited, True
        try:
            yield received
        finally:
            received.awaited = outer
        return
    received = Interruption()
    previous: dict[int, Any] = {}
    try:
        for number in _SIGNALS:
            try:
                previous[number] = signal.signal(number, received._handle)
            except ValueError:  # only the main thread can handle signals
                break
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
