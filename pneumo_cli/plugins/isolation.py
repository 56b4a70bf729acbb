"""Hooks called through pluggy, with the failure of one implementation kept from the others.

Order, ``tryfirst`` and ``trylast``, wrappers, ``specname`` and ``firstresult`` are pluggy's: for the call, each
implementation is only replaced by one that catches. (conda's plugin manager tags its results in the same place.)
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, cast

import pluggy

from pneumo_cli.errors import EXITS, named_type, nearest
from pneumo_cli.plugins.hookspecs import HOOKS, KNOWN_HOOKS, LIFECYCLE_HOOKS

PROJECT = "pneumo"  # of hook markers, and the group of entry points
UNMARKED = pluggy.HookimplOpts(
    wrapper=False, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None
)


def hook_options(plugin: object, name: str) -> pluggy.HookimplOpts | None:
    """The options of an attribute that implements a hook; None: it is no implementation.

    Those of its marker. An object's methods with the names of lifecycle hooks need none.
    """
    if isinstance(plugin, ModuleType):
        attribute = vars(plugin).get(name)
    elif isinstance(inspect.getattr_static(plugin, name, None), (property, cached_property)):
        return None  # not computed: it may fail before the run
    else:
        attribute = getattr(plugin, name, None)
    options = getattr(attribute, f"{PROJECT}_impl", None)
    if isinstance(options, dict):
        return cast(pluggy.HookimplOpts, options)
    if name not in LIFECYCLE_HOOKS or isinstance(plugin, (ModuleType, type)):
        return None
    return UNMARKED.copy() if inspect.isroutine(attribute) else None


def implemented_hooks(plugin: object) -> tuple[str, ...]:
    """The names of the hooks that an object or module implements.

    Raises:
        ValueError: one of the names is no hook's, and the implementation is not marked as optional.
    """
    hooks = []
    for name in dir(plugin):
        # Not pluggy's: it would take a plugin manager per plugin.
        if (options := hook_options(plugin, name)) is None:
            continue
        hook = options.get("specname") or name
        if hook in KNOWN_HOOKS:
            hooks.append(hook)
        elif not options.get("optionalhook"):
            raise ValueError(f"there is no hook {hook!r}; {nearest(hook, KNOWN_HOOKS)}")
    return tuple(hooks)


def check_participant(plugin: object) -> tuple[str, ...]:
    """The names of the hooks that an object for one run implements.

    Raises:
        ValueError: it is a class instead of an object, implements no hook, names one that does not exist, or has a
            method with the name of a hook other than a lifecycle hook that is not marked as its implementation.
    """
    if inspect.isclass(plugin):
        raise ValueError(f"the class {plugin.__name__} is no object with hooks, {plugin.__name__}(…) is one")
    hooks = implemented_hooks(plugin)
    for name in dir(type(plugin)):
        if name in KNOWN_HOOKS and name not in hooks and callable(getattr(plugin, name, None)):
            raise ValueError(
                f"its method {name} has the name of a hook without being marked with @hookimpl: mark or rename it"
            )
    if not hooks:
        how = "@hookimpl marks them" if isinstance(plugin, ModuleType) else "a method such as epoch_finished"
        raise ValueError(f"it is {named_type(plugin)}, which implements no hook ({how})")
    return hooks


def validation_text(error: Exception) -> str:
    """In one line, why an object's hooks are refused."""
    return " ".join(str(error).split())


def wraps(implementation: pluggy.HookImpl) -> bool:
    """Whether an implementation is a wrapper, of either style."""
    return implementation.wrapper or implementation.hookwrapper


