"""Extensions and observers of a run (``--with``): which are asked for, in which order, and their settings.

In the environment and among the flags, the setting ``alpha`` of the extension ``mixup`` is ``mixup_alpha``; in
files it is ``alpha`` in the table ``[mixup]``. A part has no flag or variable that is already a setting's.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.installation import absent_text, bundled_in
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.settings.classes import RESERVED, part_class
from pneumo_cli.specs import ExtensionSpec, ObserverSpec

PartEntry: TypeAlias = Entry[ExtensionSpec] | Entry[ObserverSpec]
Fields: TypeAlias = Mapping[str, Sequence[tuple[PartEntry, str]]]
"""Name among flags and variables to the parts that have such a setting, each with its name there."""


def kind_of(entry: PartEntry) -> str:
    """What it is called in messages."""
    return "extension" if isinstance(entry.spec, ExtensionSpec) else "observer"


def installed_parts(registries: Registries) -> list[PartEntry]:
    """All extensions, then all observers."""
    return [*registries.extensions.entries(), *registries.observers.entries()]


def part_names(registries: Registries) -> list[str]:
    """The names of all extensions and observers, which are also those of their tables in files."""
    return sorted({entry.spec.name for entry in installed_parts(registries)})


def flat_name(part: str, field: str) -> str:
    """The name of a part's setting among flags and variables: ``early_stopping_patience``."""
    return f"{part.replace('-', '_')}_{field}"


def part_fields(registries: Registries) -> dict[str, list[tuple[PartEntry, str]]]:
    """The settings of all installed parts.

    A part whose settings cannot be imported is left out; using it is an error.
    """
    found: dict[str, list[tuple[PartEntry, str]]] = {}
    for entry in installed_parts(registries):
        try:
            names = part_class(entry).model_fields
        except UsageError:
            continue
        for name in names:
            found.setdefault(flat_name(entry.spec.name, name), []).append((entry, name))
    return found


def shared_names(fields: Fields, taken: Collection[str]) -> dict[str, list[tuple[PartEntry, str]]]:
    """The names of settings that several parts have: among flags they are of the one that takes part.

    Args:
        fields: of :func:`part_fields`.
        taken: the names of all other settings.
    """
    found: dict[str, list[tuple[PartEntry, str]]] = {}
    for owners in fields.values():
        for entry, field in owners:
            found.setdefault(field, []).append((entry, field))
    return {
        name: owners
        for name, owners in found.items()
        if len(owners) > 1 and name not in fields and name not in taken
    }


def listed(value: Any, origin: str) -> list[str]:
    """The names of ``--with``, ``PNEUMO_WITH`` or the key ``with``: a list, or text with commas.

    Raises:
        UsageError: it is neither.
    """
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, (list, tuple)) or not all(isinstance(item, str) for item in items):
        raise UsageError(f"with = {value!r} ({origin}): a list of names of extensions and observers")
    return [name.strip() for item in items for name in item.split(",") if name.strip()]


def chosen_parts(
    registries: Registries, names: Sequence[str], origin: str, settings: Collection[str]
) -> list[PartEntry]:
    """Look up the parts of a run, and put them in order: as they are named, and as extensions ask for.

    Args:
        origin: of the names, for messages.
        settings: the names of all other settings.

    Raises:
        UsageError: a part is not installed, ambiguous, named twice or unusable, or parts cannot be combined.
    """
    entries: list[PartEntry] = []
    for name in names:
        entry = _look_up(registries, name, origin)
        if any(other.spec.name == entry.spec.name for other in entries):
            raise UsageError(f"{entry.spec.name} is named twice ({origin}): a part takes part once")
        _check_names(registries, entry, settings)
        entries.append(entry)
    _check_conflicts(entries)
    return _in_order(entries)


def absent_part(name: str) -> str:
    """How to get a part that is not installed, if it is one of this repository; else empty."""
    for noun in ("extension", "observer"):
        if bundled := bundled_in(noun, name):
            return f"the {noun} {name} {absent_text(bundled)}"
    return ""


def found_as(registries: Registries, name: str) -> list[PartEntry]:
    """The parts that a name, or ``distribution:name``, may mean."""
    return [*registries.extensions.find(name), *registries.observers.find(name)]


