"""Work that holds the interpreter's lock, such as drawing, on several cores: copies of this process share it.

Only where a copy is safe: on Linux, and while no other thread runs that could hold a lock in it. Elsewhere, and
where a copy fails, the work is done here.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any, Generic, TypeVar

T = TypeVar("T")

_MOST = 4
"""Processes: each costs some milliseconds, and the memory of what it changes."""
_PATIENCE = 30.0
"""Seconds that a copy has for its last piece after nothing else is left; it may hang in a library's lock."""
_GRACE = 1.0
"""Seconds that a copy has to remove a half-written file."""
_PLACE = struct.Struct("<H")
_PIPE = 4096 // _PLACE.size
"""Places that the smallest pipe holds."""


@dataclass(frozen=True)
class _Copy:
    process: int
    results: IO[bytes]


def _as_it_is(piece: Callable[[], T]) -> T:
    return piece()


class SideBySide(Generic[T]):
    """Does independent pieces of work in this process and in copies of it, which end with the context manager.

    Each piece is taken by the process that is free first. One that raises in a copy, or whose result cannot be
    pickled, is done again here; so errors, and what a failed piece says of itself, are those of this process.

    Args:
        pieces: each returns a result; effects on objects in memory are lost where a copy does it.
        processes: at most so many, this one included.
        here: does a piece in this process; by default it is called and may raise.
    """

    def __init__(
        self,
        pieces: Sequence[Callable[[], T]],
        processes: int,
        here: Callable[[Callable[[], T]], T] = _as_it_is,
    ) -> None:
        self._pieces, self._here = pieces, here
        self._copies: list[_Copy] = []
        self._places = -1
        alone = not _may_fork() or len(pieces) > _PIPE
        self._wanted = 0 if alone else min(processes, _MOST, len(pieces) // 2) - 1

    def __enter__(self) -> SideBySide[T]:
        if self._wanted > 0:
            with contextlib.suppress(OSError):  # no process or file left: this process does the work
                self._share()
        return self

    def __exit__(self, *error: object) -> None:
        if self._places >= 0:
            os.close(self._places)
        for copy in self._copies:
            _end(copy.process, 0.0)
            copy.results.close()

    def _share(self) -> None:
        """Make the copies, which begin with their work."""
        self._places, into = os.pipe()
        os.write(into, b"".join(_PLACE.pack(place) for place in range(len(self._pieces))))
        os.close(into)
        for stream in (sys.stdout, sys.stderr):  # or a copy would write what is buffered once more
            with contextlib.suppress(Exception):
                stream.flush()
        # A signal handler that raises would in a copy go on with the program, and here forget a copy.
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
        try:
            try:
                while len(self._copies) < self._wanted:
                    self._copies.append(self._copied(held))
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, held)
        except OSError:
            raise
        except BaseException:
            self.__exit__()
            raise

    def results(self, advance: Callable[[int], None] = lambda count: None) -> list[T]:
        """The results in the order of the pieces; call it once.

        Args:
            advance: called with the number of pieces that have just been done; may raise to stop the work.
        """
        done: dict[int, T] = {}

        def do(place: int) -> None:
            done[place] = self._here(self._pieces[place])
            advance(1)

        for place in self._taken():
            do(place)
        for copy in self._copies:
            _end(copy.process, _PATIENCE, lambda: advance(0))
            found = _read(copy.results)
            done |= found
            advance(len(found))
        for place in range(len(self._pieces)):
            if place not in done:  # all of them, where there are no copies
                do(place)
        return [done[place] for place in range(len(self._pieces))]

    def _taken(self) -> Iterator[int]:
        """Places that no process has taken yet, one at a time."""
        while self._places >= 0 and (place := os.read(self._places, _PLACE.size)):
            yield _PLACE.unpack(place)[0]

    def _copied(self, held: set[int | signal.Signals]) -> _Copy:
        results = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: those of torch wait for work
            process = os.fork()
        if process:
            return _Copy(process, results)
        try:
            try:
                _calm(held)
                for place in self._taken():
                    with contextlib.suppress(Exception):
                        # Not dump: of a result that cannot be pickled it would leave a part before the next one.
                        results.write(pickle.dumps((place, self._pieces[place]())))
                        results.flush()
            finally:
                signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
                for stream in (sys.stdout, sys.stderr):
                    with contextlib.suppress(Exception):
                        stream.flush()
        finally:
            os._exit(0)


def _may_fork() -> bool:
    return sys.platform == "linux" and threading.active_count() == 1


def _calm(held: set[int | signal.Signals]) -> None:
    """In a copy: leave Ctrl-C to the original, and use one thread, as others' threads were not copied."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a half-written file is removed
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


def _end(process: int, patience: float, meanwhile: Callable[[], None] = lambda: None) -> None:
    """Wait for a copy, kill it when the time is over, and make it no zombie."""
    with contextlib.suppress(ChildProcessError):  # ended, and known to be
        for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, _GRACE)):
            ends = time.monotonic() + seconds
            while not os.waitpid(process, os.WNOHANG)[0]:
                if time.monotonic() >= ends:
                    break
                meanwhile()
                time.sleep(0.002)
            else:
                return
            os.kill(process, number)
        os.waitpid(process, 0)


def _read(stream: IO[bytes]) -> dict[int, Any]:
    """The results that a copy has written whole."""
    found: dict[int, Any] = {}
    stream.seek(0)
    with contextlib.suppress(Exception):
        while True:
            place, result = pickle.load(stream)  # noqa: S301 - written by a copy of this process
            found[place] = result
    return found
