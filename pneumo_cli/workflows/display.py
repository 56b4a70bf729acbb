"""Where a function shows its progress: in a notebook a live table, in a terminal bars and lines, in a log lines."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Self

from pneumo_cli.runtime.progress import NOTICE, Progress, for_stderr
from pneumo_cli.runtime.terminal import print_message
from pneumo_cli.workflows.notebook_view import NotebookView

_log = logging.getLogger("pneumo")


class Shown:
    """How the progress of one call is shown. The work is carried out within it, as a context.

    Args:
        progress: of long steps.
        console: whether runs print their lines on stderr.
        view: what a notebook shows; None: this is none.
        say: shows a message: a warning, or what is good to know.

    Attributes:
        observers: objects that show a run's epochs.
    """

    def __init__(
        self,
        progress: Progress,
        *,
        console: bool = False,
        view: NotebookView | None = None,
        say: Callable[[str], object] = lambda message: None,
    ) -> None:
        self.progress, self.console = progress, console
        self.observers: tuple[object, ...] = () if view is None else (view,)
        self._view = view
        self._messages = _Messages(say)

    def __enter__(self) -> Self:
        self._token = _call.set(self._messages)
        self._messages.attach()
        return self

    def __exit__(self, *error: object) -> None:
        self._messages.detach()
        _call.reset(self._token)
        if self._view is not None:
            self._view.close()


def progress_for(wanted: bool | None) -> Shown:
    """What suits the surroundings; False: nothing, neither on stdout nor on stderr."""
    if wanted is False:
        return Shown(Progress())
    if in_notebook():
        view = NotebookView()
        return Shown(view, view=view, say=view.say)
    if sys.stderr is None:  # a program without a console; print() would take stdout
        return Shown(Progress())
    return Shown(for_stderr(), console=True, say=_print)


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. IPython is not imported for it."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return any(cls.__name__ == "ZMQInteractiveShell" for cls in type(shell).__mro__)


def _print(message: str) -> None:
    if not logging.getLogger().handlers:  # else the program shows messages itself
        print_message(message)


class _Messages(logging.Handler):
    """Passes the messages of one call on; of calls in several threads each has its own."""

    _level_before = logging.NOTSET  # of pneumo's logger
    _attaching = threading.Lock()

    def __init__(self, say: Callable[[str], object]) -> None:
        super().__init__(NOTICE)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        if _call.get() is self:
            self._say(record.getMessage())

    def attach(self) -> None:
        with _Messages._attaching:
            if not _attached():
                _Messages._level_before = _log.level
                if _log.level == logging.NOTSET:  # then it is the root's, which knows no notices
                    _log.setLevel(NOTICE)
            _log.addHandler(self)

    def detach(self) -> None:
        with _Messages._attaching:
            _log.removeHandler(self)
            if not _attached():
                _log.setLevel(_Messages._level_before)


def _attached() -> bool:
    return any(isinstance(handler, _Messages) for handler in _log.handlers)


_call: ContextVar[_Messages | None] = ContextVar("call", default=None)
