"""Discovery: loads each entry point of the group ``pneumo`` separately, so that no plugin can break another.

A plugin may also be one file, which the command line names (``--plugin FILE.py``; the variable ``PNEUMO_PLUGINS``).
The hooks of one run are called by :mod:`pneumo_cli.plugins.run_hooks`.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import pluggy

from pneumo_cli._exports import has_name
from pneumo_cli.api import API_VERSION
from pneumo_cli.data import decoders
from pneumo_cli.errors import Interrupted, PneumoError, UsageError, one_line, with_type
from pneumo_cli.plugins.hookspecs import PROGRAM_HOOKS
from pneumo_cli.plugins.isolation import PROJECT, Guard, HookManager, implemented_hooks, wraps
from pneumo_cli.plugins.loading import (
    Cost,
    Watch,
    find_file,
    import_file,
    provenance_of,
)
from pneumo_cli.plugins.registration import SPECS
from pneumo_cli.registry import Provenance, Registries, Registry
from pneumo_cli.runtime.streams import stdout_to_stderr
from pneumo_cli.specs import DecoderSpec, HealthCheck

_log = logging.getLogger("pneumo")
_CORE = Provenance("pneumo-cli", "")


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
    """A working plugin: its module, and the hooks that it implements.

    Attributes:
        seconds: that importing it took.
        heavy: the libraries that this imported although they take long.
    """

    name: str
    provenance: Provenance
    module: Any
    hooks: tuple[str, ...]
    seconds: float = 0.0
    heavy: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"plugin {self.name} ({self.provenance})"


class Plugins(Registries):
    """Everything that is installed: working plugins and what they register, disabled plugins, and problems."""

    def __init__(self) -> None:
        super().__init__()
        self.manager = HookManager()
        self.loaded: list[Plugin] = []
        self.problems: list[PluginProblem] = []
        self.disabled: list[tuple[str, Provenance]] = []
        self.decoders: list[tuple[DecoderSpec, Plugin]] = []
        self.watch = Watch()
        self.added: dict[str, frozenset[str]] = {}  # the parts of what the running program registered

    def why_absent(self, distribution: str) -> str:
        """Why nothing of a distribution is registered, if it is installed; completes "which …"."""
        if any(provenance.distribution == distribution for _, provenance in self.disabled):
            return "PNEUMO_DISABLE_PLUGINS disables here"
        for plugin in self.loaded:
            if plugin.provenance.distribution == distribution:
                return f"the installed {plugin.provenance} does not have"
        if any(problem.provenance.distribution == distribution for problem in self.problems):
            return "is installed here and cannot be loaded (pneumo list-plugins shows why)"
        return super().why_absent(distribution)

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
            wrapper, classes = wraps(implementation), " or ".join(one.__name__ for one in wanted)
            # A wrapper that gives no lists is left out as a whole, by the error that is raised here.
            items: Any = (item for part in list(value) for item in list(part)) if wrapper else value
            valid = []
            try:
                if isinstance(items, str) or not isinstance(items, Iterable):
                    raise TypeError(f"returned {items!r}: yield each {classes}, or return a list of them")
                for item in items:
                    if not isinstance(item, wanted):
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

    def first(self, hook: str, *, failures: list[PluginProblem] | None = None, **arguments: Any) -> Any:
        """The first result of a ``firstresult`` hook, or None. A ``PneumoError`` ends the search and is raised.

        Args:
            failures: receives the problems of implementations that raise; None: they are logged.
        """
        known = len(self.problems)
        result = self._call(hook, arguments, passed=(PneumoError,))
        found = self.problems[known:]  # those of discovery are shown when a command starts
        if failures is not None:
            failures += found
        else:
            for problem in found:
                _log.warning("%s", problem)
        return result

    def listens(self, hook: str) -> bool:
        """Whether any plugin implements a hook."""
        return self.manager.listens(hook)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Call a program hook. A plugin that raises is named in a warning, and the command goes on.

        To be called on the first rank, when what the hook tells is done.

        Args:
            hook: one of :class:`pneumo_cli.plugins.hookspecs.ProgramHooks`.
            arguments: all of the hook's.
        """
        if hook not in PROGRAM_HOOKS:
            raise ValueError(f"{hook} is no program hook")

        def failed(implementation: pluggy.HookImpl, hook: str, error: BaseException) -> None:
            _log.warning("%s failed in %s: %s", self._plugin(implementation), hook, with_type(error))
            _log.debug("%s", "".join(traceback.format_exception(error)))

        self._call(hook, arguments, on_error=failed)

    def add_problem(
        self, plugin: str, provenance: Provenance, stage: str, error: str, trace: BaseException | None = None
    ) -> None:
        """Add a problem, with the traceback of ``trace``."""
        lines = traceback.format_exception(trace) if trace is not None else []
        self.problems.append(PluginProblem(plugin, provenance, stage, error, "".join(lines)))

    def _call(self, hook: str, arguments: Mapping[str, Any], **options: Any) -> Any:
        def name(implementation: pluggy.HookImpl) -> bool:
            self.watch.now(f"calling {hook} of {self._plugin(implementation)}")
            return False

        guard = Guard(**{"on_error": self._failed, "caught": BaseException, "skips": name, **options})
        # A plugin that prints while it registers must not spoil `--json` on stdout.
        with self.watch.doing(), stdout_to_stderr():
            return self.manager.call(hook, guard, arguments)

    def _plugin(self, implementation: pluggy.HookImpl) -> Plugin:
        return next(plugin for plugin in self.loaded if plugin.module is implementation.plugin)

    def _failed(self, implementation: pluggy.HookImpl, hook: str, error: BaseException) -> None:
        plugin = self._plugin(implementation)
        text = one_line(error) if isinstance(error, CommandProblem) else with_type(error)
        self.add_problem(plugin.name, plugin.provenance, "register", f"{hook}: {text}", error)


