"""Discovery: entry points of the group ``pneumo``, each loaded on its own, none able to break the others.

Knows nothing of runs; the hooks of one run are in :mod:`pneumo_cli.plugins.run_hooks`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from pneumo_cli.api import API_VERSION
from pneumo_cli.data import decoders
from pneumo_cli.errors import PneumoError, nearest
from pneumo_cli.plugins.hookspecs import KNOWN_HOOKS
from pneumo_cli.plugins.isolation import PROJECT, Guard, HookManager
from pneumo_cli.registry import Provenance, Registries, Registry
from pneumo_cli.specs import DatasetSpec, DecoderSpec, HealthCheck, ModelSpec, TrainerSpec

_CORE = Provenance("pneumo-cli", "")


@dataclass(frozen=True)
class PluginProblem:
    """Why something that is installed cannot be used.

    Attributes:
        plugin: the entry point's name.
        provenance: the distribution and version it comes from.
        stage: ``import``, ``version``, ``hooks``, ``register``, ``conflict`` or ``disable``.
        error: one line.
        traceback: the whole story, for ``pneumo list-plugins`` and ``PNEUMO_DEBUG=1``; may be empty.
    """

    plugin: str
    provenance: Provenance
    stage: str
    error: str
    traceback: str = ""

    def __str__(self) -> str:
        return f"plugin {self.plugin} ({self.provenance}): {self.stage}: {self.error}"


@dataclass(frozen=True)
class Plugin:
    """A plugin that works: its module, and the hooks that it implements."""

    name: str
    provenance: Provenance
    module: Any
    hooks: tuple[str, ...]


class Plugins(Registries):
    """All that is installed: what works, what does not, and what the working ones register."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = HookManager()
        self.loaded: list[Plugin] = []
        self.problems: list[PluginProblem] = []
        self.disabled: list[tuple[str, Provenance]] = []

    def why_absent(self, distribution: str) -> str:
        """Disabled, without the part that is looked for, or not to be loaded; empty where it is not installed."""
        if any(where.distribution == distribution for _, where in self.disabled):
            return "PNEUMO_DISABLE_PLUGINS disables here"
        for plugin in self.loaded:
            if plugin.provenance.distribution == distribution:
                return f"the installed {plugin.provenance} does not have"
        if any(problem.provenance.distribution == distribution for problem in self.problems):
            return "is installed here and cannot be loaded (pneumo list-plugins shows why)"
        return ""

    def observing(self) -> list[tuple[str, Any, Provenance]]:
        """Every working plugin, as it may take part in a run beside its trainer."""
        return [(plugin.name, plugin.module, plugin.provenance) for plugin in self.loaded]

    def collect(self, hook: str, wanted: type, **arguments: Any) -> list[tuple[Any, Plugin]]:
        """What the implementations of a registration hook yield, each thing with the plugin that it comes from.

        What a wrapper adds is the wrapper's. An implementation that raises, or yields something else, is a problem;
        what it has yielded before counts.

        Args:
            wanted: the class of the things.
        """
        sources: dict[int, Plugin] = {}
        kept: list[Any] = []  # so that no id is used again

        def received(implementation: pluggy.HookImpl, value: Any) -> Any:
            plugin = self._plugin(implementation)
            things: Iterator[Any]
            if implementation.wrapper or implementation.hookwrapper:
                things = (thing for part in list(value) for thing in list(part))
            else:
                things = iter(value)
            found = []
            try:
                for thing in things:
                    if not isinstance(thing, wanted):
                        raise TypeError(f"{hook} returned {thing!r}, not a {wanted.__name__}")
                    found.append(thing)
                    if id(thing) not in sources:
                        sources[id(thing)] = plugin
                        kept.append(thing)
            except (Exception, SystemExit) as error:
                self._failed(implementation, hook, error)
            return [found] if implementation.wrapper or implementation.hookwrapper else found

        parts = self._call(hook, arguments, received=received)
        return [(thing, sources[id(thing)]) for part in parts for thing in part]

    def extend(
        self,
        hook: str,
        prepare: Callable[[], Sequence[Any]],
        received: Callable[[Plugin, Sequence[Any]], None],
        **arguments: Any,
    ) -> None:
        """Call a hook whose implementations add something to what they are given, each one to its own.

        Args:
            prepare: makes the arguments of one implementation, in the order of the hook's.
            received: takes over what one implementation has added; what it raises is that one's problem.
            arguments: what wrappers are given.
        """
        given: dict[int, Sequence[Any]] = {}

        def own(implementation: pluggy.HookImpl, before: Sequence[Any]) -> Sequence[Any]:
            made = given[id(implementation)] = prepare()
            return made[: len(before)]

        def taken(implementation: pluggy.HookImpl, value: Any) -> Any:
            if id(implementation) in given:
                received(self._plugin(implementation), given.pop(id(implementation)))
            return value

        self._call(hook, arguments, prepare=own, received=taken)

    def first(self, hook: str, **arguments: Any) -> Any:
        """The first answer to a ``firstresult`` hook; None where no plugin has one.

        Raises:
            PneumoError: an implementation says so: that is an answer too.
        """
        return self._call(hook, arguments, passed=(PneumoError,))

    def _call(self, hook: str, arguments: Mapping[str, Any], **ways: Any) -> Any:
        guard = Guard(self._failed, caught=BaseException, **ways)
        # A plugin that prints while it registers must not spoil `--json` on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            return self.manager.call(hook, guard, arguments)

    def _plugin(self, implementation: pluggy.HookImpl) -> Plugin:
        return next(plugin for plugin in self.loaded if plugin.module is implementation.plugin)

    def _failed(self, implementation: pluggy.HookImpl, hook: str, error: BaseException) -> None:
        plugin = self._plugin(implementation)
        kind = "" if isinstance(error, CommandProblem) else f"{type(error).__name__}: "
        self.problems.append(
            PluginProblem(
                plugin.name,
                plugin.provenance,
                "register",
                f"{hook}: {kind}{_one_line(error)}",
                "".join(traceback.format_exception(error)),
            )
        )


