"""Settings resolution, in order of precedence: flags, environment, file, preset, defaults.

:func:`resolve` merges these layers, validates the result once and records the origin of every value, for error
messages and reports.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import tomli_w
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.settings.dataset_options import (
    all_options,
    check_flags,
    chosen_dataset,
    imported_class,
    options_class,
)
from pneumo_cli.settings.renamed import RENAMED, with_current_names
from pneumo_cli.settings.schema import DatasetSettings, MachineSettings, TrainerSettings
from pneumo_cli.specs import DatasetSpec, Preset, TrainerSpec

PREFIX = "PNEUMO_"
CONFIG_FILE = "pneumo.toml"
_log = logging.getLogger("pneumo")
_CONTROL_VARIABLES = {"PNEUMO_DEBUG", "PNEUMO_DISABLE_PLUGINS", "PNEUMO_PRESET"}
_RUN_FILE_TABLES = {"origin", "run"}
_Class: TypeAlias = type[TrainerSettings | DatasetSettings | MachineSettings]


@dataclass(frozen=True)
class Resolved:
    """Validated settings and their origins.

    Attributes:
        entry: the trainer.
        preset: the preset in use, with its values.
        trainer: the recipe, an instance of the trainer's own settings class.
        machine: the machine's settings.
        origins: field name to ``default``, ``preset quick``, ``pneumo.toml``, ``PNEUMO_EPOCHS`` or ``--epochs``.
        options: of the dataset, an instance of its own class.
    """

    entry: Entry[TrainerSpec]
    preset: Preset
    trainer: TrainerSettings
    machine: MachineSettings
    origins: Mapping[str, str]
    options: DatasetSettings = field(default_factory=DatasetSettings)

    def to_toml(self, run: Mapping[str, Any]) -> str:
        """The content of ``run.toml``, a configuration file that reproduces the run.

        Args:
            run: facts about the run (its trainer's distribution, its start) for the table ``[run]``, which is
                ignored when the file is read as configuration.
        """
        return (
            f"# Settings of a pneumo run. To run it again: pneumo run {self.entry.spec.name} --config THIS_FILE\n"
            + tomli_w.dumps({**self._values(), "run": dict(run), "origin": dict(self.origins)})
        )

    def explained(self) -> str:
        """Every setting with its origin as a comment; also a valid configuration file."""
        lines = [(tomli_w.dumps({name: value}).rstrip("\n"), name) for name, value in self._values().items()]
        width = min(60, max(len(line) for line, _ in lines))
        return "".join(
            f"{line:<{width}}  # {self.origins[name]}\n" if name in self.origins else f"{line}\n"
            for line, name in lines
        )

    def _values(self) -> dict[str, Any]:
        names = {"trainer": self.entry.spec.name, "preset": self.preset.name}
        return names | plain_values(self.trainer) | plain_values(self.options) | plain_values(self.machine)


def plain_values(settings: TrainerSettings | DatasetSettings | MachineSettings) -> dict[str, Any]:
    """Field values as TOML types: paths as absolute text, those of a dataset, which may be relative to its root,
    as they are; fields that are None are left out.
    """
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path):
            value = str(value if isinstance(settings, DatasetSettings) else value.absolute())
        if value is not None:
            values[name] = value
    return values


def settings_class(entry: Entry[TrainerSpec]) -> type[TrainerSettings]:
    """Import a trainer's settings class.

    Raises:
        UsageError: the plugin's reference does not lead to one.
    """
    return imported_class(entry, TrainerSettings, f"the settings of trainer {entry.spec.name}")


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
        flags: values by field name; None: the flag was not given.
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
    file_label, file_values = _file_layer(registries, entry, known, config)
    classes: list[_Class] = [trainer_class, MachineSettings]
    classes += dict.fromkeys(cls for cls, _ in options.values())
    environment = _environment_layer(registries, known, classes, environ)
    in_file = file_values.pop("preset", None)
    names = [("--preset", preset), ("PNEUMO_PRESET", environ.get("PNEUMO_PRESET")), (file_label, in_file)]
    chosen = _choose_preset(entry, names)
    own, fallback = (with_current_names(values, known) for values in (chosen.values, chosen.fallback))
    chosen = replace(chosen, values=own, fallback=fallback)
    for name in [*own, *fallback]:
        if name not in known:
            raise UsageError(
                f"the preset {chosen.name} of {entry.qualified_name} sets {name!r}: {nearest(name, known)}"
            )

    given = with_current_names(_given(flags), known, "a flag")
    if "model" not in file_values | environment | given:
        chosen = _with_an_installed_model(registries, chosen)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(sorted(known), "default")
    layers = [
        ({"model": entry.spec.model}, lambda name: "default"),
        (chosen.values, lambda name: f"preset {chosen.name}"),
        (file_values, lambda name: file_label),
        (environment, _variable),
        (given, _flag),
    ]
    for layer, label in layers:
        for name, value in layer.items():
            if name not in known:
                raise UsageError(f"unknown setting {name!r}; {nearest(name, known)}")
            values[name] = value
            origins[name] = label(name)
    dataset = chosen_dataset(
        registries, str(values.get("dataset", trainer_class.model_fields["dataset"].default))
    )
    check_flags(registries, dataset, given)
    dataset_class = options_class(dataset) if dataset is not None else DatasetSettings
    origins = {n: o for n, o in origins.items() if n not in options or n in dataset_class.model_fields}
    trainer, own_options, machine = _validated(
        (trainer_class, dataset_class, MachineSettings), values, origins
    )
    return Resolved(entry, chosen, trainer, machine, origins, own_options)


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


def _resolve_class(cls: _Class, flags: Mapping[str, Any], environ: Mapping[str, str] | None) -> Any:
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = Path(CONFIG_FILE)
    layers = [
        (read_toml(path) if path.is_file() else {}, lambda name: CONFIG_FILE),
        (_environment_values(cls, environ), _variable),
        (_given(flags), _flag),
    ]
    for layer, label in layers:
        for name in cls.model_fields.keys() & layer.keys():
            values[name] = layer[name]
            origins[name] = label(name)
    return _validated([cls], values, origins)[0]


def _given(flags: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def _validated(classes: Sequence[_Class], values: Mapping[str, Any], origins: Mapping[str, str]) -> list[Any]:
    problems, instances = [], []
    for cls in classes:
        try:
            instances.append(
                cls(**{name: value for name, value in values.items() if name in cls.model_fields})
            )
        except ValidationError as error:
            problems.append(_explain(error, origins))
    if problems:
        raise UsageError("; ".join(problems))
    return instances


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    parts = []
    for item in error.errors(include_url=False):
        message = item["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
        if item["loc"]:
            name = str(item["loc"][0])
            message = f"{name} = {item['input']!r} ({origins.get(name, 'default')}): {message}"
        parts.append(message)  # without a place: settings that do not fit together, which the message names
    return "; ".join(parts)


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
    instead = ", ".join(f"{name} = {value}" for name, value in preset.fallback.items())
    message = "the model %s of the preset %s is not installed, so it uses %s; %s"
    _log.warning(message, model, preset.name, instead, preset.hint)
    return replace(preset, values={**preset.values, **preset.fallback})


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a configuration file.

    Raises:
        UsageError: it does not exist or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte order mark
        if "\0" in text:  # UTF-16 without a mark
            raise UnicodeError
        return tomllib.loads(text)
    except FileNotFoundError:
        raise UsageError(f"there is no configuration file {path}") from None
    except UnicodeError:
        raise UsageError(
            f"the configuration file {path} cannot be read: it is in UTF-16 or another encoding; save it as UTF-8"
        ) from None
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the configuration file {path} cannot be read: {error}") from None


def _file_layer(
    registries: Registries, entry: Entry[TrainerSpec], known: set[str], config: Path | None
) -> tuple[str, dict[str, Any]]:
    """Label and values of the configuration file for this trainer: its top level, then its table ``[NAME]``."""
    path = config if config is not None else Path(CONFIG_FILE)
    if config is None and not path.is_file():
        return CONFIG_FILE, {}
    content = read_toml(path)
    label = str(path)
    written_for = content.pop("trainer", entry.spec.name)
    if written_for != entry.spec.name:
        raise UsageError(f"{path} was written for the trainer {written_for}, not {entry.spec.name}")
    # Former names are worth a warning in a file that somebody wrote, not in what a run recorded.
    where = "" if "run" in content else label
    content = with_current_names(content, known, where)
    allowed, trainers = known | {"preset"}, registries.trainers.names()
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    for name in tables:
        if name not in _RUN_FILE_TABLES and name not in trainers:
            raise UsageError(f"{path}: there is no trainer for the table [{name}]; {nearest(name, trainers)}")
    values = {name: value for name, value in content.items() if name in allowed and name not in tables}
    for name in content:
        if name not in allowed and name not in tables and not _known_elsewhere(registries, name):
            raise UsageError(f"{path}: unknown setting {name!r}; {nearest(name, known)}")
    own = with_current_names(tables.get(entry.spec.name, {}), known, where)
    for name in own:
        if name not in allowed:
            raise UsageError(f"{path}: [{entry.spec.name}]: unknown setting {name!r}; {nearest(name, known)}")
    return label, values | own


def _environment_values(cls: _Class, environ: Mapping[str, str]) -> dict[str, Any]:
    source = EnvSettingsSource(cls, case_sensitive=False, env_prefix=PREFIX)
    source.env_vars = {name.lower(): value for name, value in environ.items()}
    return dict(source())


def _environment_layer(
    registries: Registries, known: set[str], classes: Sequence[_Class], environ: Mapping[str, str]
) -> dict[str, Any]:
    for variable in sorted(environ):
        upper = variable.upper()
        if not upper.startswith(PREFIX) or upper in _CONTROL_VARIABLES:
            continue
        name = upper.removeprefix(PREFIX).lower()
        if name not in known and not _known_elsewhere(registries, name):
            candidates = {field.upper() for field in known}
            candidates |= {control.removeprefix(PREFIX) for control in _CONTROL_VARIABLES}
            hint = nearest(upper.removeprefix(PREFIX), candidates, prefix=PREFIX)
            raise UsageError(f"unknown environment variable {variable}; {hint}")
    prefixed = {
        name.upper().removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.upper().startswith(PREFIX)
    }
    named = with_current_names(prefixed, known, "an environment variable")
    current = {_variable(name): value for name, value in named.items()}
    return {name: value for cls in classes for name, value in _environment_values(cls, current).items()}


def _known_elsewhere(registries: Registries, name: str) -> bool:
    """Whether another installed trainer has this setting; a shared file or environment may hold it."""
    names = {name, RENAMED.get(name, name)}
    for entry in registries.trainers.entries():
        try:
            if names & settings_class(entry).model_fields.keys():
                return True
        except UsageError:
            continue
    return False