class CommandProblem(Exception):
    """Why a command is refused; shown without the name of this class."""


def discover(
    points: Iterable[EntryPoint] | None = None,
    disabled: str | None = None,
    files: Iterable[Path] | None = None,
) -> Plugins:
    """Load every installed plugin and collect what it registers.

    Args:
        points: entry points to load; None: those installed.
        disabled: comma-separated names of entry points or distributions to leave out; None:
            ``PNEUMO_DISABLE_PLUGINS``.
        files: plugins of one file to load, too; None: ``PNEUMO_PLUGINS``, separated as paths in ``PATH`` are.

    Raises:
        UsageError: a file cannot be loaded.
        Interrupted: by Ctrl-C; names the plugin.
    """
    plugins = Plugins()
    with plugins.watch, stdout_to_stderr():
        _load_all(plugins, entry_points(group=PROJECT) if points is None else points, disabled)
        if files is None:
            names = os.environ.get("PNEUMO_PLUGINS", "").split(os.pathsep)
            files = [Path(os.path.expanduser(name)) for name in names if name]
        for path in files:
            _load_file(plugins, path)
        # pluggy calls last what was registered first: so hooks are called in alphabetical order by default.
        for plugin in reversed(plugins.loaded.copy()):
            add_to_manager(plugins, plugin)
        register_all(plugins)
        decode_with(plugins.decoders)
    _leave_out_taken_functions(plugins)
    for registry in plugins.registries():
        _report_conflicts(plugins, registry)
    return plugins


def register_all(plugins: Plugins) -> None:
    """Collect what the loaded plugins register."""
    for name, wanted in SPECS.items():
        _register(plugins, f"register_{name}", getattr(plugins, name), *wanted)
    plugins.decoders = plugins.collect("register_decoders", DecoderSpec)


def decode_with(given: Sequence[tuple[DecoderSpec, Plugin]]) -> None:
    """Let images be decoded with these decoders, and pneumo's own."""
    origins = {spec.name: str(plugin.provenance) for spec, plugin in given}
    decoders.replace((spec for spec, _ in given), origins)


def health_checks(plugins: Plugins) -> list[tuple[HealthCheck, Plugin]]:
    """The checks that plugins add to ``pneumo doctor``."""
    return plugins.collect("health_checks", HealthCheck)


def _load_all(plugins: Plugins, points: Iterable[EntryPoint], disabled: str | None) -> None:
    """Load the plugins of entry points, except those that are disabled."""
    blocked = os.environ.get("PNEUMO_DISABLE_PLUGINS", "") if disabled is None else disabled
    names = {name.strip() for name in blocked.split(",") if name.strip()}
    unused = set(names)
    known = [(provenance_of(point), point) for point in points]
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


