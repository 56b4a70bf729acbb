"""The hooks of one run: the task hooks of its trainer, the extensions that wrap them, and the observers.

Each run has a plugin manager of its own, so nothing leaks from one run into another.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pluggy

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.result import ReportSection
from pneumo_cli.plugins.hookspecs import LIFECYCLE_HOOKS, TASK_HOOKS
from pneumo_cli.plugins.isolation import Guard, HookManager, implemented_hooks, wraps
from pneumo_cli.registry import Provenance

if TYPE_CHECKING:
    from pneumo_cli.evaluation.result import Evaluation
    from pneumo_cli.runs.run import Run

_log = logging.getLogger("pneumo")
_UNDECORATED = pluggy.HookimplOpts(
    wrapper=False, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None
)


class _RunManager(HookManager):
    """Takes a trainer's methods as implementations of the task hooks without a decorator."""

    def __init__(self, trainer: object) -> None:
        super().__init__()
        self._trainer = trainer

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and plugin is self._trainer and name in TASK_HOOKS:
            return _UNDECORATED.copy()
        return options


class _TaskCaller:
    """Calls task hooks by attribute. The trainer's own errors reach the caller as they are."""

    def __init__(
        self, manager: _RunManager, on_error: Callable[[pluggy.HookImpl, str, BaseException], None]
    ) -> None:
        self._manager = manager
        self._guard = Guard(
            on_error,
            check=_returned,
            propagates=lambda one: not wraps(one),
            passed=(PneumoError,),
        )

    def __getattr__(self, hook: str) -> Callable[..., Any]:
        return lambda **arguments: self._manager.call(hook, self._guard, arguments)


def _returned(one: pluggy.HookImpl, value: Any) -> Any:
    if wraps(one) and value is None:
        raise TypeError("a wrapper has to return the result that its yield gives, or another one, not None")
    return value


