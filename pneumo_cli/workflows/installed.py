"""The plugins of this process: discovered at the first use, with what was registered since (:func:`register`)."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType

from pneumo_cli.errors import PneumoError
from pneumo_cli.plugins.discovery import Plugins, discover

_lock = threading.RLock()
_found: list[Plugins] = []


def installed() -> Plugins:
    """Everything that is installed, and what this process registered. Registering more does not change it.

    Raises:
        PneumoError: called by a plugin's module while plugins are loaded.
    """
    if loading():
        raise PneumoError("plugins are still being loaded: pneumo's functions can be called afterwards")
    with _lock:
        if not _found:
            _found.append(discover())
        return _found[0]


def replace(change: Callable[[Plugins], Plugins]) -> None:
    """From now on, what is installed is what ``change`` makes of it."""
    with _lock:
        _found[:] = [change(installed())]


def loading() -> bool:
    """Whether this is called from a plugin that is being loaded."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_code is discover.__code__:
            return True
        frame = frame.f_back
    return False
