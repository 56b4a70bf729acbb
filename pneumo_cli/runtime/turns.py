"""Turns: several runs in threads of one process compute one after the other, a step at a time.

Random generators, the number of threads and switches such as determinism belong to the whole process. Whoever has
the turn has them to itself; when it gives the turn away, between two steps, they are kept and put back. So a run
beside others has the numbers that it has alone. What the calling program had set is as it was afterwards.

Threads that work for a run, as those that read its images, have its context. They compute in its turn: the run may
be waiting for them. The threads of a program's own take no turns: what they set or draw while a run goes on, the
run gets, too.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

from pneumo_cli.errors import with_type
from pneumo_cli.runtime.signals import callers_interruption

_log = logging.getLogger("pneumo")

_POLL = 0.1  # seconds between two looks whether to stop waiting
_PATIENCE = 30.0  # seconds of waiting that are worth a line

PutBack = Callable[[], None]

_backends: Any = torch.backends  # torch does not declare all of them


def _attribute(place: Any, name: str) -> tuple[Callable[[], Any], Callable[[Any], object]]:
    return partial(getattr, place, name), partial(setattr, place, name)


# How each is read and written. Of the precisions the general ones come first, as others may follow them.
_SWITCHES: tuple[tuple[Callable[[], Any], Callable[[Any], object]], ...] = (
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    # Older names of the same as below. torch refuses to read them where a program has used the newer ones.
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    _attribute(_backends.cuda.matmul, "allow_tf32"),
    _attribute(_backends.cudnn, "allow_tf32"),
    *(
        _attribute(place, "fp32_precision")
        for place in (
            *(_backends, _backends.cudnn, _backends.mkldnn),
            *(_backends.cuda.matmul, _backends.cudnn.conv, _backends.cudnn.rnn),
            *(_backends.mkldnn.matmul, _backends.mkldnn.conv, _backends.mkldnn.rnn),
        )
    ),
    *(_attribute(_backends.cudnn, name) for name in ("enabled", "benchmark", "deterministic")),
)


def kept_state() -> PutBack:
    """Keep what belongs to the whole process and runs change; return a function that puts it back.

    These are the generators of Python, NumPy and torch (of all devices), what :func:`kept_switches` keeps, and the
    filters of warnings.
    """
    steps: list[PutBack] = [
        partial(random.setstate, random.getstate()),
        partial(np.random.set_state, np.random.get_state(legacy=False)),
        partial(torch.set_rng_state, torch.get_rng_state()),
    ]
    if torch.cuda.is_initialized():
        steps.append(partial(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    else:  # as torch.manual_seed does it, also if there are devices by then
        steps.append(partial(torch.cuda.manual_seed_all, torch.initial_seed()))
    if torch.xpu.is_initialized():
        steps.append(partial(torch.xpu.set_rng_state_all, torch.xpu.get_rng_state_all()))
    elif torch.xpu.is_available():
        steps.append(partial(torch.xpu.manual_seed_all, torch.initial_seed()))
    if torch.backends.mps.is_available():
        steps.append(partial(torch.mps.set_rng_state, torch.mps.get_rng_state()))
    filters = partial(_set_filters, list(warnings.filters))
    return partial(_carry_out, (*steps, *_kept_switches(), filters))


def kept_switches() -> PutBack:
    """Keep the number of threads, and torch's switches for determinism, precision and the default dtype."""
    return partial(_carry_out, _kept_switches())


def _kept_switches() -> tuple[PutBack, ...]:
    return (
        partial(torch.set_num_threads, torch.get_num_threads()),
        partial(torch.set_default_dtype, torch.get_default_dtype()),
        *(partial(_switch, read, write, _readable(read)) for read, write in _SWITCHES),
    )


def _switch(read: Callable[[], Any], write: Callable[[Any], object], value: Any) -> None:
    if value is not None and _readable(read) != value:
        write(value)