def _look_up(registries: Registries, name: str, origin: str) -> PartEntry:
    found = found_as(registries, name)
    if len(found) == 1:
        return found[0]
    if found:
        if len({entry.qualified_name for entry in found}) < len(found):
            raise UsageError(
                f"{name} ({origin}) is an extension and an observer of {found[0].provenance}, whose author has to "
                "rename one of them"
            )
        kinds = " and ".join(f"the {kind_of(entry)} of {entry.provenance}" for entry in found)
        choices = " or ".join(entry.qualified_name for entry in found)
        raise UsageError(f"{name} ({origin}) may be {kinds}: choose {choices}")
    if text := absent_part(name):
        raise UsageError(f"{text} ({origin})")
    raise UsageError(
        f"unknown extension or observer {name!r} ({origin}); {nearest(name, part_names(registries))} "
        "(pneumo list-extensions shows what is installed; install the plugin that brings it)"
    )


def _check_names(registries: Registries, entry: PartEntry, settings: Collection[str]) -> None:
    """Refuse a part whose table, flags or variables would be those of something else."""
    name, settings = entry.spec.name, {*settings, *RESERVED}
    taken = ""
    if registries.trainers.find(name):
        taken = f"its table [{name}] is that of the trainer {name}"
    elif name.replace("-", "_") in settings:
        taken = f"{name} is the name of a setting or of a table of pneumo"
    else:
        for field in part_class(entry).model_fields:
            if flat_name(name, field) in settings:
                taken = (
                    f"its setting {field} would be {flag(flat_name(name, field))}, which is another setting"
                )
                break
    if taken:
        raise UsageError(
            f"the {kind_of(entry)} {name} ({entry.provenance}) cannot be used: {taken}; its author has to rename it"
        )


def _check_conflicts(entries: Sequence[PartEntry]) -> None:
    for entry in entries:
        if not isinstance(entry.spec, ExtensionSpec):
            continue
        for other in entries:
            if other is not entry and _names(entry.spec.conflicts, other):
                raise UsageError(
                    f"the extensions {entry.spec.name} ({entry.provenance}) and {other.spec.name} "
                    f"({other.provenance}) cannot be combined: leave one of them out of --with"
                )


def _in_order(entries: Sequence[PartEntry]) -> list[PartEntry]:
    """The outermost first: in the given order, but for extensions that have to be inside of others."""
    left, ordered = list(entries), list[PartEntry]()
    while left:
        ready = [entry for entry in left if not _around(entry, left)]
        if not ready:
            # Every extension that is left has another around it, so following these ends in a cycle.
            path = [left[0]]
            while (outer := _around(path[-1], left)[0]) not in path:
                path.append(outer)
            cycle = [*path[path.index(outer) :], outer]
            words = ", ".join(
                f"{inner.spec.name} inside of {wrapper.spec.name} ({inner.provenance})"
                for inner, wrapper in pairwise(cycle)
            )
            raise UsageError(f"extensions cannot be put in order: {words}; leave one of them out of --with")
        ordered.append(ready[0])
        left.remove(ready[0])
    return ordered


def _around(entry: PartEntry, entries: Sequence[PartEntry]) -> list[PartEntry]:
    """The parts that have to be around this one."""
    if not isinstance(entry.spec, ExtensionSpec):
        return []
    return [other for other in entries if other is not entry and _names(entry.spec.inside, other)]


def _names(names: Sequence[str], entry: PartEntry) -> bool:
    return entry.spec.name in names or entry.qualified_name in names


def split_flags(
    flags: Mapping[str, Any], fields: Fields, entries: Sequence[PartEntry], settings: Collection[str]
) -> dict[str, dict[str, Any]]:
    """The flags that are settings of parts, by part and field.

    Raises:
        UsageError: a flag belongs to a part that does not take part, or to two that do.
    """
    own: dict[str, dict[str, Any]] = {}
    for name, value in flags.items():
        if name in settings or name not in fields:
            continue
        owners = [(entry, field) for entry, field in fields[name] if entry in entries]
        if not owners:
            wanted = " or ".join(dict.fromkeys(f"--with {entry.spec.name}" for entry, _ in fields[name]))
            entry = fields[name][0][0]
            raise UsageError(
                f"{flag(name)} is a setting of the {kind_of(entry)} {entry.spec.name}, which does not take part: "
                f"add {wanted}"
            )
        if len(owners) > 1:
            both = " and of ".join(entry.qualified_name for entry, _ in owners)
            own_flags = dict.fromkeys(flag(flat_name(entry.spec.name, field)) for entry, field in owners)
            how = (
                f"choose {' or '.join(own_flags)}"
                if len(own_flags) > 1
                else "set it in a file, in the table of each"
            )
            raise UsageError(f"{flag(name)} is a setting of {both}: {how}")
        ((entry, field),) = owners
        own.setdefault(entry.spec.name, {})[field] = value
    return own


def flag(name: str) -> str:
    """The flag of a setting."""
    return "--" + name.replace("_", "-")
