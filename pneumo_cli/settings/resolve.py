"""Where settings come from, and which wins: flags, environment, file, preset, defaults.

:func:`resolve` merges the layers, checks the result once, and remembers the origin of every value, so that an
error can point at the place that has to change and a report can say what was set by whom.
"""

from __future__ import annotations

import logging
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError
from pydantic_settings import EnvSettingsSource

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.settings.renamed import RENAMED, with_current_names
from pneumo_cli.settings.schema import MachineSettings, TrainerSettings
from pneumo_cli.specs import Preset, TrainerSpec, load_reference

PREFIX = "PNEUMO_"
CONFIG_FILE = "pneumo.toml"
_log = logging.getLogger("pneumo")
_CONTROL_VARIABLES = {"PNEUMO_DEBUG", "PNEUMO_DISABLE_PLUGINS", "PNEUMO_PRESET"}
_RUN_FILE_TABLES = {"origin", "run"}


@dataclass(frozen=True)
class Resolved:
    """Settings that are checked, and where each came from.

    Attributes:
        entry: the trainer.
        preset: the preset that was used, with the values that it set.
        trainer: the recipe, an instance of the trainer's own settings class.
        machine: what belongs to the machine.
        origins: field name to ``default``, ``preset quick``, ``pneumo.toml``, ``PNEUMO_EPOCHS`` or ``--epochs``.
    """

    entry: Entry[TrainerSpec]
    preset: Preset
    trainer: TrainerSettings
    machine: MachineSettings
    origins: Mapping[str, str]

    def to_toml(self, run: Mapping[str, Any]) -> str:
        """The content of ``run.toml``: it reads as a configuration file and reproduces the run.

        Args:
            run: facts about the run (its trainer's distribution, its start) for the table ``[run]``, which is
                ignored when the file is read as configuration.
        """
        values: dict[str, Any] = {"trainer": self.entry.spec.name, "preset": self.preset.name}
        values |= plain_values(self.trainer) | plain_values(self.machine)
        return (
            f"# Settings of a pneumo run. To run it again: pneumo run {self.entry.spec.name} --config THIS_FILE\n"
            + tomli_w.dumps({**values, "run": dict(run), "origin": dict(self.origins)})
        )

    def explained(self) -> str:
        """Every setting with its origin as a comment: readable, and a valid configuration file."""
        values: dict[str, Any] = {"trainer": self.entry.spec.name, "preset": self.preset.name}
        values |= plain_values(self.trainer) | plain_values(self.machine)
        lines = [(tomli_w.dumps({name: value}).rstrip("\n"), name) for name, value in values.items()]
        width = min(60, max(len(line) for line, _ in lines))
        return "".join(
            f"{line:<{width}}  # {self.origins[name]}\n" if name in self.origins else f"{line}\n"
            for line, name in lines
        )


def plain_values(settings: TrainerSettings | MachineSettings) -> dict[str, Any]:
    """Field values as TOML can hold them: paths absolute and as text, unset fields left out."""
    values: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path):
            value = str(value.expanduser().absolute())
        if value is not None:
            values[name] = value
    return values


