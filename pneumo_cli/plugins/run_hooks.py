"""The hooks of one run: one trainer's task hooks, the extensions that wrap them, and the observers.

The manager is made for the run, so that nothing leaks from one run into another.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.hookspecs import (
    LIFECYCLE_HOOKS,
    TASK_HOOKS,
    LifecycleHooks,
    RegistrationHooks,
    TaskHooks,
)
from pneumo_cli.trainers.base import Trainer

if TYPE_CHECKING:
    from pneumo_cli.runs.run import Run

_log = logging.getLogger("pneumo")


class _RunManager(pluggy.PluginManager):
    """Takes a trainer's methods as hook implementations without a decorator, which nobody can then forget."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and isinstance(plugin, Trainer) and name in TASK_HOOKS:
            return {
                "wrapper": False,
                "hookwrapper": False,
                "optionalhook": False,
                "tryfirst": False,
                "trylast": False,
                "specname": None,
            }
        return options


class RunHooks:
    """Calls the hooks of one run.

    Args:
        trainer: the implementation of the three task hooks.
        plugins: everything else that takes part: modules and objects that wrap task hooks or observe.

    Raises:
        UsageError: a task hook has no implementation, or more than one.
    """

    def __init__(self, trainer: Trainer, plugins: Iterable[tuple[str, object]]) -> None:
        self._trainer = trainer
        self._manager = _RunManager("pneumo")
        self._manager.add_hookspecs(RegistrationHooks)
        self._manager.add_hookspecs(TaskHooks)
        self._manager.add_hookspecs(LifecycleHooks)
        self._manager.register(trainer, "trainer")
        self._silenced: set[int] = set()
        for name, plugin in plugins:
            self.add(name, plugin)
        for hook in TASK_HOOKS:
            self._check_single(hook)

    def add(self, name: str, plugin: object) -> None:
        """Let one more plugin take part."""
        unique = name
        number = 2
        while self._manager.has_plugin(unique):
            unique, number = f"{name}-{number}", number + 1
        self._manager.register(plugin, unique)

    def _check_single(self, hook: str) -> None:
        plain = [
            impl
            for impl in getattr(self._manager.hook, hook).get_hookimpls()
            if not (impl.wrapper or impl.hookwrapper)
        ]
        if len(plain) != 1:
            names = ", ".join(impl.plugin_name for impl in plain) or "nobody"
            raise UsageError(
                f"the task hook {hook} has to be implemented once per run, and is by {names}; "
                "an extension wraps it with @hookimpl(wrapper=True)"
            )

    @property
    def tasks(self) -> Any:
        """Caller of ``build_model``, ``train_step`` and ``evaluate``, extensions wrapped around the trainer."""
        return self._manager.hook

    def add_made_for(self, run: Run) -> None:
        """Ask every plugin for objects of its own for this run (the hook ``plugins_for_run``), and add them.

        A plugin that fails here is logged and left out: training goes on without it.
        """
        for implementation in self._manager.hook.plugins_for_run.get_hookimpls():
            name = implementation.plugin_name
            try:
                made: Any = implementation.function(*([run] if implementation.argnames else []))
                for plugin in made or ():
                    self.add(f"{name}:{type(plugin).__name__}", plugin)
            except Exception as error:
                _log.warning("plugin %s takes no part in this run: %s: %s", name, type(error).__name__, error)
                _log.debug("%s", traceback.format_exc())
        for hook in TASK_HOOKS:
            self._check_single(hook)

    def participants(self) -> list[str]:
        """The names of all plugins that take part."""
        return sorted(name for name, _ in self._manager.list_name_plugin())

    def extensions(self) -> list[str]:
        """The names of the plugins that wrap a task hook."""
        return sorted(
            {
                impl.plugin_name
                for hook in TASK_HOOKS
                for impl in getattr(self._manager.hook, hook).get_hookimpls()
                if impl.wrapper or impl.hookwrapper
            }
        )

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell every observer. One that raises is logged once and dropped; the trainer's own errors count."""
        if hook not in LIFECYCLE_HOOKS:
            raise ValueError(f"{hook} is no lifecycle hook")
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            plugin = implementation.plugin
            if id(plugin) in self._silenced:
                continue
            try:
                implementation.function(*(arguments[name] for name in implementation.argnames))
            except Exception as error:
                if plugin is self._trainer:
                    raise
                self._silenced.add(id(plugin))
                _log.warning(
                    "observer %s failed in %s and is dropped for this run: %s: %s",
                    implementation.plugin_name,
                    hook,
                    type(error).__name__,
                    error,
                )
                _log.debug("%s", traceback.format_exc())
