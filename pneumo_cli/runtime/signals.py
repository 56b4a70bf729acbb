"""Signals that end a run in an orderly way: Ctrl-C, SIGTERM, a closed terminal.

The first signal is noted and the loop, which asks at every step, saves and stops. A second Ctrl-C ends the
process at once.
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
        number: the signal's number; 0 while there was none.
    """

    number = 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = number


@contextmanager
def interruption() -> Iterator[Interruption]:
    """Note signals instead of dying of them, while the block runs."""
    noted = Interruption()
    before: dict[int, Any] = {}
    try:
        for number in _SIGNALS:
            try:
                before[number] = signal.signal(number, noted._note)
            except ValueError:  # only the main thread can take signals
                break
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