class CommandProblem(Exception):
    """Why a command is not taken over. The text says all, and needs no class before it."""


def implemented_hooks(plugin: object) -> tuple[str, ...]:
    """The names of the hooks that an object or module implements.

    Raises:
        ValueError: there is no hook of one of these names, and the implementation is not marked as optional.
    """
    hooks = []
    for name in dir(plugin):
        # What the marker leaves on a function; asking a plugin manager would cost a manager per plugin.
        options = getattr(getattr(plugin, name, None), f"{PROJECT}_impl", None)
        if not isinstance(options, dict):
            continue
        hook = options.get("specname") or name
        if hook in KNOWN_HOOKS:
            hooks.append(hook)
        elif not options.get("optionalhook"):
            raise ValueError(f"there is no hook {hook!r}; {nearest(hook, KNOWN_HOOKS)}")
    return tuple(hooks)


def discover(points: Iterable[EntryPoint] | None = None, disabled: str | None = None) -> Plugins:
    """Load every installed plugin and collect what they register.

    Args:
        points: entry points to load; those installed, where None.
        disabled: comma-separated names of entry points or distributions to leave out;
            ``PNEUMO_DISABLE_PLUGINS``, where None.
    """
    plugins = Plugins()
    blocked = os.environ.get("PNEUMO_DISABLE_PLUGINS", "") if disabled is None else disabled
    names = {name.strip() for name in blocked.split(",") if name.strip()}
    unused = set(names)
    found = entry_points(group=PROJECT) if points is None else points
    for point in sorted(found, key=lambda p: (_provenance(p).distribution, p.name)):
        provenance = _provenance(point)
        hits = names & {point.name, provenance.distribution}
        if hits:
            unused -= hits
            plugins.disabled.append((point.name, provenance))
        else:
            _load(plugins, point, provenance)
    for name in sorted(unused):
        problem = f"PNEUMO_DISABLE_PLUGINS names {name!r}, and no such plugin is installed"
        plugins.problems.append(PluginProblem(name, _CORE, "disable", problem))
    # pluggy calls what was registered last first: so the order is the alphabet's, where nobody asks for another.
    for plugin in reversed(plugins.loaded.copy()):
        _add_to_manager(plugins, plugin)
    _register(plugins, "register_trainers", TrainerSpec, plugins.trainers)
    _register(plugins, "register_models", ModelSpec, plugins.models)
    _register(plugins, "register_datasets", DatasetSpec, plugins.datasets)
    decoders.replace(spec for spec, _ in plugins.collect("register_decoders", DecoderSpec))
    for registry in plugins.registries():
        _report_conflicts(plugins, registry)
    return plugins


