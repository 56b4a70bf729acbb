"""Carrying out work so that Ctrl-C stops and saves it, without a signal handler, and beside other work.

The work runs in a thread of its own while the caller waits. Ctrl-C reaches the caller, as KeyboardInterrupt, and is
passed on as a request to stop, which the work meets between two steps. There, too, works of several threads take
turns (:mod:`pneumo_cli.runtime.turns`).
"""

from __future__ import annotations

import contextvars
import logging
import signal
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from pneumo_cli.errors import Interrupted
from pneumo_cli.runtime.progress import Progress, WatchedProgress
from pneumo_cli.runtime.signals import Interruption, callers_interruption, interruptible
from pneumo_cli.runtime.turns import turns

Result = TypeVar("Result")

_log = logging.getLogger("pneumo")
_POLL = 0.5  # seconds; where a wait for a thread cannot be interrupted, Ctrl-C is noticed in between


def carried_out(work: Callable[[], Result]) -> Result:
    """The result of ``work()``, which Ctrl-C stops in good order.

    Observers and all else that the work calls are called in its thread. Within other such work (an observer that
    evaluates a run, a dataset whose images are read by pneumo's threads) it is a plain call. A thread that an
    observer starts itself is other work, and waits for its turn. An observer that waits for such a thread would
    wait for ever: the thread must not call pneumo, unless it has the observer's context (``copy_context().run``).

    A second Ctrl-C is for work that never comes to a point where it can stop: the caller waits no longer. The
    thread goes on to the next such point, if there is one, and says where it stopped.

    Raises:
        Interrupted: by Ctrl-C.
        KeyboardInterrupt: by a second Ctrl-C.
        BaseException: what the work raises.
    """
    if callers_interruption() is not None:
        with turns.taken():
            return work()
    thread = _Thread(work)
    try:
        thread.start()
        thread.wait()
    except KeyboardInterrupt:
        thread.request.number = signal.SIGINT
        try:
            thread.wait()
        except KeyboardInterrupt:
            thread.abandoned = True
            raise
    return thread.outcome()


class _Thread(Generic[Result]):
    """Work in a thread of its own. ``Thread.join`` is not used: after Ctrl-C it takes a thread for ended."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self.request = Interruption()
        self.abandoned = False
        self._work = work
        self._results: list[Result] = []
        self._errors: list[BaseException] = []
        self._ended = threading.Event()
        # With the caller's context, by which a notebook knows the cell that an output belongs to.
        run, context = self._run, contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(run,), name="pneumo", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wait(self) -> None:
        while not self._ended.wait(_POLL):
            pass

    def outcome(self) -> Result:
        """What the work returned; raises what it raised."""
        if self._errors:
            raise self._errors.pop()
        if self.request.number:  # the caller is not to go on as if nothing had happened
            raise Interrupted("interrupted when the work was done: its results are kept", 128 + signal.SIGINT)
        return self._results.pop()

    def _run(self) -> None:
        request = self.request
        try:
            with interruptible(request), turns.taken(lambda: request.number) as begun:
                if not begun:
                    raise Interrupted("interrupted", 128 + request.number)
                self._results.append(self._work())
        except BaseException as error:
            if self.abandoned:
                _log.warning("%s", error)
            self._errors.append(error)
        finally:
            self._ended.set()


def stoppable(progress: Progress) -> Progress:
    """A progress for work that is carried out: at each advance, others have their turn, and Ctrl-C is noticed.

    Long steps before and after the training, such as decoding, end there. The training checks itself, as it saves.
    """

    def check() -> None:
        turns.pass_on()
        request = callers_interruption()
        if request is not None and request.number and not request.awaited:
            raise Interrupted("interrupted", 128 + request.number)

    return WatchedProgress(progress, check)
