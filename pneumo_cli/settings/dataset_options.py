"""The options of datasets (``DatasetSpec.settings``): flags, variables and keys of ``pneumo.toml``.

Several datasets may have an option of the same name. A flag that the chosen dataset does not have is an error; a
variable or a key of a file is not, as those may be meant for another dataset. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.settings.schema import DatasetSettings, MachineSettings, TrainerSettings
from pneumo_cli.specs import DatasetSpec, load_reference

_Settings = TypeVar("_Settings", TrainerSettings, DatasetSettings)


def imported_class(entry: Entry[Any], base: type[_Settings], what: str) -> type[_Settings]:
    """Import the class that a spec names as its ``settings``.

    Args:
        base: of which it has to be a subclass.
        what: it describes, for messages.

    Raises:
        UsageError: the plugin's reference does not lead to one.
    """
    reference = entry.spec.settings
    try:
        cls = load_reference(reference)
    except Exception as error:
        raise UsageError(
            f"{what} ({entry.provenance}) cannot be imported from {reference}: {type(error).__name__}: {error}"
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, base)):
        raise UsageError(f"{reference} ({entry.provenance}) is not a subclass of {base.__name__}")
    return cls


def options_class(entry: Entry[DatasetSpec]) -> type[DatasetSettings]:
    """Import the class of a dataset's options; the base class, which has none, if it has no own.

    Raises:
        UsageError: the plugin's reference does not lead to one, or an option has the name of a setting.
    """
    spec = entry.spec
    if not spec.settings:
        return DatasetSettings
    cls = imported_class(entry, DatasetSettings, f"the options of dataset {spec.name}")
    taken = cls.model_fields.keys() & (
        TrainerSettings.model_fields.keys() | MachineSettings.model_fields.keys()
    )
    if taken:
        raise UsageError(
            f"the option {min(taken)} of dataset {spec.name} ({entry.provenance}) has the name of a setting"
        )
    return cls


def all_options(registries: Registries) -> dict[str, tuple[type[DatasetSettings], list[str]]]:
    """Every option of the installed datasets: a class that has it, and the names of the datasets that do.

    A dataset whose options cannot be imported is left out; choosing it is an error.
    """
    found: dict[str, tuple[type[DatasetSettings], list[str]]] = {}
    for name, entry in registries.datasets.named().items():
        try:
            cls = options_class(entry)
        except UsageError:
            continue
        for option in cls.model_fields:
            found.setdefault(option, (cls, []))[1].append(name)
    return found


def chosen_dataset(registries: Registries, name: str) -> Entry[DatasetSpec] | None:
    """The dataset of a name; None if there is none, which is an error only where it is opened."""
    try:
        return registries.datasets.get(name)
    except UsageError:
        return None


def check_flags(registries: Registries, entry: Entry[DatasetSpec] | None, flags: Mapping[str, Any]) -> None:
    """Refuse a flag that is an option of other datasets only.

    Raises:
        UsageError: names the flag and the datasets that have it.
    """
    own = options_class(entry).model_fields if entry is not None else {}
    everywhere = all_options(registries)
    for name, value in flags.items():
        if value is not None and name in everywhere and name not in own:
            flag = "--" + name.replace("_", "-")
            chosen = entry.spec.name if entry is not None else "chosen here"
            raise UsageError(
                f"the dataset {chosen} has no option {flag}; those that do: {', '.join(everywhere[name][1])}"
            )