def health_checks(plugins: Plugins) -> list[tuple[HealthCheck, Plugin]]:
    """What plugins want ``pneumo doctor`` to look at."""
    return plugins.collect("health_checks", HealthCheck)


def _provenance(point: EntryPoint) -> Provenance:
    distribution = point.dist
    if distribution is None:
        return Provenance("unknown", "unknown")
    return Provenance(distribution.name, distribution.version)


def _load(plugins: Plugins, point: EntryPoint, provenance: Provenance) -> None:
    def problem(stage: str, error: str, trace: str = "") -> None:
        plugins.problems.append(PluginProblem(point.name, provenance, stage, error, trace))

    try:
        # A plugin that prints while it is imported must not spoil `--json` on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            module = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        problem("import", f"{type(error).__name__}: {_one_line(error)}", traceback.format_exc())
        return
    version = getattr(module, "api_version", None)
    if version != API_VERSION:
        stated = f"was written for API version {version}" if version is not None else "states no api_version"
        problem("version", f"it {stated}, and this pneumo has version {API_VERSION}: skipped")
        return
    try:
        hooks = implemented_hooks(module)
    except Exception as error:
        problem("hooks", _one_line(error))
        return
    plugins.loaded.append(Plugin(point.name, provenance, module, hooks))


def _add_to_manager(plugins: Plugins, plugin: Plugin) -> None:
    name = f"{plugin.provenance.distribution}:{plugin.name}"
    try:
        if plugins.manager.is_registered(plugin.module):
            raise ValueError(f"its module is that of {plugins.manager.get_name(plugin.module)}")
        plugins.manager.register(plugin.module, name)
    except Exception as error:
        if plugins.manager.has_plugin(name):  # pluggy before 1.7 keeps what it has refused
            plugins.manager.unregister(name=name)
        plugins.loaded.remove(plugin)
        reason = PluginProblem(
            plugin.name, plugin.provenance, "hooks", _one_line(error), traceback.format_exc()
        )
        plugins.problems.append(reason)


def _register(plugins: Plugins, hook: str, wanted: type, registry: Registry[Any]) -> None:
    for spec, plugin in plugins.collect(hook, wanted):
        try:
            registry.add(spec, plugin.provenance)
        except ValueError as error:
            problem = f"{hook}: {type(error).__name__}: {_one_line(error)}"
            plugins.problems.append(PluginProblem(plugin.name, plugin.provenance, "register", problem))


def _report_conflicts(plugins: Plugins, registry: Registry[Any]) -> None:
    for name, entries in registry.conflicts().items():
        choices = " or ".join(entry.qualified_name for entry in entries)
        plugins.problems.append(
            PluginProblem(
                name,
                entries[-1].provenance,
                "conflict",
                f"the {registry.noun} {name!r} is registered by "
                f"{' and '.join(str(entry.provenance) for entry in entries)}; choose {choices}",
            )
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"
