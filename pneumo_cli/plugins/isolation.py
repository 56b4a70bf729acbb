"""Hooks called through pluggy, with one implementation's failure kept from the others.

Order, ``tryfirst`` and ``trylast``, wrappers, ``specname`` and ``firstresult`` are pluggy's: each implementation is
only replaced, for the call, by one that catches. (conda's plugin manager tags its results in the same place.)
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pluggy

from pneumo_cli.plugins.hookspecs import HOOKS

PROJECT = "pneumo"
"""The project name of hook markers, and the group of entry points."""


@dataclass(frozen=True)
class Guard:
    """What is done about one implementation at a time, while a hook is called.

    Attributes:
        failed: told of an implementation that raised, the hook, and the error; the call goes on without it.
        spares: which implementations are to raise as if nobody caught; none.
        skips: which are left out; none.
        prepare: makes the arguments that a plain implementation gets; as the caller gave them.
        received: checks or changes what one returned, and may raise; a wrapper's too.
        passed: errors that are an answer, and reach the caller.
        caught: the errors that are caught; Ctrl-C never is.
    """

    failed: Callable[[pluggy.HookImpl, str, BaseException], None]
    spares: Callable[[pluggy.HookImpl], bool] = lambda implementation: False
    skips: Callable[[pluggy.HookImpl], bool] = lambda implementation: False
    prepare: Callable[[pluggy.HookImpl, Sequence[Any]], Sequence[Any]] = lambda implementation, given: given
    received: Callable[[pluggy.HookImpl, Any], Any] = lambda implementation, value: value
    passed: tuple[type[BaseException], ...] = ()
    caught: type[BaseException] = Exception

    def around(self, hook: str, implementation: pluggy.HookImpl) -> pluggy.HookImpl:
        """An implementation like the given one, that this guard watches over."""
        wraps = implementation.wrapper or implementation.hookwrapper
        function = self._wrapper(hook, implementation) if wraps else self._plain(hook, implementation)
        return cast(pluggy.HookImpl, _Guarded(implementation, function, wraps))

    def _handle(self, hook: str, implementation: pluggy.HookImpl, error: BaseException) -> None:
        """Tell of an error, or raise it where it is not to be caught."""
        if (
            isinstance(error, (KeyboardInterrupt, *self.passed))
            or not isinstance(error, self.caught)
            or self.spares(implementation)
        ):
            raise error
        self.failed(implementation, hook, error)

    def _plain(self, hook: str, implementation: pluggy.HookImpl) -> Callable[..., Any]:
        def guarded(*arguments: Any, **defaulted: Any) -> Any:
            if self.skips(implementation):
                return None
            try:
                returned = implementation.function(*self.prepare(implementation, arguments), **defaulted)
                return self.received(implementation, returned)
            except BaseException as error:
                self._handle(hook, implementation, error)
                return None

        return guarded

    def _wrapper(self, hook: str, implementation: pluggy.HookImpl) -> Callable[..., Any]:
        """A wrapper of the new style; where the guarded one fails, the inner result stays what it is."""

        def guarded(*arguments: Any, **defaulted: Any) -> Generator[None, Any, Any]:
            running: Any = None
            if not self.skips(implementation):
                try:
                    running = implementation.function(*arguments, **defaulted)
                    next(running)
                except BaseException as error:
                    running = None
                    if isinstance(error, StopIteration):
                        error = RuntimeError("a wrapper has to yield once")
                    self._handle(hook, implementation, error)
            if running is None:
                return (yield)
            try:
                outcome = pluggy.Result((yield), None)
            except BaseException as error:
                outcome = pluggy.Result(None, error)
            try:
                return self.received(implementation, _finish(running, outcome, implementation.hookwrapper))
            except BaseException as error:
                if error is outcome.exception:
                    raise
                self._handle(hook, implementation, error)
                return outcome.get_result()

        return guarded


class _Guarded:
    """What pluggy asks of an implementation, with another function behind it."""

    def __init__(self, implementation: pluggy.HookImpl, function: Callable[..., Any], wrapper: bool) -> None:
        self._implementation = implementation
        self.function = function
        self.wrapper = wrapper
        self.hookwrapper = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._implementation, name)


def _finish(running: Generator[None, Any, Any], outcome: pluggy.Result[Any], old_style: bool) -> Any:
    """Hand the inner outcome to a wrapper that has yielded, and return what it makes of it."""
    try:
        if old_style:
            running.send(outcome)
        elif outcome.exception is not None:
            running.throw(outcome.exception)
        else:
            running.send(outcome.get_result())
    except StopIteration as end:
        return outcome.get_result() if old_style else end.value
    running.close()
    raise RuntimeError("a wrapper has to yield once, not twice")


class HookManager(pluggy.PluginManager):
    """Knows every hook of pneumo, and calls those of :meth:`guarding` one guarded implementation at a time."""

    def __init__(self) -> None:
        super().__init__(PROJECT)
        for specs in HOOKS:
            self.add_hookspecs(specs)
        self._guard: Guard | None = None

    def call(self, hook: str, guard: Guard, arguments: Mapping[str, Any]) -> Any:
        """Call a hook with a guard around each of its implementations; returns what pluggy returns."""
        outer, self._guard = self._guard, guard
        try:
            return getattr(self.hook, hook)(**arguments)
        finally:
            self._guard = outer

    def _hookexec(
        self,
        hook_name: str,
        methods: Sequence[pluggy.HookImpl],
        kwargs: Mapping[str, object],
        firstresult: bool,
    ) -> object | list[object]:
        guard, self._guard = self._guard, None  # a hook that is called within this one is another call
        if guard is not None:
            methods = [guard.around(hook_name, method) for method in methods]
        return super()._hookexec(hook_name, methods, kwargs, firstresult)
