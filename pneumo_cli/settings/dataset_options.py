"""The options of datasets (``DatasetSpec.settings``): flags, variables and keys of ``pneumo.toml``.

Several datasets may have an option of the same name. A flag that the chosen dataset does not have is an error; a
variable or a key of a file is not, as those may be meant for another dataset. Must not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pneumo_cli.errors import UsageError
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.settings.classes import options_class as options_class
from pneumo_cli.settings.schema import DatasetSettings
from pneumo_cli.specs import DatasetSpec


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


def chosen_dataset(registries: Registries, name: str, *, prefer: str = "") -> Entry[DatasetSpec] | None:
    """The dataset of a name; None if there is none, which is an error only where it is opened.

    Args:
        prefer: see :meth:`~pneumo_cli.registry.Registry.get`.
    """
    try:
        return registries.datasets.get(name, prefer=prefer)
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
