"""What a configuration file and the environment say, before it is validated. Misspelt names are found here."""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.settings.classes import settings_class
from pneumo_cli.settings.parts import absent_part, listed, part_names
from pneumo_cli.settings.renamed import RENAMED, with_current_names
from pneumo_cli.specs import TrainerSpec

PREFIX = "PNEUMO_"
CONFIG_FILE = "pneumo.toml"
_CONTROL_VARIABLES = {
    *("PNEUMO_DEBUG", "PNEUMO_DISABLE_PLUGINS", "PNEUMO_PLUGINS", "PNEUMO_PRESET", "PNEUMO_WITH"),
}
_CHOICES = {"preset", "with"}  # keys that are no settings
_RUN_FILE_TABLES = {"origin", "run"}


@dataclass(frozen=True)
class FileValues:
    """What a configuration file sets for one trainer.

    Attributes:
        label: the file's name, as the origin of its values.
        values: by setting, and of the keys ``preset`` and ``with``.
        tables: of extensions and observers, by name.
        recorded: the qualified names of a run's model and dataset, if the file is its ``run.toml``.
    """

    label: str
    values: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)
    recorded: dict[str, str] = field(default_factory=dict)


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


def file_values(
    registries: Registries, entry: Entry[TrainerSpec], known: set[str], config: Path | None
) -> FileValues:
    """Read the configuration file for a trainer: its top level, then its table ``[NAME]``; and the tables of parts.

    Args:
        known: the settings that there are.
        config: the value of ``--config``; None: ``pneumo.toml`` of the working folder, if there is one.

    Raises:
        UsageError: the file cannot be read, or has a name that is unknown.
    """
    path = config if config is not None else Path(CONFIG_FILE)
    if config is None and not path.is_file():
        return FileValues(CONFIG_FILE)
    content = read_toml(path)
    label = str(path)
    written_for = content.pop("trainer", entry.spec.name)
    if written_for != entry.spec.name:
        raise UsageError(f"{path} was written for the trainer {written_for}, not {entry.spec.name}")
    # Former names are worth a warning in a file that somebody wrote, not in what a run recorded.
    where = "" if "run" in content else label
    content = with_current_names(content, known, where)
    allowed = known | _CHOICES
    tables = {name: value for name, value in content.items() if isinstance(value, dict)}
    _check_tables(registries, path, tables, listed(content.get("with", []), label))
    values = {name: value for name, value in content.items() if name in allowed and name not in tables}
    run = tables.get("run", {})
    recorded = {name: run[name] for name in ("model", "dataset") if isinstance(run.get(name), str)}
    # Else the options of a dataset that is not installed: whoever opens it says so, and `predict` needs none.
    complete = "dataset" not in recorded or registries.datasets.knows(recorded["dataset"])
    for name in content:
        known_name = name in allowed or name in tables or _known_elsewhere(registries, name)
        if complete and not known_name:
            raise UsageError(f"{path}: unknown setting {name!r}; {nearest(name, known)}")
    own = with_current_names(tables.get(entry.spec.name, {}), known, where)
    for name in own:
        if name not in allowed:
            raise UsageError(f"{path}: [{entry.spec.name}]: unknown setting {name!r}; {nearest(name, known)}")
    parts = part_names(registries)
    of_parts = {name: table for name, table in tables.items() if name in parts}
    return FileValues(label, values | own, of_parts, recorded)


def _check_tables(
    registries: Registries, path: Path, tables: Collection[str], asked_for: Collection[str]
) -> None:
    """Refuse a table of nothing that is installed; that of a part which is asked for is refused with that part."""
    trainers, parts = registries.trainers.names(), part_names(registries)
    wanted = {name.rpartition(":")[2] for name in asked_for}
    for name in tables:
        if name in _RUN_FILE_TABLES or name in trainers or name in parts or name in wanted:
            continue
        if text := absent_part(name):
            raise UsageError(f"{path}: [{name}]: {text}")
        raise UsageError(
            f"{path}: there is no trainer, extension or observer for the table [{name}]; "
            f"{nearest(name, [*trainers, *parts])}"
        )


def environment_values(
    registries: Registries, known: Collection[str], parts: Collection[str], environ: Mapping[str, str]
) -> dict[str, str]:
    """The texts of all ``PNEUMO_`` variables, by setting.

    Args:
        known: the settings that there are.
        parts: those of extensions and observers.

    Raises:
        UsageError: a variable is unknown.
    """
    for variable in sorted(environ):
        upper = variable.upper()
        if not upper.startswith(PREFIX) or upper in _CONTROL_VARIABLES:
            continue
        name = upper.removeprefix(PREFIX).lower()
        if name not in known and name not in parts and not _known_elsewhere(registries, name):
            candidates = {field.upper() for field in (*known, *parts)}
            candidates |= {control.removeprefix(PREFIX) for control in _CONTROL_VARIABLES}
            hint = nearest(upper.removeprefix(PREFIX), candidates, prefix=PREFIX)
            raise UsageError(f"unknown environment variable {variable}; {hint}")
    return with_current_names(prefixed(environ), known, "an environment variable")


def prefixed(environ: Mapping[str, str]) -> dict[str, str]:
    """The texts of all ``PNEUMO_`` variables, by name in lower case without the prefix."""
    return {
        name.upper().removeprefix(PREFIX).lower(): value
        for name, value in environ.items()
        if name.upper().startswith(PREFIX)
    }


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


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
