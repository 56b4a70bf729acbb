"""Discovery: entry points of the group ``pneumo``, each loaded on its own, none able to break the others.

Knows nothing of runs; the hooks of one run are in :mod:`pneumo_cli.plugins.run_hooks`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from pneumo_cli.api import API_VERSION
from pneumo_cli.errors import nearest
from pneumo_cli.plugins import hookspecs
from pneumo_cli.registry import Provenance, Registry
from pneumo_cli.specs import DatasetSpec, ModelSpec, TrainerSpec

GROUP = "pneumo"
_SPEC_TYPES: dict[str, type] = {
    "register_trainers": TrainerSpec,
    "register_models": ModelSpec,
    "register_datasets": DatasetSpec,
}


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


@dataclass
class Plugins:
    """All that is installed: what works, what does not, and what the working ones register."""

    manager: pluggy.PluginManager = field(default_factory=lambda: new_manager())
    loaded: list[Plugin] = field(default_factory=list)
    problems: list[PluginProblem] = field(default_factory=list)
    disabled: list[tuple[str, Provenance]] = field(default_factory=list)
    trainers: Registry[TrainerSpec] = field(
        default_factory=lambda: Registry[TrainerSpec]("trainer", "pneumo list-trainers")
    )
    models: Registry[ModelSpec] = field(
        default_factory=lambda: Registry[ModelSpec]("model", "pneumo list-models")
    )
    datasets: Registry[DatasetSpec] = field(
        default_factory=lambda: Registry[DatasetSpec]("dataset", "pneumo list-datasets")
    )

    def registries(self) -> tuple[Registry[Any], ...]:
        """The three registries."""
        return (self.trainers, self.models, self.datasets)


def new_manager() -> pluggy.PluginManager:
    """A plugin manager that knows every hook and holds no plugin."""
    manager = pluggy.PluginManager(GROUP)
    for specs in (hookspecs.RegistrationHooks, hookspecs.TaskHooks, hookspecs.LifecycleHooks):
        manager.add_hookspecs(specs)
    return manager


def known_hooks() -> list[str]:
    """The names of all hooks."""
    return [
        name
        for specs in (hookspecs.RegistrationHooks, hookspecs.TaskHooks, hookspecs.LifecycleHooks)
        for name in vars(specs)
        if not name.startswith("_")
    ]


def hooks_of(plugin: object) -> list[str]:
    """The names of the hook implementations that an object or module carries, known or not."""
    # What the marker leaves on a function; asking a plugin manager would cost a manager per plugin.
    mark = f"{GROUP}_impl"
    return [name for name in dir(plugin) if hasattr(getattr(plugin, name, None), mark)]


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
    found = entry_points(group=GROUP) if points is None else points
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
        plugins.problems.append(PluginProblem(name, Provenance("pneumo-cli", ""), "disable", problem))
    for plugin in list(plugins.loaded):
        _register(plugins, plugin)
    for registry in plugins.registries():
        _report_conflicts(plugins, registry)
    return plugins


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
    hooks = hooks_of(module)
    unknown = [name for name in hooks if name not in known_hooks()]
    if unknown:
        problem("hooks", f"there is no hook {unknown[0]!r}; {nearest(unknown[0], known_hooks())}")
        return
    name = f"{provenance.distribution}:{point.name}"
    try:
        plugins.manager.register(module, name)
    except Exception as error:
        if plugins.manager.has_plugin(name):  # pluggy before 1.7 keeps what it has refused
            plugins.manager.unregister(name=name)
        problem("hooks", _one_line(error), traceback.format_exc())
        return
    plugins.loaded.append(Plugin(point.name, provenance, module, tuple(hooks)))


def _register(plugins: Plugins, plugin: Plugin) -> None:
    targets: dict[str, Registry[Any]] = {
        "register_trainers": plugins.trainers,
        "register_models": plugins.models,
        "register_datasets": plugins.datasets,
    }
    for hook, registry in targets.items():
        if hook not in plugin.hooks:
            continue
        try:
            with contextlib.redirect_stdout(sys.stderr):
                specs = list(getattr(plugin.module, hook)())
            for spec in specs:
                if not isinstance(spec, _SPEC_TYPES[hook]):
                    raise TypeError(f"{hook} returned {spec!r}, not a {_SPEC_TYPES[hook].__name__}")
                registry.add(spec, plugin.provenance)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            plugins.problems.append(
                PluginProblem(
                    plugin.name,
                    plugin.provenance,
                    "register",
                    f"{hook}: {type(error).__name__}: {_one_line(error)}",
                    traceback.format_exc(),
                )
            )


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


def command_problem(plugin: Plugin, error: BaseException) -> PluginProblem:
    """What to show when a plugin's ``register_commands`` fails or collides."""
    return PluginProblem(
        plugin.name,
        plugin.provenance,
        "register",
        f"register_commands: {_one_line(error)}",
        "".join(traceback.format_exception(error)),
    )
