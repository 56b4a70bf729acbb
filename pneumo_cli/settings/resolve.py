"""Settings resolution, in order of precedence: flags, environment, file, preset, defaults.

:func:`resolve` merges these layers, validates the result once and records the origin of every value, for error
messages and reports.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.installation import with_places
from pneumo_cli.registry import Entry, Registries, Registry, Spec
from pneumo_cli.settings.classes import options_class
from pneumo_cli.settings.classes import settings_class as settings_class
from pneumo_cli.settings.dataset_options import all_options, check_flags, chosen_dataset
from pneumo_cli.settings.field_types import plain
from pneumo_cli.settings.parts import (
    PartEntry,
    chosen_parts,
    flag,
    flat_name,
    found_as,
    listed,
    part_fields,
    shared_names,
    split_flags,
)
from pneumo_cli.settings.renamed import RENAMED, SWITCHES, with_current_names
from pneumo_cli.settings.schema import DatasetSettings, MachineSettings, PartSettings, TrainerSettings
from pneumo_cli.settings.sources import (
    CONFIG_FILE,
    environment_values,
    file_values,
    prefixed,
    variable,
)
from pneumo_cli.settings.sources import read_toml as read_toml
from pneumo_cli.settings.validation import AnySettings, LayeredValues, SettingsClass, part_values, validated
from pneumo_cli.specs import DatasetSpec, ExtensionSpec, Preset, TrainerSpec

_log = logging.getLogger("pneumo")


@dataclass(frozen=True)
class Part:
    """An extension or observer that ``--with`` asks for, with its settings.

    Attributes:
        entry: the registered extension or observer.
        settings: an instance of its own class.
        asked_as: its name for ``--with``, where its own is ambiguous; else empty.
    """

    entry: PartEntry
    settings: PartSettings
    asked_as: str = ""

    @property
    def name(self) -> str:
        """The name of the extension or observer."""
        return self.entry.spec.name

    @property
    def is_extension(self) -> bool:
        """Whether it is part of the recipe."""
        return isinstance(self.entry.spec, ExtensionSpec)


@dataclass(frozen=True)
class Resolved:
    """Validated settings and their origins.

    Attributes:
        entry: the trainer.
        preset: the preset in use, with its values.
        trainer: the recipe, an instance of the trainer's own settings class.
        machine: the machine's settings.
        origins: field name to ``default``, ``preset quick``, ``pneumo.toml``, ``PNEUMO_EPOCHS`` or ``--epochs``;
            the settings of parts as ``mixup.alpha``, and what asks for the parts as ``with``.
        options: of the dataset, an instance of its own class.
        parts: the extensions and observers that take part, the outermost first.
        recorded: the qualified names of the model and dataset, where they come from the ``run.toml`` of a run.
    """

    entry: Entry[TrainerSpec]
    preset: Preset
    trainer: TrainerSettings
    machine: MachineSettings
    origins: Mapping[str, str]
    options: DatasetSettings = field(default_factory=DatasetSettings)
    parts: tuple[Part, ...] = ()
    recorded: Mapping[str, str] = field(default_factory=dict)

    def registered(self, registry: Registry[Spec]) -> Entry[Spec]:
        """The model or dataset that the settings name, from its registry.

        Raises:
            UsageError: it is not installed, or ambiguous; only a name that a user typed is.
        """
        setting = registry.noun
        name = self.recorded.get(setting, getattr(self.trainer, setting))
        return registry.get(name, prefer=_who_chose(self.entry, self.origins[setting]))

    def to_toml(self, run: Mapping[str, Any]) -> str:
        """The content of ``run.toml``, a configuration file that reproduces the run.

        Args:
            run: facts about the run (its trainer's distribution, its start) for the table ``[run]``, which is
                ignored when the file is read as configuration. The names of observers, without which it can go
                on, are added.
        """
        observers = [part.name for part in self.parts if not part.is_extension]
        facts = {**run, "observers": observers} if observers else dict(run)
        return (
            f"# Settings of a pneumo run. To run it again: pneumo run {self.entry.spec.name} --config THIS_FILE\n"
            + tomli_w.dumps({**self._values(), **self._tables(), "run": facts, "origin": dict(self.origins)})
        )

    def explained(self) -> str:
        """Every setting with its origin as a comment; also a valid configuration file."""
        lines = [(_line(name, value), self.origins.get(name, "")) for name, value in self._values().items()]
        for part, table in self._tables().items():
            lines.append((f"\n[{part}]", ""))
            lines += [(_line(name, value), self.origins[f"{part}.{name}"]) for name, value in table.items()]
        width = min(60, max(len(line) for line, _ in lines))
        return "".join(f"{line:<{width}}  # {origin}\n" if origin else f"{line}\n" for line, origin in lines)

    def _values(self) -> dict[str, Any]:
        values: dict[str, Any] = {"trainer": self.entry.spec.name, "preset": self.preset.name}
        if self.parts:
            values["with"] = [part.asked_as or part.name for part in self.parts]
        return values | plain_values(self.trainer) | plain_values(self.options) | plain_values(self.machine)

    def _tables(self) -> dict[str, dict[str, Any]]:
        """The settings of the parts that have any, by part."""
        tables = {part.name: plain_values(part.settings) for part in self.parts}
        return {name: table for name, table in tables.items() if table}


def _line(name: str, value: Any) -> str:
    """A key and its value on one line of TOML."""
    if isinstance(value, list):
        items = ", ".join(tomli_w.dumps({"item": item}).partition(" = ")[2].rstrip("\n") for item in value)
        return f"{name} = [{items}]"
    return tomli_w.dumps({name: value}).rstrip("\n")


def plain_values(settings: AnySettings) -> dict[str, Any]:
    """Field values as TOML types: paths as absolute text, those of a dataset, which may be relative to its root,
    as they are; fields that are None are left out.
    """
    absolute = not isinstance(settings, DatasetSettings)
    values = {name: plain(getattr(settings, name), absolute=absolute) for name in type(settings).model_fields}
    return {name: value for name, value in values.items() if value is not None}


def resolve(
    registries: Registries,
    entry: Entry[TrainerSpec],
    flags: Mapping[str, Any],
    *,
    preset: str | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Merge the layers for one trainer and validate the result.

    Args:
        flags: values by field name, the settings of parts as ``mixup_alpha``, and the names of these as ``with``;
            None: the flag was not given.
        preset: the value of ``--preset``.
        config: the value of ``--config``; None: ``pneumo.toml`` of the working folder, if there is one.
        environ: the environment; None: ``os.environ``.

    Raises:
        UsageError: a name is unknown or a value out of bounds; the message names its origin.
    """
    environ = os.environ if environ is None else environ
    trainer_class = settings_class(entry)
    options = all_options(registries)
    known = set(trainer_class.model_fields) | set(MachineSettings.model_fields) | set(options)
    fields = part_fields(registries)
    file = file_values(registries, entry, known, config)
    environment = environment_values(registries, known, fields, environ)
    in_file = file.values.pop("preset", None)
    names = [("--preset", preset), ("PNEUMO_PRESET", environ.get("PNEUMO_PRESET")), (file.label, in_file)]
    chosen = _choose_preset(entry, names)
    own, fallback = (with_current_names(values, known) for values in (chosen.values, chosen.fallback))
    chosen = replace(chosen, values=own, fallback=fallback)
    for name in [*own, *fallback]:
        if name not in known:
            raise UsageError(
                f"the preset {chosen.name} of {entry.qualified_name} sets {name!r}: {nearest(name, known)}"
            )

    given = _given(flags)
    asked = [
        ("--with", given.pop("with", None)),
        ("PNEUMO_WITH", environ.get("PNEUMO_WITH")),
        (file.label, file.values.pop("with", None)),
    ]
    asked_by, wanted = next(((by, value) for by, value in asked if value is not None), ("default", ""))
    taken = known | RENAMED.keys() | SWITCHES.keys()
    entries = chosen_parts(registries, listed(wanted, asked_by), asked_by, taken)
    part_flags = fields | shared_names(fields, taken)
    of_parts = split_flags(given, part_flags, entries, taken)
    given = {name: value for name, value in given.items() if name in taken or name not in part_flags}
    parts = [part_values(part, file, environment, of_parts) for part in entries]

    given = with_current_names(given, known, "a flag")
    environment = {name: value for name, value in environment.items() if name in known}
    if "model" not in file.values | environment | given:
        chosen = _with_an_installed_model(registries, chosen)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(sorted(known), "default")
    layers = [
        ({"model": entry.spec.model}, lambda name: "default"),
        (chosen.values, lambda name: f"preset {chosen.name}"),
        (file.values, lambda name: file.label),
        (environment, variable),
        (given, flag),
    ]
    for layer, label in layers:
        for name, value in layer.items():
            if name not in known:
                raise UsageError(f"unknown setting {name!r}; {nearest(name, {*known, *part_flags})}")
            values[name] = value
            origins[name] = label(name)
    recorded = {
        name: full
        for name, full in file.recorded.items()
        if origins[name] == file.label and full.rpartition(":")[2] == str(values[name]).rpartition(":")[2]
    }
    named = str(values.get("dataset", trainer_class.model_fields["dataset"].default))
    prefer = _who_chose(entry, origins["dataset"])
    dataset = chosen_dataset(registries, recorded.get("dataset", named), prefer=prefer)
    check_flags(registries, dataset, given)
    dataset_class = options_class(dataset) if dataset is not None else DatasetSettings
    # Not over what a run has recorded: one of an earlier version had the dataset as it is without options.
    if dataset is not None and "dataset" not in recorded:
        for name, value in chosen.options.get(dataset.spec.name, {}).items():
            if name in dataset_class.model_fields and origins[name] == "default":
                values[name], origins[name] = value, f"preset {chosen.name}"
    origins = {n: o for n, o in origins.items() if n not in options or n in dataset_class.model_fields}
    general = [LayeredValues(cls, values, origins) for cls in (trainer_class, dataset_class, MachineSettings)]
    trainer, own_options, machine, *settings = validated([*general, *parts])
    if entries:
        origins["with"] = asked_by
    for part in parts:
        origins |= {f"{part.table}{name}": origin for name, origin in part.origins.items()}
    taking_part = tuple(
        Part(one, own_settings, "" if len(found_as(registries, one.spec.name)) == 1 else one.qualified_name)
        for one, own_settings in zip(entries, settings, strict=True)
    )
    return Resolved(entry, chosen, trainer, machine, origins, own_options, taking_part, recorded)


def with_preset(registries: Registries, resolved: Resolved, preset: str) -> Resolved:
    """The same request with another preset: what flags, variables and files have set stays.

    Raises:
        UsageError: the trainer has no such preset, or these settings do not go with it.
    """
    given: dict[str, Any] = {}
    for settings in (resolved.trainer, resolved.options, resolved.machine):
        for name in type(settings).model_fields:
            if not _by_trainer(resolved.origins[name]):
                given[name] = getattr(settings, name)
    for part in resolved.parts:
        for name in type(part.settings).model_fields:
            given[flat_name(part.name, name)] = getattr(part.settings, name)
    if resolved.parts:
        given["with"] = [part.asked_as or part.name for part in resolved.parts]
    return resolve(registries, resolved.entry, given, preset=preset, environ={})


def _by_trainer(origin: str) -> bool:
    """Whether a value is one of the trainer's own choice."""
    return origin == "default" or origin.startswith("preset ")


def _who_chose(entry: Entry[TrainerSpec], origin: str) -> str:
    """The distribution that chose a name, for :meth:`~pneumo_cli.registry.Registry.get`; empty: a user did."""
    return entry.provenance.distribution if _by_trainer(origin) else ""


def resolve_machine(flags: Mapping[str, Any], *, environ: Mapping[str, str] | None = None) -> MachineSettings:
    """The machine's settings alone, for commands that run no trainer.

    From the flags, the environment and ``pneumo.toml``. Everything else there belongs to trainers and is validated
    when one runs.
    """
    machine: MachineSettings = _resolve_class(MachineSettings, flags, environ)
    return machine


def resolve_options(
    registries: Registries,
    entry: Entry[DatasetSpec],
    flags: Mapping[str, Any],
    *,
    environ: Mapping[str, str] | None = None,
) -> DatasetSettings:
    """A dataset's options alone, for commands that run no trainer; as :func:`resolve_machine`.

    Raises:
        UsageError: a flag is no option of this dataset, or a value is out of bounds.
    """
    check_flags(registries, entry, flags)
    options: DatasetSettings = _resolve_class(options_class(entry), flags, environ)
    return options


def _resolve_class(cls: SettingsClass, flags: Mapping[str, Any], environ: Mapping[str, str] | None) -> Any:
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = Path(CONFIG_FILE)
    layers = [
        (read_toml(path) if path.is_file() else {}, lambda name: CONFIG_FILE),
        (prefixed(environ), variable),
        (_given(flags), flag),
    ]
    for layer, label in layers:
        for name in cls.model_fields.keys() & layer.keys():
            values[name] = layer[name]
            origins[name] = label(name)
    return validated([LayeredValues(cls, values, origins)])[0]


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _choose_preset(entry: Entry[TrainerSpec], names: Sequence[tuple[str, Any]]) -> Preset:
    """The preset that the first origin with a name asks for; else the trainer's first."""
    for origin, name in names:
        if name:
            for preset in entry.spec.presets:
                if preset.name == name:
                    return preset
            hint = nearest(str(name), [preset.name for preset in entry.spec.presets])
            raise UsageError(f"unknown preset {name!r} ({origin}) of {entry.spec.name}; {hint}")
    return entry.spec.presets[0]


def _with_an_installed_model(registries: Registries, preset: Preset) -> Preset:
    """The preset, with its fallback (and a warning) where its model is not installed."""
    model = preset.values.get("model")
    if model is None or not preset.fallback or registries.models.knows(model):
        return preset
    instead = ", ".join(f"{name} {value}" for name, value in preset.fallback.items())
    _log.warning("%s is not installed: the preset %s uses %s", model, preset.name, instead)
    _log.warning("%s", with_places(preset.hint))
    return replace(preset, values={**preset.values, **preset.fallback})
