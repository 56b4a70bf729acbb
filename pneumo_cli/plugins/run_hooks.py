"""The hooks of one run: one trainer's task hooks, the extensions that wrap them, and the observers.

The manager is made for the run, so that nothing leaks from one run into another.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import pluggy

from pneumo_cli.errors import UsageError
from pneumo_cli.evaluation.result import ReportSection
from pneumo_cli.plugins.hookspecs import LIFECYCLE_HOOKS, TASK_HOOKS
from pneumo_cli.plugins.isolation import Guard, HookManager
from pneumo_cli.registry import Provenance

if TYPE_CHECKING:
    from pneumo_cli.evaluation.result import Evaluation
    from pneumo_cli.runs.run import Run

_log = logging.getLogger("pneumo")


class _RunManager(HookManager):
    """Takes a trainer's methods as hook implementations without a decorator, which nobody can then forget."""

    def __init__(self, trainer: object) -> None:
        super().__init__()
        self._trainer = trainer

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and plugin is self._trainer and name in TASK_HOOKS:
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
        plugins: everything else that takes part, modules and objects that wrap task hooks or observe: (name,
            plugin), and where it is known the distribution that it comes from.

    Raises:
        UsageError: a task hook has no implementation, or more than one.
    """

    def __init__(self, trainer: object, plugins: Iterable[tuple[Any, ...]]) -> None:
        self._trainer = trainer
        self._manager = _RunManager(trainer)
        self._manager.register(trainer, "trainer")
        self._sources: dict[str, Provenance] = {}
        self._dropped: set[int] = set()
        for name, plugin, *source in plugins:
            self.add(name, plugin, *source)
        self._check_task_hooks()

    def add(self, name: str, plugin: object, source: Provenance | None = None) -> None:
        """Let one more plugin take part; as pluggy has it, what was added last is called first.

        Args:
            source: the distribution that it comes from, for messages.
        """
        unique = name
        number = 2
        while self._manager.has_plugin(unique):
            unique, number = f"{name}-{number}", number + 1
        self._manager.register(plugin, unique)
        if source is not None:
            self._sources[unique] = source

    def _check_task_hooks(self) -> None:
        for hook in TASK_HOOKS:
            plain = [
                one
                for one in getattr(self._manager.hook, hook).get_hookimpls()
                if not (one.wrapper or one.hookwrapper)
            ]
            if len(plain) != 1:
                names = ", ".join(one.plugin_name for one in plain) or "nobody"
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
        made: list[tuple[str, Any, Provenance | None]] = []

        def received(one: pluggy.HookImpl, value: Any) -> Any:
            if one.wrapper or one.hookwrapper:
                return value
            found = list(value or ())
            source = self._sources.get(one.plugin_name)
            made.extend((f"{one.plugin_name}:{type(plugin).__name__}", plugin, source) for plugin in found)
            return found

        def failed(one: pluggy.HookImpl, hook: str, error: BaseException) -> None:
            _log.warning(
                "plugin %s takes no part in this run: %s: %s", self._named(one), type(error).__name__, error
            )
            _log.debug("%s", "".join(traceback.format_exception(error)))

        kept = self._manager.call("plugins_for_run", Guard(failed, received=received), {"run": run})
        wanted = {id(plugin) for part in kept for plugin in part}  # a wrapper may have left some out
        known = {id(plugin) for _, plugin, _ in made}
        made += [
            (type(plugin).__name__, plugin, None)
            for part in kept
            for plugin in part
            if id(plugin) not in known
        ]
        for name, plugin, source in made:
            if id(plugin) in wanted:
                self.add(name, plugin, source)
        self._check_task_hooks()

    def participants(self) -> list[str]:
        """The names of all plugins that take part."""
        return sorted(name for name, _ in self._manager.list_name_plugin())

    def extensions(self) -> list[str]:
        """The names of the plugins that wrap a task hook."""
        return sorted(
            {
                one.plugin_name
                for hook in TASK_HOOKS
                for one in getattr(self._manager.hook, hook).get_hookimpls()
                if one.wrapper or one.hookwrapper
            }
        )

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell every observer. One that raises is logged once and dropped; the trainer's own errors count."""
        if hook not in LIFECYCLE_HOOKS:
            raise ValueError(f"{hook} is no lifecycle hook")
        self._manager.call(hook, self._observing(), arguments)

    def report_sections(
        self, run: Run, evaluations: Mapping[str, Evaluation]
    ) -> list[tuple[str, ReportSection]]:
        """What plugins add to the run's report (the hook ``add_to_report``), each section with its plugin."""
        names: dict[int, str] = {}

        def received(one: pluggy.HookImpl, value: Any) -> Any:
            wraps = one.wrapper or one.hookwrapper
            sections = [section for part in value for section in part] if wraps else list(value or ())
            for section in sections:
                if not isinstance(section, ReportSection):
                    raise TypeError(f"add_to_report returned {section!r}, not a ReportSection")
                names.setdefault(id(section), self._named(one))
            return [sections] if wraps else sections

        guard = self._observing(received)
        parts = self._manager.call("add_to_report", guard, {"run": run, "evaluations": evaluations})
        return [(names[id(section)], section) for part in parts for section in part]

    def _observing(self, received: Any = lambda one, value: value) -> Guard:
        return Guard(
            self._drop,
            spares=lambda one: one.plugin is self._trainer,
            skips=lambda one: id(one.plugin) in self._dropped,
            received=received,
        )

    def _drop(self, one: pluggy.HookImpl, hook: str, error: BaseException) -> None:
        self._dropped.add(id(one.plugin))
        _log.warning(
            "observer %s failed in %s and is dropped for this run: %s: %s",
            self._named(one),
            hook,
            type(error).__name__,
            error,
        )
        _log.debug("%s", "".join(traceback.format_exception(error)))

    def _named(self, one: pluggy.HookImpl) -> str:
        """A plugin's name, with the distribution and version that it comes from."""
        source = self._sources.get(one.plugin_name)
        return f"{one.plugin_name} ({source})" if source is not None else one.plugin_name