def settings_class(entry: Entry[TrainerSpec]) -> type[TrainerSettings]:
    """Import a trainer's settings class.

    Raises:
        UsageError: the plugin's reference does not lead to one.
    """
    try:
        found = load_reference(entry.spec.settings)
    except Exception as error:
        raise UsageError(
            f"the settings of trainer {entry.spec.name} ({entry.provenance}) cannot be imported from "
            f"{entry.spec.settings}: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(found, type) and issubclass(found, TrainerSettings)):
        raise UsageError(f"{entry.spec.settings} ({entry.provenance}) is no subclass of TrainerSettings")
    return found


def resolve(
    registries: Registries,
    entry: Entry[TrainerSpec],
    flags: Mapping[str, Any],
    *,
    preset: str | None = None,
    config: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Resolved:
    """Merge the layers for one trainer and check the result.

    Args:
        flags: values by field name; None means that the flag was not given.
        preset: the name given by ``--preset``.
        config: the file given by ``--config``; ``pneumo.toml`` of the working folder, where None and present.
        environ: the environment; ``os.environ`` where None.

    Raises:
        UsageError: a name is unknown or a value out of bounds; names the place that it came from.
    """
    environ = os.environ if environ is None else environ
    trainer_class = settings_class(entry)
    known = set(trainer_class.model_fields) | set(MachineSettings.model_fields)
    file_label, file_values = _file_layer(registries, entry, known, config)
    environment = _environment_layer(registries, known, trainer_class, environ)
    chosen = _choose_preset(
        entry, preset, environ.get("PNEUMO_PRESET"), file_values.pop("preset", None), file_label
    )
    chosen = replace(
        chosen,
        values=with_current_names(chosen.values, known),
        fallback=with_current_names(chosen.fallback, known),
    )
    for name in [*chosen.values, *chosen.fallback]:
        if name not in known:
            raise UsageError(
                f"the preset {chosen.name} of {entry.qualified_name} sets {name!r}: {nearest(name, known)}"
            )

    given = with_current_names(
        {name: value for name, value in flags.items() if value is not None}, known, "a flag"
    )
    if "model" not in file_values | environment | given:
        chosen = _with_an_installed_model(registries, chosen)
    values: dict[str, Any] = {}
    origins = dict.fromkeys(sorted(known), "default")
    layers = [
        ({"model": entry.spec.model}, lambda name: "default"),
        (chosen.values, lambda name: f"preset {chosen.name}"),
        (file_values, lambda name: file_label),
        (environment, lambda name: PREFIX + name.upper()),
        (given, lambda name: "--" + name.replace("_", "-")),
    ]
    for layer, label in layers:
        for name, value in layer.items():
            if name not in known:
                raise UsageError(f"unknown setting {name!r}; {nearest(name, known)}")
            values[name] = value
            origins[name] = label(name)
    trainer, machine = _checked(trainer_class, values, origins)
    return Resolved(entry, chosen, trainer, machine, origins)


def resolve_machine(flags: Mapping[str, Any], *, environ: Mapping[str, str] | None = None) -> MachineSettings:
    """The machine's settings alone, for commands that run no trainer.

    Takes them from the flags, the environment and ``pneumo.toml``; everything else in these belongs to trainers
    and is checked when one runs.
    """
    environ = os.environ if environ is None else environ
    known = set(MachineSettings.model_fields)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    path = Path(CONFIG_FILE)
    sources = [
        (read_toml(path) if path.is_file() else {}, lambda name: CONFIG_FILE),
        (_environment_values(MachineSettings, environ), lambda name: PREFIX + name.upper()),
        ({k: v for k, v in flags.items() if v is not None}, lambda name: "--" + name.replace("_", "-")),
    ]
    for layer, label in sources:
        for name in known & layer.keys():
            values[name] = layer[name]
            origins[name] = label(name)
    try:
        return MachineSettings(**values)
    except ValidationError as error:
        raise UsageError(_explain(error, origins)) from None


def _checked(
    trainer_class: type[TrainerSettings], values: Mapping[str, Any], origins: Mapping[str, str]
) -> tuple[TrainerSettings, MachineSettings]:
    problems = []
    made: list[Any] = []
    for cls in (trainer_class, MachineSettings):
        try:
            made.append(cls(**{k: v for k, v in values.items() if k in cls.model_fields}))
        except ValidationError as error:
            problems.append(_explain(error, origins))
    if problems:
        raise UsageError("; ".join(problems))
    return made[0], made[1]


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    parts = []
    for item in error.errors(include_url=False):
        what = item["msg"].removeprefix("Value error, ")
        what = what[0].lower() + what[1:]
        if not item["loc"]:  # what does not go together; the words name the settings
            parts.append(what)
            continue
        name = str(item["loc"][0])
        origin = origins.get(name, "default")
        parts.append(f"{name} = {item['input']!r} ({origin}): {what}")
    return "; ".join(parts)


def _choose_preset(
    entry: Entry[TrainerSpec], flag: str | None, variable: str | None, in_file: Any, file_label: str
) -> Preset:
    for name, origin in ((flag, "--preset"), (variable, "PNEUMO_PRESET"), (in_file, file_label)):
        if name:
            for preset in entry.spec.presets:
                if preset.name == name:
                    return preset
            hint = nearest(str(name), [preset.name for preset in entry.spec.presets])
            raise UsageError(f"unknown preset {name!r} ({origin}) of {entry.spec.name}; {hint}")
    return entry.spec.presets[0]


def _with_an_installed_model(registries: Registries, preset: Preset) -> Preset:
    """A preset whose model is there: itself, or with its fallback, which is said."""
    model = preset.values.get("model")
    if model is None or not preset.fallback or model.rpartition(":")[2] in registries.models.names():
        return preset
    instead = ", ".join(f"{name} = {value}" for name, value in preset.fallback.items())
    _log.warning(
        "the model %s of the preset %s is not installed, so it takes %s; %s",
        model,
        preset.name,
        instead,
        preset.hint,
    )
    return replace(preset, values={**preset.values, **preset.fallback})


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a configuration file.

    Raises:
        UsageError: there is none, or it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"the configuration file {path} cannot be read: {error}") from None


def _file_layer(
    registries: Registries, entry: Entry[TrainerSpec], known: set[str], config: Path | None
) -> tuple[str, dict[str, Any]]:
    """The values of the configuration file for this trainer: its top level, then its table ``[NAME]``."""
    path = config if config is not None else Path(CONFIG_FILE)
    if config is None and not path.is_file():
        return CONFIG_FILE, {}
    content = read_toml(path)
    label = str(path)
    written_for = content.pop("trainer", entry.spec.name)
    if written_for != entry.spec.name:
        raise UsageError(f"{path} was written for the trainer {written_for}, not {entry.spec.name}")
    # What a run recorded is read as it is; a file of a person's is worth a remark.
    where = "" if "run" in content else label
    content = with_current_names(content, known, where)
    values: dict[str, Any] = {}
    own: dict[str, Any] = {}
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    for name, table in tables.items():
        if name == entry.spec.name:
            own = with_current_names(table, known, where)
        elif name not in _RUN_FILE_TABLES and name not in registries.trainers.names():
            raise UsageError(
                f"{path}: there is no trainer for the table [{name}]; {nearest(name, registries.trainers.names())}"
            )
    for name, value in content.items():
        if name in tables:
            continue
        if name in known or name == "preset":
            values[name] = value
        elif not _known_elsewhere(registries, name):
            raise UsageError(f"{path}: unknown setting {name!r}; {nearest(name, known)}")
    for name, value in own.items():
        if name not in known and name != "preset":
            raise UsageError(f"{path}: [{entry.spec.name}]: unknown setting {name!r}; {nearest(name, known)}")
        values[name] = value
    return label, values


def _environment_values(
    cls: type[TrainerSettings | MachineSettings], environ: Mapping[str, str]
) -> dict[str, Any]:
    source = EnvSettingsSource(cls, case_sensitive=False, env_prefix=PREFIX)
    source.env_vars = {name.lower(): value for name, value in environ.items()}
    return dict(source())


def _environment_layer(
    registries: Registries, known: set[str], trainer_class: type[TrainerSettings], environ: Mapping[str, str]
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
    current = {PREFIX + name.upper(): value for name, value in named.items()}
    return _environment_values(trainer_class, current) | _environment_values(MachineSettings, current)


def _known_elsewhere(registries: Registries, name: str) -> bool:
    """Whether another installed trainer has this setting: a shared file or environment may hold it."""
    names = {name, RENAMED.get(name, name)}
    for entry in registries.trainers.entries():
        try:
            if names & settings_class(entry).model_fields.keys():
                return True
        except UsageError:
            continue
    return False
