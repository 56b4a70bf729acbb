"""Orderly interruption by a signal: Ctrl-C, SIGTERM, a closed terminal.

The first signal is recorded; the training loop checks for it at every step, saves and stops. A second Ctrl-C ends
the process at once.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Interruption:
    """The signal that was received, if any.

    Attributes:
        number: number of the signal; 0: none so far.
    """

    number = 0

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Record signals instead of ending the process, while the block runs."""
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
