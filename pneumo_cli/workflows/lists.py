"""What is installed, and what can be set. Nothing that is listed is imported, but for settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.specs import ExtensionSpec, ObserverSpec
from pneumo_cli.workflows.argument_types import checking
from pneumo_cli.workflows.installed import installed
from pneumo_cli.workflows.tables import Table

MACHINE = "machine"
"""The settings of the machine, which all trainers have: device, precision, folders."""
_PRESET = "preset "  # begins the names of columns


@checking
def trainers() -> Table:
    """The trainers that :func:`pneumo_cli.run` takes: what ``pneumo list-trainers`` lists."""
    return trainer_table(installed())


@checking
def models(pattern: str | None = None) -> Table:
    """The models that ``model=`` takes: what ``pneumo list-models`` lists.

    Args:
        pattern: only models whose names contain it, or match it (``timm/convnext*``), those of families too; None:
            all, and a row for each family.

    Raises:
        UsageError: no model's name does.
    """
    return model_table(installed(), pattern)


@checking
def datasets() -> Table:
    """The datasets that ``dataset=`` takes: what ``pneumo list-datasets`` lists."""
    return dataset_table(installed())


@checking
def extensions() -> Table:
    """The extensions and observers that ``extensions=`` takes: what ``pneumo list-extensions`` lists."""
    return extension_table(installed())


@checking
def presets(trainer: str) -> Table:
    """The presets of a trainer: ``name``, ``summary``, and ``values``, the settings that each changes.

    Raises:
        UsageError: there is no such trainer.
    """
    spec = installed().trainers.get(trainer).spec
    return Table(
        {"name": preset.name, "summary": preset.summary, "values": dict(preset.values)}
        for preset in spec.presets
    )


class SettingsTable(Table):
    """Settings. A notebook or a terminal shows the most important columns, in words."""

    def _in_words(self) -> Table:
        from pneumo_cli.settings.details import type_in_words

        presets = [name for name in self.columns if name.startswith(_PRESET)]
        return Table(
            {
                "setting": row["name"],
                **{name.removeprefix(_PRESET): _written(row[name]) for name in presets or ["default"]},
                "type": type_in_words(row),
                "meaning": row["description"],
            }
            for row in self
        )

    def __repr__(self) -> str:
        return repr(self._in_words())

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return self._in_words()._repr_html_()


@checking
def settings(name: str) -> SettingsTable:
    """The settings of a trainer, a dataset, an extension or an observer.

    Args:
        name: as listed; ``"machine"``: the settings of the machine, which all trainers have.

    Returns:
        a row per setting: ``name``, ``type``, ``optional``, ``default``, ``bounds`` (``ge``, ``gt``, ``le``,
        ``lt``), ``choices``, ``description``, ``flag`` of the command line, ``variable`` of the environment; of a
        trainer also ``preset NAME``, its value with each preset. A setting of an extension is given to
        :func:`pneumo_cli.run` with its name before it: ``mixup_alpha=0.2``.

    Raises:
        UsageError: nothing of this name is installed, or it cannot be imported.
    """
    from pneumo_cli.settings.classes import options_class, part_class, settings_class
    from pneumo_cli.settings.details import known_choices, setting_details
    from pneumo_cli.settings.schema import MachineSettings

    plugins = installed()
    if plugins.trainers.knows(name):
        entry = plugins.trainers.get(name)
        rows = setting_details(settings_class(entry), choices=known_choices(plugins))
        chosen = {f"{_PRESET}{preset.name}": preset.values for preset in entry.spec.presets}
        return SettingsTable(_with_presets(row, chosen) for row in rows)
    if plugins.datasets.knows(name):
        return SettingsTable(setting_details(options_class(plugins.datasets.get(name))))
    for registry in (plugins.extensions, plugins.observers):
        if registry.knows(name):
            part = registry.get(name)
            return SettingsTable(setting_details(part_class(part), part.spec.name))
    if name == MACHINE:
        return SettingsTable(setting_details(MachineSettings))
    known = (plugins.trainers, plugins.datasets, plugins.extensions, plugins.observers)
    names = [MACHINE, *(found for registry in known for found in registry.names())]
    raise UsageError(f"unknown trainer, dataset, extension or observer {name!r}; {nearest(name, names)}")


def _with_presets(row: dict[str, Any], presets: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A setting with its value under each preset, after its default."""
    from pneumo_cli.settings.field_types import plain

    values = {
        preset: plain(chosen.get(row["name"], row["default"]), absolute=False)
        for preset, chosen in presets.items()
    }
    place = list(row).index("default") + 1
    items = list(row.items())
    return dict([*items[:place], *values.items(), *items[place:]])


def _written(value: Any) -> Any:
    """A value of a setting in a column with values of other types."""
    from pneumo_cli.runtime.json_values import value_text

    return "" if value is None else value_text(value)


def trainer_table(registries: Registries) -> Table:
    """What ``pneumo list-trainers --json`` prints."""
    return _table(registries.trainers.named(), "kind", "model", "presets")


def model_table(registries: Registries, pattern: str | None) -> Table:
    """What ``pneumo list-models TEXT --json`` prints. Raises as :func:`models`."""
    if not pattern:
        families = {f"{family.spec.name}/*": family for family in registries.models.families}
        return _table({**registries.models.named(), **families}, "kind")
    found = registries.models.search(pattern if set(pattern) & set("*?[") else f"*{pattern}*")
    if not found:
        raise UsageError(f"no model's name contains or matches {pattern!r} (pneumo list-models shows all)")
    return _table(found, "kind")


def dataset_table(registries: Registries) -> Table:
    """What ``pneumo list-datasets --json`` prints."""
    return _table(registries.datasets.named(), "synthetic")


def extension_table(registries: Registries) -> Table:
    """What ``pneumo list-extensions --json`` prints."""
    entries: list[Entry[Any]] = [*registries.extensions.entries(), *registries.observers.entries()]
    names = [entry.spec.name for entry in entries]
    named = {
        entry.qualified_name if names.count(entry.spec.name) > 1 else entry.spec.name: entry
        for entry in entries
    }
    return _table(named, "kind")


def _table(named: Mapping[str, Entry[Any]], *attributes: str) -> Table:
    return Table(
        {
            "name": name,
            **{attribute: _attribute(entry.spec, attribute) for attribute in attributes},
            "distribution": entry.provenance.distribution,
            "version": entry.provenance.version,
            "summary": entry.spec.summary,
        }
        for name, entry in named.items()
    )


def _attribute(spec: Any, name: str) -> Any:
    if isinstance(spec, (ExtensionSpec, ObserverSpec)):
        return "extension" if isinstance(spec, ExtensionSpec) else "observer"
    value = getattr(spec, name)
    return [preset.name for preset in value] if name == "presets" else value
