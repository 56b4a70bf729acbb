"""Discovery: loads each entry point of the group ``pneumo`` separately, so that no plugin can break another.

The hooks of one run are called by :mod:`pneumo_cli.plugins.run_hooks`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from pneumo_cli.api import API_VERSION
from pneumo_cli.data import decoders
from pneumo_cli.errors import PneumoError
from pneumo_cli.plugins.isolation import PROJECT, Guard, HookManager, implemented_hooks, wraps
from pneumo_cli.registry import Provenance, Registries, Registry
from pneumo_cli.specs import DatasetSpec, DecoderSpec, HealthCheck, ModelFamily, ModelSpec, TrainerSpec

_log = logging.getLogger("pneumo")
_CORE = Provenance("pneumo-cli", "")
_NAME_OR_VERSION = re.compile(r"^(Name|Version): (.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class PluginProblem:
    """Why an installed plugin, or a part of it, cannot be used.

    Attributes:
        plugin: the name of the entry point.
        provenance: the distribution and version.
        stage: ``import``, ``version``, ``hooks``, ``register``, ``conflict`` or ``disable``.
        error: one line.
        traceback: may be empty.
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
    """A working plugin: its module, and the hooks that it implements."""

    name: str
    provenance: Provenance
    module: Any
    hooks: tuple[str, ...]


