"""Errors in the code of plugins, named: which plugin, of which distribution and version, in which hook, where."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from pneumo_cli.errors import PneumoError, UnreadableImage, is_out_of_memory, with_type


def passes(error: BaseException) -> bool:
    """Whether an error says itself what is wrong, and is shown as it is."""
    known = isinstance(error, PneumoError) and not isinstance(error, UnreadableImage)  # of which image?
    return known or is_out_of_memory(error)


def failure(who: str, hook: str, error: BaseException, owner: object) -> PneumoError:
    """An error that names the plugin whose code raised another one.

    Args:
        who: the plugin, such as ``extension sam (pneumo-sam 0.1)``.
        owner: the object or module whose code it is.
    """
    text = with_type(error).removesuffix(": no message")
    place = _place(error, owner)
    where = f"{place}; " if place else ""
    return PneumoError(f"{who} failed in {hook}: {text} ({where}PNEUMO_DEBUG=1 shows the traceback)")


def _place(error: BaseException, owner: object) -> str:
    """The last line of the owner's own files that the error came through; empty if there is none."""
    classes = type(owner).__mro__ if not hasattr(owner, "__file__") else ()
    modules = {name for one in classes if (name := one.__module__).partition(".")[0] != "pneumo_cli"}
    files = {getattr(sys.modules.get(name), "__file__", None) for name in modules}
    files.add(getattr(owner, "__file__", None))
    for frame, line in reversed(list(traceback.walk_tb(error.__traceback__))):
        if frame.f_code.co_filename in files:
            return f"{Path(frame.f_code.co_filename).name}, line {line}"
    return ""
