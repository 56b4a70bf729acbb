"""Long work, one piece after another, in a thread that neither other pages nor the end of the program wait for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
_at_work: set[Worker] = set()


def at_work() -> bool:
    """Whether any worker is in the midst of a piece of work."""
    return bool(_at_work)


class Worker:
    """A thread of its own. What waits for its turn holds no thread: those of the pool answer the other pages.

    Args:
        name: of the thread.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]]] = SimpleQueue()
        self._thread: threading.Thread | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """The result of ``work``, when it is its turn; what is cancelled until then is not begun."""
        if self._thread is None:
            # The threads of executors are waited for at the end of the program, however long they take.
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()
        future: Future[T] = Future()
        self._queue.put((future, work))
        return await asyncio.wrap_future(future)

    def _run(self) -> None:
        while True:
            future, work = self._queue.get()
            if not future.set_running_or_notify_cancel():
                continue
            _at_work.add(self)
            try:
                future.set_result(work())
            except BaseException as error:
                future.set_exception(error)
            finally:
                _at_work.discard(self)
            del future, work  # an image, until the next one comes
