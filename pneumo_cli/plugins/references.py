"""Trying every reference of every registered part: what cannot be imported is found before a run needs it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, NamedTuple

from pneumo_cli.errors import with_type
from pneumo_cli.plugins.discovery import Plugin, Plugins
from pneumo_cli.registry import Entry, Provenance
from pneumo_cli.runtime.streams import stdout_to_stderr
from pneumo_cli.specs import DatasetSpec, HealthCheck, TrainerSpec, load_reference

_NO_REFERENCES = {"name", "summary", "kind", "model", "trained_on", "instructions"}
_REFERENCE = re.compile(r"[\w.]+:\w+")


class BrokenReference(NamedTuple):
    """A reference that does not lead to anything that can be called, and why.

    Attributes:
        part: such as ``model tiny``.
        attribute: of its spec.
    """

    part: str
    attribute: str
    reference: str
    provenance: Provenance
    error: str


def broken_references(
    plugins: Plugins, checks: Iterable[tuple[HealthCheck, Plugin]] = ()
) -> list[BrokenReference]:
    """Import all references of everything that is registered: torch, too, and whatever the plugins need.

    Raises:
        Interrupted: by Ctrl-C; names the reference.
    """
    broken = []
    with plugins.watch:
        for part, entry in _registered(plugins, checks):
            for attribute, reference in references(entry.spec).items():
                with plugins.watch.doing(f"importing {reference} of the {part} ({entry.provenance})"):
                    error = _problem(entry, attribute, reference)
                if error:
                    broken.append(BrokenReference(part, attribute, reference, entry.provenance, error))
    return broken


def references(spec: Any) -> dict[str, str]:
    """The references of a spec, by attribute; those that are empty are left out."""
    values = {field.name: getattr(spec, field.name) for field in fields(spec)}
    return {
        name: value
        for name, value in values.items()
        if name not in _NO_REFERENCES and isinstance(value, str) and _REFERENCE.fullmatch(value)
    }


def _registered(
    plugins: Plugins, checks: Iterable[tuple[HealthCheck, Plugin]]
) -> Iterator[tuple[str, Entry[Any]]]:
    """Everything that is registered, each with what to call it."""
    for registry in plugins.registries():
        yield from ((f"{registry.noun} {entry.spec.name}", entry) for entry in registry.entries())
    yield from ((f"models {entry.spec.name}/", entry) for entry in plugins.models.families)
    others: list[tuple[str, Any, Plugin]] = [("decoder", *one) for one in plugins.decoders]
    others += [("health check", *one) for one in checks]
    yield from ((f"{noun} {spec.name}", Entry(spec, plugin.provenance)) for noun, spec, plugin in others)


def _problem(entry: Entry[Any], attribute: str, reference: str) -> str:
    """Why a reference is of no use; empty if it is."""
    from pneumo_cli.settings.classes import options_class, part_class, settings_class

    spec = entry.spec
    try:
        if attribute == "settings":
            if isinstance(spec, TrainerSpec):
                settings_class(entry)
            elif isinstance(spec, DatasetSpec):
                options_class(entry)
            else:
                part_class(entry)
            return ""
        with stdout_to_stderr():
            found = load_reference(reference)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return with_type(error)
    return "" if callable(found) else f"it is {type(found).__name__}, which cannot be called"
