"""The dataset that a command or function on data names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumo_cli.errors import DataError, UsageError
from pneumo_cli.specs import load_reference

if TYPE_CHECKING:
    from pneumo_cli.data.records import Dataset
    from pneumo_cli.plugins.discovery import Plugins
    from pneumo_cli.registry import Entry
    from pneumo_cli.runtime.progress import Progress
    from pneumo_cli.settings.schema import MachineSettings
    from pneumo_cli.specs import DatasetSpec


def open_chosen(
    plugins: Plugins,
    name: str | None,
    machine: MachineSettings,
    progress: Progress,
    *,
    root_given: bool,
    options: Mapping[str, Any],
) -> Dataset:
    """Open the dataset that somebody names.

    Args:
        options: the flags of datasets' options.

    Raises:
        UsageError: as :func:`dataset_entry`, or an option does not belong to the dataset or is out of bounds.
        DataError: the images are missing, or not in the dataset's layout.
    """
    from pneumo_cli.settings.resolve import resolve_options
    from pneumo_cli.trainers.session import open_dataset

    entry = dataset_entry(plugins, name, machine)
    chosen = resolve_options(plugins, entry, options)
    return open_dataset(entry, machine, progress, root_given=root_given, options=chosen)


def dataset_entry(
    plugins: Plugins, name: str | None, machine: MachineSettings, root: Path | None = None
) -> Entry[DatasetSpec]:
    """The dataset of a name; without one, the dataset that recognizes its files or is the only candidate.

    Candidates are the datasets that read files: if no root is given those that were imported.

    Args:
        machine: its ``data_root`` is the root if ``root`` is None.

    Raises:
        UsageError: no dataset is, or several are, a candidate.
        DataError: the root cannot be opened.
    """
    if name is not None:
        return plugins.datasets.get(name)
    reading = [entry for entry in plugins.datasets.entries() if entry.spec.needs_root]
    if len(reading) == 1:
        return reading[0]
    from pneumo_cli.data.imports import places

    candidates = reading
    if root := root or machine.data_root:
        candidates = _recognized(reading, root)
    elif imported := places(machine.data_home):
        candidates = [entry for entry in reading if entry.spec.name in imported]
    if len(candidates) == 1:
        return candidates[0]
    short = [entry.spec.name for entry in candidates or reading]
    names = ", ".join(
        entry.qualified_name if short.count(entry.spec.name) > 1 else entry.spec.name
        for entry in candidates or reading
    )
    raise UsageError(f"choose a dataset with --dataset NAME; those that read files: {names or 'none'}")


def _recognized(entries: list[Entry[DatasetSpec]], root: Path) -> list[Entry[DatasetSpec]]:
    """The datasets that recognize the files below a root."""
    from pneumo_cli.data.files import ImageFiles

    names = ImageFiles(root.expanduser()).files()
    found = []
    for entry in entries:
        if not entry.spec.recognize:
            continue
        try:
            if load_reference(entry.spec.recognize)(names):
                found.append(entry)
        except Exception as error:
            raise DataError(
                f"the dataset {entry.spec.name} ({entry.provenance}) cannot tell whether {root} is its own: "
                f"{type(error).__name__}: {error}"
            ) from error
    return found