class RunHooks:
    """Calls the hooks of one run.

    Args:
        trainer: implements the task hooks.
        plugins: the other plugins that take part, modules and objects: (name, plugin), or (name, plugin,
            provenance).

    Attributes:
        tasks: caller of ``build_model``, ``train_step`` and ``evaluate``: the trainer's, wrapped by extensions. An
            extension that raises, or returns None, is named in a PneumoError.

    Raises:
        UsageError: a task hook has no implementation, or more than one.
    """

    def __init__(self, trainer: object, plugins: Iterable[tuple[Any, ...]]) -> None:
        self._manager = _RunManager(trainer)
        self.tasks: Any = _TaskCaller(self._manager, self._name_extension)
        # For lifecycle hooks: drops an observer that raises, and spares the trainer.
        self._observing = Guard(
            self._drop,
            skips=lambda one: id(one.plugin) in self._dropped,
            propagates=lambda one: one.plugin is trainer,
        )
        self._manager.register(trainer, "trainer")
        self._provenances: dict[str, Provenance] = {}
        self._dropped: set[int] = set()
        for name, plugin, *provenance in plugins:
            self.add(name, plugin, *provenance)
        self._check_task_hooks()

    def add(self, name: str, plugin: object, provenance: Provenance | None = None) -> None:
        """Add a plugin, with its distribution for messages. As in pluggy, the last one added is called first."""
        unique, number = name, 2
        while self._manager.has_plugin(unique):
            unique, number = f"{name}-{number}", number + 1
        try:
            self._manager.register(plugin, unique)
        except pluggy.PluginValidationError:
            self._manager.unregister(name=unique)  # pluggy keeps the hooks before the wrong one
            raise
        if provenance is not None:
            self._provenances[unique] = provenance

    def _implementations(self, hook: str, *, wrappers: bool) -> list[pluggy.HookImpl]:
        return [one for one in getattr(self._manager.hook, hook).get_hookimpls() if wraps(one) is wrappers]

    def _check_task_hooks(self) -> None:
        for hook in TASK_HOOKS:
            plain = self._implementations(hook, wrappers=False)
            if len(plain) != 1:
                names = ", ".join(one.plugin_name for one in plain) or "nobody"
                raise UsageError(
                    f"the task hook {hook} has to be implemented once per run, and is by {names}; "
                    "an extension wraps it with @hookimpl(wrapper=True)"
                )

    def _name_extension(self, one: pluggy.HookImpl, hook: str, error: BaseException) -> None:
        raise PneumoError(
            f"extension {self._full_name(one)} failed in {hook}: {type(error).__name__}: {error}"
        ) from error

    def add_run_plugins(self, run: Run) -> None:
        """Call the hook ``plugins_for_run`` and add what it returns; a plugin that fails is logged and left out."""
        sources: dict[int, tuple[object, str, Provenance | None]] = {}

        def check(one: pluggy.HookImpl, value: Any) -> Any:
            if wraps(one):
                return value
            plugins = list(value or ())
            provenance = self._provenances.get(one.plugin_name)
            sources.update((id(p), (p, f"{one.plugin_name}:{type(p).__name__}", provenance)) for p in plugins)
            return plugins

        def failed(one: pluggy.HookImpl, hook: str, error: BaseException) -> None:
            _warn("plugin %s takes no part in this run: %s: %s", self._full_name(one), error=error)

        parts = self._manager.call("plugins_for_run", Guard(failed, check=check), {"run": run})
        for plugin in [plugin for part in parts for plugin in part]:
            _, name, provenance = sources.get(id(plugin), (plugin, type(plugin).__name__, None))
            try:
                implemented_hooks(plugin)
                self.add(name, plugin, provenance)
            except (ValueError, pluggy.PluginValidationError) as error:
                full = name if provenance is None else f"{name} ({provenance})"
                _warn("plugin %s takes no part in this run: %s: %s", full, error=error)
        self._check_task_hooks()

    def participants(self) -> list[str]:
        """The names of all plugins that take part."""
        return sorted(name for name, _ in self._manager.list_name_plugin())

    def extensions(self) -> list[str]:
        """The names of the plugins that wrap a task hook."""
        return sorted(
            {one.plugin_name for hook in TASK_HOOKS for one in self._implementations(hook, wrappers=True)}
        )

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call a lifecycle hook. An observer that raises is logged and dropped; the trainer's errors propagate."""
        if hook not in LIFECYCLE_HOOKS:
            raise ValueError(f"{hook} is no lifecycle hook")
        self._manager.call(hook, self._observing, arguments)

    def report_sections(
        self, run: Run, evaluations: Mapping[str, Evaluation]
    ) -> list[tuple[str, ReportSection]]:
        """Call the hook ``add_to_report``, and return each section with the name of its plugin."""
        names: dict[int, str] = {}

        def check(one: pluggy.HookImpl, value: Any) -> Any:
            sections = [section for part in value for section in part] if wraps(one) else list(value or ())
            for section in sections:
                if not isinstance(section, ReportSection):
                    raise TypeError(f"add_to_report returned {section!r}, not a ReportSection")
                names.setdefault(id(section), self._full_name(one))
            return [sections] if wraps(one) else sections

        arguments = {"run": run, "evaluations": evaluations}
        parts = self._manager.call("add_to_report", replace(self._observing, check=check), arguments)
        return [(names[id(section)], section) for part in parts for section in part]

    def _drop(self, one: pluggy.HookImpl, hook: str, error: BaseException) -> None:
        self._dropped.add(id(one.plugin))
        message = "observer %s failed in %s and is dropped for this run: %s: %s"
        _warn(message, self._full_name(one), hook, error=error)

    def _full_name(self, one: pluggy.HookImpl) -> str:
        """A plugin's name, with the distribution and version that it comes from."""
        provenance = self._provenances.get(one.plugin_name)
        return f"{one.plugin_name} ({provenance})" if provenance is not None else one.plugin_name


def _warn(message: str, *arguments: object, error: BaseException) -> None:
    """Log a warning that ends with an error, and the traceback at debug level."""
    _log.warning(message, *arguments, type(error).__name__, " ".join(str(error).split()))
    _log.debug("%s", "".join(traceback.format_exception(error)))