def _load(plugins: Plugins, point: EntryPoint, provenance: Provenance) -> None:
    cost = Cost()
    try:
        with plugins.watch.doing(f"loading plugin {point.name} ({provenance})"), cost:
            module = point.load()
    except Interrupted:
        raise
    except BaseException as error:
        plugins.add_problem(point.name, provenance, "import", with_type(error), error)
        return
    if wrong := wrong_version(module):
        plugins.add_problem(point.name, provenance, "version", f"it {wrong}: skipped")
        return
    try:
        hooks = implemented_hooks(module)
    except Exception as error:
        plugins.add_problem(point.name, provenance, "hooks", one_line(error))
        return
    plugins.loaded.append(Plugin(point.name, provenance, module, hooks, cost.seconds, cost.heavy))


def wrong_version(module: Any) -> str:
    """Why a module's API version is not ours; completes "it …". Empty if it is."""
    version = getattr(module, "api_version", None)
    if version == API_VERSION:
        return ""
    stated = f"was written for API version {version!r}" if version is not None else "states no api_version"
    return f"{stated}, and this pneumo has version {API_VERSION}"


def _load_file(plugins: Plugins, path: Path) -> None:
    """Load a plugin of one file. As it was asked for, whatever is wrong with it ends the program.

    Raises:
        UsageError: it cannot be loaded.
    """
    file, source = find_file(path)
    if file.path.resolve() in (other.path.resolve() for other in plugins.files):
        return
    if file.module in (other.module for other in plugins.files):
        raise UsageError(f"--plugin {path}: another plugin file has this name; rename one of them")
    cost = Cost()
    with plugins.watch.doing(f"loading the plugin file {path}"), cost:
        module = import_file(file, source)
    if wrong := wrong_version(module):
        raise UsageError(f"--plugin {path}: it {wrong}: write api_version = {API_VERSION}")
    try:
        hooks = implemented_hooks(module)
    except Exception as error:
        raise UsageError(f"--plugin {path}: {one_line(error)}") from error
    if not hooks:
        raise UsageError(f"--plugin {path}: it implements no hook of pneumo (@hookimpl)")
    plugins.files.append(file)
    plugins.loaded.append(Plugin(path.stem, file.provenance, module, hooks, cost.seconds, cost.heavy))


def add_to_manager(plugins: Plugins, plugin: Plugin) -> None:
    """Let the hooks of a loaded plugin be called; one that is refused becomes a problem."""
    name = f"{plugin.provenance.distribution}:{plugin.name}"
    try:
        if plugins.manager.is_registered(plugin.module):
            raise ValueError(f"its module is that of {plugins.manager.get_name(plugin.module)}")
        plugins.manager.register(plugin.module, name)
    except Exception as error:
        if plugins.manager.has_plugin(name):  # pluggy before 1.7 keeps what it has refused
            plugins.manager.unregister(name=name)
        plugins.loaded.remove(plugin)
        plugins.add_problem(plugin.name, plugin.provenance, "hooks", one_line(error), error)


def _register(plugins: Plugins, hook: str, registry: Registry[Any], *wanted: type) -> None:
    for spec, plugin in plugins.collect(hook, *wanted):
        try:
            registry.add(spec, plugin.provenance)
        except ValueError as error:
            plugins.add_problem(plugin.name, plugin.provenance, "register", f"{hook}: {with_type(error)}")


def _report_conflicts(plugins: Plugins, registry: Registry[Any]) -> None:
    for name, entries in registry.conflicts().items():
        text = registry.ambiguous(name, entries)
        if registry is plugins.functions:
            text = f"{text.partition(';')[0]}; pneumo_cli.{name} is that of {entries[0].provenance}"
        plugins.add_problem(name, entries[-1].provenance, "conflict", text)


def _leave_out_taken_functions(plugins: Plugins) -> None:
    for entry in plugins.functions.entries():
        if has_name("pneumo_cli", name := entry.spec.name):
            plugins.functions.discard(entry.qualified_name)
            text = f"the function {name!r} has a name that pneumo_cli uses itself, so it is left out"
            plugins.add_problem(name, entry.provenance, "conflict", text)
