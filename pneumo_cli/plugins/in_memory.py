"""Adding to the plugins what the running program registers itself.

It is added to a copy of them: a run that goes on keeps what it has begun with, except for image formats
(``register_decoders``), of which a process has one table.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

from pneumo_cli.data.source import present_code
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import (
    Plugin,
    Plugins,
    add_to_manager,
    decode_with,
    register_all,
    wrong_version,
)
from pneumo_cli.plugins.hookspecs import LIFECYCLE_HOOKS, PROGRAM_HOOKS
from pneumo_cli.plugins.isolation import HookManager, check_participant, hook_options
from pneumo_cli.plugins.plain_methods import check_methods
from pneumo_cli.plugins.references import broken_references, references
from pneumo_cli.plugins.registration import SPECS
from pneumo_cli.registry import REGISTERED, Provenance, Registry
from pneumo_cli.specs import load_reference

PROVENANCE = Provenance(REGISTERED, "")
_OBSERVING = {*LIFECYCLE_HOOKS, *PROGRAM_HOOKS}
_Copied = TypeVar("_Copied")


def with_spec(plugins: Plugins, spec: Any) -> Plugins:
    """The plugins with a spec, in place of what was registered under its name before.

    Raises:
        UsageError: a plugin has a part of this name, or a reference of the spec leads nowhere.
    """
    alone = Plugins()
    _registry(alone, spec).add(spec, PROVENANCE)
    for broken in broken_references(alone):
        raise UsageError(
            f"the {broken.part} cannot be registered: {broken.attribute} {broken.reference}: {broken.error}"
        )
    digest = present_code(*map(load_reference, references(spec).values()))
    part = f"{_registry(alone, spec).noun} {spec.name}"
    return _merged(plugins, alone, part, {part: digest})


def with_plugin(plugins: Plugins, name: str, plugin: object) -> Plugins:
    """The plugins with a further one, a module or an object with hooks, in place of the one of this name.

    Raises:
        UsageError: it cannot be used, or registers what cannot be.
    """
    who = f"the plugin {name}"
    try:
        check_methods(plugin)
        hooks = check_participant(plugin)
    except ValueError as error:
        raise UsageError(f"{who}: {error}") from error
    if hasattr(plugin, "api_version") and (wrong := wrong_version(plugin)):
        raise UsageError(f"{who}: it {wrong}")
    alone = Plugins()
    alone.loaded = [Plugin(name, PROVENANCE, plugin, hooks)]
    add_to_manager(alone, alone.loaded[0])
    register_all(alone)
    for problem in alone.problems:
        raise UsageError(f"{who}: {problem.error}")
    part = f"plugin {name}"
    if _OBSERVING.issuperset(hooks):  # it is no part of a recipe
        return _merged(plugins, alone, part, {})
    hooked = [getattr(plugin, name) for name in dir(plugin) if hook_options(plugin, name) is not None]
    return _merged(plugins, alone, part, {part: present_code(*hooked)})


def _registry(plugins: Plugins, spec: Any) -> Registry[Any]:
    """The registry for a spec.

    Raises:
        UsageError: there is none: a plugin's hook returns it.
    """
    for name, kinds in SPECS.items():
        if isinstance(spec, kinds):
            found: Registry[Any] = getattr(plugins, name)
            return found
    raise UsageError(
        f"a {type(spec).__name__} is registered by a plugin: register an object with the hook (@hookimpl) that "
        "returns it"
    )


def _merged(plugins: Plugins, alone: Plugins, what: str, digests: dict[str, str]) -> Plugins:
    """A copy of the plugins, with everything of others that the running program registered.

    Args:
        what: was registered, such as ``plugin mine``. What was added under this name before is dropped.
        digests: for ``registered``.
    """
    merged = _copied(plugins)
    added = {
        f"{registry.noun} {entry.spec.name}" for registry in alone.registries() for entry in _all(registry)
    }
    dropped = plugins.added.get(what, frozenset()) | added
    for name in SPECS:
        registry = _copied(getattr(plugins, name))
        setattr(merged, name, registry)
        for part in dropped:
            noun, _, own = part.partition(" ")
            if noun == registry.noun:
                registry.discard(f"{REGISTERED}:{own}")
        for entry in _all(getattr(alone, name)):
            for other in _of_that_name(registry, entry.spec.name):
                raise UsageError(
                    f"the {registry.noun} {entry.spec.name!r} is one of {other.provenance}: register it under "
                    "another name (name=…)"
                )
            registry.add(entry.spec, PROVENANCE)
    others = {one: parts - added for one, parts in plugins.added.items() if one not in added}
    merged.added = {**others, what: frozenset(added)}
    kept = {one: digest for one, digest in plugins.registered.items() if one not in (what, *added)}
    merged.registered = {**kept, **digests}
    if alone.loaded:
        (new,) = alone.loaded
        earlier = [one for one in plugins.loaded if (one.name, one.provenance) == (new.name, PROVENANCE)]
        merged.loaded = [*(one for one in plugins.loaded if one not in earlier), new]
        merged.decoders = [one for one in plugins.decoders if one[1] not in earlier] + alone.decoders
        merged.manager = HookManager()
        for plugin in reversed(merged.loaded.copy()):
            add_to_manager(merged, plugin)
        if merged.decoders != plugins.decoders:
            decode_with(merged.decoders)
    return merged


def _all(registry: Registry[Any]) -> list[Any]:
    return [*registry.entries(), *getattr(registry, "families", ())]


def _of_that_name(registry: Registry[Any], name: str) -> list[Any]:
    families = [one for one in getattr(registry, "families", ()) if name.partition("/")[0] == one.spec.name]
    return [*families, *(entry for entry in registry.entries() if entry.spec.name == name)]


def _copied(value: _Copied) -> _Copied:
    """A copy with lists and dictionaries of its own."""
    copied = copy.copy(value)
    for name, part in vars(value).items():
        if isinstance(part, (list, dict)):
            setattr(copied, name, part.copy())
    return copied
