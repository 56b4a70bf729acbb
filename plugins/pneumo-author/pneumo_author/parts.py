"""The parts of a plugin: what it registers, and which of it a name means."""

from __future__ import annotations

from dataclasses import dataclass

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Provenance
from pneumo_cli.testing.command_suite import plugin_commands


@dataclass(frozen=True)
class Part:
    """Something that a plugin registers.

    Attributes:
        kind: ``trainer``, ``model``, ``dataset``, ``extension``, ``observer``, ``split``, ``sampler``,
            ``extractor``, ``decoder``, ``command``; ``plugin`` for one that only implements other hooks.
        name: registered name; the words of a command.
    """

    kind: str
    name: str
    provenance: Provenance

    @property
    def qualified_name(self) -> str:
        """The name that selects it, whatever else is installed."""
        return (
            self.name if self.kind in ("command", "plugin") else f"{self.provenance.distribution}:{self.name}"
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def all_parts(plugins: Plugins) -> list[Part]:
    """What all installed plugins register."""
    registries = {
        "trainer": plugins.trainers,
        "model": plugins.models,
        "dataset": plugins.datasets,
        "extension": plugins.extensions,
        "observer": plugins.observers,
        "split": plugins.splits,
        "sampler": plugins.samplers,
        "extractor": plugins.extractors,
    }
    parts = [
        Part(kind, entry.spec.name, entry.provenance)
        for kind, registry in registries.items()
        for entry in registry.entries()  # type: ignore[attr-defined]
    ]
    for spec, plugin in plugins.decoders:
        parts.append(Part("decoder", spec.name, plugin.provenance))
    parts += [Part("command", words, plugin.provenance) for words, plugin in plugin_commands(plugins)]
    known = {part.provenance for part in parts}
    rest = [plugin for plugin in plugins.loaded if plugin.provenance not in known]
    return parts + [Part("plugin", plugin.name, plugin.provenance) for plugin in rest]


def named_parts(plugins: Plugins, name: str) -> list[Part]:
    """The parts that a name means: all of a distribution or plugin, or the registered ones of this name.

    Raises:
        UsageError: there is none.
    """
    parts = all_parts(plugins)
    broken = [
        str(problem)
        for problem in plugins.problems
        if name in (problem.plugin, problem.provenance.distribution)
    ]
    distributions = {p.provenance.distribution for p in plugins.loaded if p.name == name}
    distributions |= {part.provenance.distribution for part in parts if part.provenance.distribution == name}
    found = [part for part in parts if part.provenance.distribution in distributions]
    found = found or [
        part for part in parts if name in (part.name, f"{part.provenance.distribution}:{part.name}")
    ]
    if not found and (member := _member_of_a_family(plugins, name)):
        found = [member]
    if not found and broken:
        raise UsageError(f"nothing of {name} can be checked: {'; '.join(broken)}")
    if not found:
        known = {part.name for part in parts} | {part.provenance.distribution for part in parts}
        suggested = nearest(name, known)
        similar = suggested if suggested.endswith("?") else "pneumo list-plugins shows what is installed"
        raise UsageError(
            f"there is no plugin, distribution or part {name!r}; {similar} (install it, or name its file with "
            "--plugin FILE.py)"
        )
    return found


def _member_of_a_family(plugins: Plugins, name: str) -> Part | None:
    for entry in plugins.models.find(name) if plugins.models.knows(name) else ():
        return Part("model", entry.spec.name, entry.provenance)
    return None