def _readable(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except RuntimeError:
        return None


def _set_filters(filters: list[Any]) -> None:
    if list(warnings.filters) != filters:
        warnings.resetwarnings()  # so that what Python has cached of them is dropped
        warnings.filters.extend(filters)  # type: ignore[attr-defined]


def _carry_out(steps: Iterable[PutBack]) -> None:
    """All of them: one that fails, as with a GPU that has failed, does not keep the others from being put back."""
    failed = ""
    for step in steps:
        try:
            step()
        except Exception as error:
            failed = failed or with_type(error)
    if failed:
        _log.warning("random generators or switches of torch are not as they were before: %s", failed)


class _Place:
    """Work that computes or waits.

    Attributes:
        host: the work that it is part of, and in whose turn it computes, in another thread; None: it has its own.
        guests: how many such works compute in its turn.
        before_guests: puts back what they change.
    """

    def __init__(self) -> None:
        self.thread, self.caller = threading.get_ident(), callers_interruption()
        self.called = threading.Event()
        self.host: _Place | None = None
        self.guests = 0
        self.before_guests: PutBack = lambda: None

    def works_for(self, other: _Place) -> bool:
        return self.caller is not None and self.caller is other.caller


class Turns:
    """The turns of a process, given in the order in which they were asked for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[_Place] = deque()
        self._holder: _Place | None = None
        self._program: PutBack = lambda: None

    @contextmanager
    def taken(self, stopped: Callable[[], object] = lambda: False) -> Iterator[bool]:
        """Within it, this thread has the turn, and begins with what the calling program had set.

        Within another one of the same thread, or of one that this thread works for: what that one had set, which is
        put back afterwards.

        Args:
            stopped: whether the wait for the turn is to end.

        Yields:
            whether the turn was given; else ``stopped`` was true before.
        """
        holder = self._holder
        if holder is not None and holder.thread == threading.get_ident():
            put_back = kept_state()
            try:
                yield True
            finally:
                put_back()
            return
        own = _Place()
        try:
            yield self._take(own, stopped)
        finally:
            self._give_back(own)

    def pass_on(self) -> None:
        """Give the turn away, if this thread has it and others wait; return when it is this thread's again.

        Not while other threads compute in its turn, too.
        """
        holder = self._holder
        if not self._waiting or holder is None or holder.thread != threading.get_ident():
            return
        with self._lock:
            if not self._waiting or holder.guests:
                return
            put_back = kept_state()
            holder.called.clear()
            self._waiting.append(holder)
            self._call_next()
        holder.called.wait()
        put_back()

    def _take(self, own: _Place, stopped: Callable[[], object]) -> bool:
        """Wait for the turn; return whether it was given."""
        with self._lock:
            free = self._holder is None
            if free:
                self._program = kept_state()
                self._holder = own
            else:
                self._waiting.append(own)
        began, said = time.monotonic(), False
        while not free:
            ended = stopped()
            with self._lock:
                if self._holder is own:
                    break
                host = self._holder
                if host is not None and own.works_for(host):
                    self._waiting.remove(own)
                    if not host.guests:
                        host.before_guests = kept_state()
                    host.guests += 1
                    own.host = host
                    return True
                if ended:
                    self._waiting.remove(own)
                    return False
            if not said and time.monotonic() - began > _PATIENCE:
                said = True
                _log.warning(
                    "waiting for other work of pneumo in this process, which has not paused for 30 s"
                )
            own.called.wait(_POLL)
        if not free:
            self._program()
        torch.set_default_dtype(torch.float32)  # weights of another dtype would be another model
        return True

    def _give_back(self, own: _Place) -> None:
        """Leave, from wherever ``own`` is."""
        with self._lock:
            host = own.host
            if host is not None:
                host.guests -= 1
                if not host.guests and host is self._holder:
                    host.before_guests()
            elif own in self._waiting:
                self._waiting.remove(own)
            elif self._holder is own and self._waiting:
                self._call_next()
            elif self._holder is own:
                try:
                    self._program()
                finally:
                    self._program = lambda: None
                    self._holder = None

    def _call_next(self) -> None:
        self._holder = self._waiting.popleft()
        self._holder.called.set()


turns = Turns()
"""Those of this process."""