class Plugins(Registries):
    """Everything that is installed: working plugins and what they register, disabled plugins, and problems."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = HookManager()
        self.loaded: list[Plugin] = []
        self.problems: list[PluginProblem] = []
        self.disabled: list[tuple[str, Provenance]] = []

    def why_absent(self, distribution: str) -> str:
        """Why nothing of a distribution is registered, if it is installed; completes "which …"."""
        if any(provenance.distribution == distribution for _, provenance in self.disabled):
            return "PNEUMO_DISABLE_PLUGINS disables here"
        for plugin in self.loaded:
            if plugin.provenance.distribution == distribution:
                return f"the installed {plugin.provenance} does not have"
        if any(problem.provenance.distribution == distribution for problem in self.problems):
            return "is installed here and cannot be loaded (pneumo list-plugins shows why)"
        return ""

    def observing(self) -> list[tuple[str, Any, Provenance]]:
        """Every working plugin, as it may take part in a run: name, module, provenance."""
        return [(plugin.name, plugin.module, plugin.provenance) for plugin in self.loaded]

    def collect(self, hook: str, *wanted: type, **arguments: Any) -> list[tuple[Any, Plugin]]:
        """Call a registration hook; return the values of its implementations, each with the plugin it comes from.

        Values that a wrapper adds come from the wrapper's plugin. An implementation that raises, or yields a value
        of another class than those ``wanted``, becomes a problem; what it has yielded before counts.
        """
        collected: dict[int, tuple[Any, Plugin]] = {}

        def check(implementation: pluggy.HookImpl, value: Any) -> Any:
            plugin = self._plugin(implementation)
            wrapper = wraps(implementation)
            items = (item for part in list(value) for item in list(part)) if wrapper else iter(value)
            valid = []
            try:
                for item in items:
                    if not isinstance(item, wanted):
                        classes = " or ".join(one.__name__ for one in wanted)
                        raise TypeError(f"{hook} returned {item!r}, not a {classes}")
                    valid.append(item)
                    collected.setdefault(id(item), (item, plugin))
            except (Exception, SystemExit) as error:
                self._failed(implementation, hook, error)
            return [valid] if wrapper else valid

        parts = self._call(hook, arguments, check=check)
        return [collected[id(item)] for part in parts for item in part]

    def extend(
        self,
        hook: str,
        prepare: Callable[[], Sequence[Any]],
        receive: Callable[[Plugin, Sequence[Any]], None],
        **arguments: Any,
    ) -> None:
        """Call a hook whose implementations add something to their arguments, each to arguments of its own.

        Args:
            prepare: makes the arguments of one implementation, in the order of the hook's.
            receive: called with them afterwards; what it raises is a problem of that implementation's plugin.
            arguments: of wrappers.
        """
        prepared: dict[int, Sequence[Any]] = {}

        def own(implementation: pluggy.HookImpl, given: Sequence[Any]) -> Sequence[Any]:
            made = prepared[id(implementation)] = prepare()
            return made[: len(given)]

        def check(implementation: pluggy.HookImpl, value: Any) -> Any:
            if id(implementation) in prepared:
                receive(self._plugin(implementation), prepared.pop(id(implementation)))
            return value

        self._call(hook, arguments, prepare=own, check=check)

    def first(self, hook: str, **arguments: Any) -> Any:
        """The first result of a ``firstresult`` hook, or None. A ``PneumoError`` ends the search and is raised."""
        known = len(self.problems)
        result = self._call(hook, arguments, passed=(PneumoError,))
        for problem in self.problems[known:]:  # those of discovery are shown when a command starts
            _log.warning("%s", problem)
        return result

    def add_problem(
        self, plugin: str, provenance: Provenance, stage: str, error: str, trace: BaseException | None = None
    ) -> None:
        """Add a problem, with the traceback of ``trace``."""
        lines = traceback.format_exception(trace) if trace is not None else []
        self.problems.append(PluginProblem(plugin, provenance, stage, error, "".join(lines)))

    def _call(self, hook: str, arguments: Mapping[str, Any], **options: Any) -> Any:
        guard = Guard(self._failed, caught=BaseException, **options)
        # A plugin that prints while it registers must not spoil `--json` on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            return self.manager.call(hook, guard, arguments)

    def _plugin(self, implementation: pluggy.HookImpl) -> Plugin:
        return next(plugin for plugin in self.loaded if plugin.module is implementation.plugin)

    def _failed(self, implementation: pluggy.HookImpl, hook: str, error: BaseException) -> None:
        plugin = self._plugin(implementation)
        text = _one_line(error) if isinstance(error, CommandProblem) else _with_type(error)
        self.add_problem(plugin.name, plugin.provenance, "register", f"{hook}: {text}", error)


class CommandProblem(Exception):
    """Why a command is refused; shown without the name of this class."""


def discover(points: Iterable[EntryPoint] | None = None, disabled: str | None = None) -> Plugins:
    """Load every installed plugin and collect what it registers.

    Args:
        points: entry points to load; None: those installed.
        disabled: comma-separated names of entry points or distributions to leave out; None:
            ``PNEUMO_DISABLE_PLUGINS``.
    """
    plugins = Plugins()
    blocked = os.environ.get("PNEUMO_DISABLE_PLUGINS", "") if disabled is None else disabled
    names = {name.strip() for name in blocked.split(",") if name.strip()}
    unused = set(names)
    found = entry_points(group=PROJECT) if points is None else points
    known = [(_provenance(point), point) for point in found]
    for provenance, point in sorted(known, key=lambda pair: (pair[0].distribution, pair[1].name)):
        hits = names & {point.name, provenance.distribution}
        if hits:
            unused -= hits
            plugins.disabled.append((point.name, provenance))
        else:
            _load(plugins, point, provenance)
    for name in sorted(unused):
        text = f"PNEUMO_DISABLE_PLUGINS names {name!r}, and no such plugin is installed"
        plugins.add_problem(name, _CORE, "disable", text)
    # pluggy calls last what was registered first: so hooks are called in alphabetical order by default.
    for plugin in reversed(plugins.loaded.copy()):
        _add_to_manager(plugins, plugin)
    _register(plugins, "register_trainers", plugins.trainers, TrainerSpec)
    _register(plugins, "register_models", plugins.models, ModelSpec, ModelFamily)
    _register(plugins, "register_datasets", plugins.datasets, DatasetSpec)
    decoders.replace(spec for spec, _ in plugins.collect("register_decoders", DecoderSpec))
    for registry in plugins.registries():
        _report_conflicts(plugins, registry)
    return plugins


def health_checks(plugins: Plugins) -> list[tuple[HealthCheck, Plugin]]:
    """The checks that plugins add to ``pneumo doctor``."""
    return plugins.collect("health_checks", HealthCheck)


def _provenance(point: EntryPoint) -> Provenance:
    distribution = point.dist
    if distribution is None:
        return Provenance("unknown", "unknown")
    # Name and version in one pass: each property of a distribution parses all of its metadata anew.
    header = dict(_NAME_OR_VERSION.findall((distribution.read_text("METADATA") or "").partition("\n\n")[0]))
    if len(header) < 2:
        return Provenance(distribution.name, distribution.version)
    return Provenance(header["Name"], header["Version"])


def _load(plugins: Plugins, point: EntryPoint, provenance: Provenance) -> None:
    try:
        # A plugin that prints while it is imported must not spoil `--json` on stdout.
        with contextlib.redirect_stdout(sys.stderr):
            module = point.load()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        plugins.add_problem(point.name, provenance, "import", _with_type(error), error)
        return
    version = getattr(module, "api_version", None)
    if version != API_VERSION:
        stated = f"was written for API version {version}" if version is not None else "states no api_version"
        text = f"it {stated}, and this pneumo has version {API_VERSION}: skipped"
        plugins.add_problem(point.name, provenance, "version", text)
        return
    try:
        hooks = implemented_hooks(module)
    except Exception as error:
        plugins.add_problem(point.name, provenance, "hooks", _one_line(error))
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
        plugins.add_problem(plugin.name, plugin.provenance, "hooks", _one_line(error), error)


def _register(plugins: Plugins, hook: str, registry: Registry[Any], *wanted: type) -> None:
    for spec, plugin in plugins.collect(hook, *wanted):
        try:
            registry.add(spec, plugin.provenance)
        except ValueError as error:
            plugins.add_problem(plugin.name, plugin.provenance, "register", f"{hook}: {_with_type(error)}")


def _report_conflicts(plugins: Plugins, registry: Registry[Any]) -> None:
    for name, entries in registry.conflicts().items():
        plugins.add_problem(name, entries[-1].provenance, "conflict", registry.ambiguous(name, entries))


def _with_type(error: BaseException) -> str:
    return f"{type(error).__name__}: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"