@dataclass(frozen=True)
class Guard:
    """What happens around each implementation while a hook is called. All that is optional does nothing by default.

    Attributes:
        on_error: called with an implementation that raised, the hook, and the error; the call goes on without it.
        check: checks or changes what an implementation, or a wrapper, returned; may raise.
        prepare: makes the arguments of a plain implementation from the caller's.
        skips: whether to leave out an implementation.
        propagates: whether the errors of an implementation reach the caller.
        passed: types of errors that reach the caller from every implementation.
        caught: types of the errors that are caught; Ctrl-C never is.
    """

    on_error: Callable[[pluggy.HookImpl, str, BaseException], None]
    check: Callable[[pluggy.HookImpl, Any], Any] = lambda implementation, value: value
    prepare: Callable[[pluggy.HookImpl, Sequence[Any]], Sequence[Any]] = lambda implementation, given: given
    skips: Callable[[pluggy.HookImpl], bool] = lambda implementation: False
    propagates: Callable[[pluggy.HookImpl], bool] = lambda implementation: False
    passed: tuple[type[BaseException], ...] = ()
    caught: type[BaseException] | tuple[type[BaseException], ...] = (Exception, *EXITS)

    def around(self, hook: str, implementation: pluggy.HookImpl) -> pluggy.HookImpl:
        """Return an implementation like the given one, with this guard around it."""
        guarded = self._wrapper if wraps(implementation) else self._plain
        return cast(pluggy.HookImpl, _Guarded(implementation, guarded(hook, implementation)))

    def _handle(self, hook: str, implementation: pluggy.HookImpl, error: BaseException) -> None:
        """Pass an error to ``on_error``, or raise it if it has to reach the caller."""
        if (
            isinstance(error, (KeyboardInterrupt, *self.passed))
            or not isinstance(error, self.caught)
            or self.propagates(implementation)
        ):
            raise error
        self.on_error(implementation, hook, error)

    def _plain(self, hook: str, implementation: pluggy.HookImpl) -> Callable[..., Any]:
        def guarded(*arguments: Any, **defaults: Any) -> Any:
            if self.skips(implementation):
                return None
            try:
                value = implementation.function(*self.prepare(implementation, arguments), **defaults)
                return self.check(implementation, value)
            except BaseException as error:
                self._handle(hook, implementation, error)
                return None

        return guarded

    def _wrapper(self, hook: str, implementation: pluggy.HookImpl) -> Callable[..., Any]:
        """A new-style wrapper around either style; if the implementation fails, the inner result is unchanged."""

        def guarded(*arguments: Any, **defaults: Any) -> Generator[None, Any, Any]:
            running: Any = None
            if not self.skips(implementation):
                try:
                    running = implementation.function(*arguments, **defaults)
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
                return self.check(implementation, _finish(running, outcome, implementation.hookwrapper))
            except BaseException as error:
                if error is outcome.exception:
                    raise
                self._handle(hook, implementation, error)
                return outcome.get_result()

        return guarded


class _Guarded:
    """An implementation for pluggy's caller, with another function."""

    def __init__(
        self,
        implementation: pluggy.HookImpl,
        function: Callable[..., Any],
        takes: tuple[str, ...] | None = None,
    ) -> None:
        self._implementation = implementation
        self.function = function
        self.argnames = implementation.argnames if takes is None else takes
        self.wrapper = wraps(implementation)
        self.hookwrapper = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._implementation, name)


def _finish(running: Generator[None, Any, Any], outcome: pluggy.Result[Any], old_style: bool) -> Any:
    """Pass the inner outcome to a wrapper that has yielded, and return its result."""
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
    """Knows every hook of pneumo; :meth:`call` puts a guard around each implementation."""

    def __init__(self) -> None:
        super().__init__(PROJECT)
        for specs in HOOKS:
            self.add_hookspecs(specs)
        self._local = threading.local()  # with the guard of the call that this thread begins

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        """As pluggy does it; of modules it would inspect every name, which takes a tenth of their loading."""
        return hook_options(plugin, name)

    def bind(
        self, hook: str, guard: Guard, plugin: object, function: Callable[..., Any], takes: tuple[str, ...]
    ) -> Callable[..., Any]:
        """A function that calls the present implementations of a ``firstresult`` hook, faster than :meth:`call`.

        Args:
            plugin: the one whose implementation is replaced.
            function: its replacement, called with the arguments that it ``takes``.
        """
        methods = []
        for one in getattr(self.hook, hook).get_hookimpls():
            own = _Guarded(one, function, takes) if one.plugin is plugin else one
            methods.append(guard.around(hook, cast(pluggy.HookImpl, own)))
        execute = super()._hookexec
        return lambda **arguments: execute(hook, methods, arguments, True)

    def listens(self, hook: str) -> bool:
        """Whether anybody implements a hook."""
        return bool(getattr(self.hook, hook).get_hookimpls())

    def call(self, hook: str, guard: Guard, arguments: Mapping[str, Any]) -> Any:
        """Call a hook with a guard around each of its implementations; returns what pluggy returns."""
        outer = self._take_guard()
        self._local.guard = guard
        try:
            return getattr(self.hook, hook)(**arguments)
        finally:
            self._local.guard = outer

    def _take_guard(self) -> Guard | None:
        guard: Guard | None = getattr(self._local, "guard", None)
        self._local.guard = None  # a hook that is called within this one is another call
        return guard

    def _hookexec(
        self,
        hook_name: str,
        methods: Sequence[pluggy.HookImpl],
        kwargs: Mapping[str, object],
        firstresult: bool,
    ) -> object | list[object]:
        guard = self._take_guard()
        if guard is not None:
            methods = [guard.around(hook_name, method) for method in methods]
        return super()._hookexec(hook_name, methods, kwargs, firstresult)
