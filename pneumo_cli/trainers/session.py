"""From resolved settings to a run that can begin, and from a run's folder back to it.

Everything that can be wrong with what was asked for is found here, before anything is written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pneumo_cli.data.imports import remembered
from pneumo_cli.data.prepare import PreparedData, prepare
from pneumo_cli.data.records import Dataset, DatasetRequest
from pneumo_cli.errors import DataError, PneumoError, UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.runs.folder import RunFolder, check_writable
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime.devices import choose_device, keep_freed_memory, set_threads
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import Resolved, recorded_facts, recorded_origins, resolve
from pneumo_cli.settings.schema import MachineSettings
from pneumo_cli.specs import DatasetSpec, ModelSpec, load_reference
from pneumo_cli.trainers.base import Trainer

_LISTED = 6  # models that an error names


@dataclass(frozen=True)
class Choice:
    """The registered parts that a run's settings name."""

    model: Entry[ModelSpec]
    dataset: Entry[DatasetSpec]


def choose_parts(plugins: Plugins, resolved: Resolved) -> Choice:
    """Look up the model and the dataset that the settings name.

    Raises:
        UsageError: one is unknown or ambiguous, or the model is of a kind that the trainer does not train.
    """
    return Choice(choose_model(plugins, resolved), plugins.datasets.get(resolved.trainer.dataset))


def choose_model(plugins: Plugins, resolved: Resolved) -> Entry[ModelSpec]:
    """Look up the model that the settings name.

    Raises:
        UsageError: it is unknown or ambiguous, or of a kind that the trainer does not train.
    """
    entry = resolved.entry
    wanted = resolved.trainer.model
    # A trainer's default model is the one that its own distribution brings, whoever else uses the name.
    default = resolved.origins["model"] == "default"
    model = plugins.models.get(wanted, prefer=entry.provenance.distribution if default else "")
    if model.spec.kind != entry.spec.kind:
        fitting = [e.spec.name for e in plugins.models.entries() if e.spec.kind == entry.spec.kind]
        if len(fitting) > _LISTED:
            fitting = [*fitting[:_LISTED], f"and {len(fitting) - _LISTED} more (pneumo list-models)"]
        raise UsageError(
            f"{entry.spec.name} trains models of kind {entry.spec.kind}, and {wanted} is of kind "
            f"{model.spec.kind}; of the right kind: {', '.join(fitting) or 'none'}"
        )
    return model


def open_dataset(
    entry: Entry[DatasetSpec], machine: MachineSettings, progress: Progress, *, root_given: bool = False
) -> Dataset:
    """Open a registered dataset where its images lie.

    Args:
        root_given: whether a person named ``data_root`` for this very command.

    Raises:
        DataError: the images are missing, or not what the dataset reads.
        UsageError: the plugin cannot be imported.
    """
    spec = entry.spec
    root = machine.data_root
    if spec.needs_root:
        root = root or remembered(machine.data_home, spec.name)
        if root is None:
            instructions = f" Else {spec.instructions}" if spec.instructions else ""
            raise DataError(
                f"where the images of {spec.name} lie is not known: name it with --data-root PATH, or import it "
                f"once: pneumo data import PATH.{instructions}"
            )
    elif root is not None and root_given:
        raise UsageError(f"the dataset {spec.name} has no folder of images: --data-root does not go with it")
    try:
        factory = load_reference(spec.factory)
    except Exception as error:
        raise UsageError(
            f"the dataset {spec.name} ({entry.provenance}) cannot be imported from {spec.factory}: "
            f"{type(error).__name__}: {error}"
        ) from error
    request = DatasetRequest(root if spec.needs_root else None, machine.cache, progress)
    try:
        dataset = factory(request)
    except (PneumoError, OSError):
        raise
    except Exception as error:
        raise DataError(
            f"the dataset {spec.name} ({entry.provenance}) cannot be opened: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(dataset, Dataset):
        raise UsageError(f"the dataset {spec.name} ({entry.provenance}) returned no Dataset")
    return dataset


def open_data(
    entry: Entry[DatasetSpec], resolved: Resolved, progress: Progress, *, size: int, only: str
) -> PreparedData:
    """Open, split and decode a dataset as a run's settings say.

    Args:
        size: height and width of the images, in pixels.
        only: the class to keep; empty: all.

    Raises:
        UsageError: the data cannot be had, or not so.
    """
    settings, machine = resolved.trainer, resolved.machine
    given = resolved.origins["data_root"].startswith("--")
    return prepare(
        open_dataset(entry, machine, progress, root_given=given),
        size=size,
        policy=settings.split,
        fraction=settings.validation_fraction,
        seed=settings.split_seed,
        cache=machine.cache,
        progress=progress,
        skip_unreadable=settings.skip_unreadable,
        only=only,
        folds=settings.folds,
        fold=settings.fold,
    )


def open_run(plugins: Plugins, resolved: Resolved, progress: Progress, ranks: Ranks) -> Run:
    """Make everything that a run needs, data decoded and split, with nothing written but caches.

    Raises:
        UsageError: something that was asked for cannot be had.
    """
    choice = choose_parts(plugins, resolved)
    settings, machine = resolved.trainer, resolved.machine
    set_threads(machine.threads)
    keep_freed_memory()
    device = choose_device(machine.device, machine.precision, ranks.local_rank)
    if ranks.first:
        check_writable(machine.output, resolved.entry.spec.name)
    trainer = make_trainer(resolved)

    def opened() -> PreparedData:
        return open_data(
            choice.dataset, resolved, progress, size=settings.image_size, only=trainer.wanted_class
        )

    # The first rank fills the cache; the others then only read it.
    data = opened() if ranks.first else None
    ranks.barrier()
    data = data if data is not None else opened()
    return Run(
        plugins=plugins,
        resolved=resolved,
        trainer=trainer,
        model_entry=choice.model,
        dataset_entry=choice.dataset,
        device=device,
        ranks=ranks,
        data=data,
        progress=progress,
    )


def check_request(plugins: Plugins, resolved: Resolved) -> None:
    """Let the trainer look at what a new run asks for, before minutes are spent on its data.

    Raises:
        UsageError: something that was asked for cannot be had.
    """
    make_trainer(resolved).check_request(choose_parts(plugins, resolved).model)


def make_trainer(resolved: Resolved) -> Trainer:
    """Import and construct the trainer.

    Raises:
        UsageError: the plugin's reference does not lead to a complete trainer.
    """
    entry = resolved.entry
    who = f"the trainer {entry.spec.name} ({entry.provenance})"
    try:
        made = load_reference(entry.spec.trainer)(resolved.trainer)
    except PneumoError:
        raise
    except Exception as error:
        raise UsageError(
            f"{who} cannot be made from {entry.spec.trainer}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(made, Trainer):
        raise UsageError(f"{who} is no subclass of pneumo_cli.trainers.base.Trainer")
    return made


def reopen_settings(plugins: Plugins, folder: RunFolder, flags: Mapping[str, Any]) -> Resolved:
    """The settings of an existing run, as it recorded them, with a few flags on top.

    The environment and ``pneumo.toml`` have no say: a run goes on as it began.

    Raises:
        UsageError: the run's trainer is not installed, or its settings do not fit the installed version.
    """
    entry = plugins.trainers.get(str(recorded_facts(folder.settings).get("trainer")))
    origins = recorded_origins(folder.settings)
    resolved = resolve(plugins, entry, flags, config=folder.settings, environ={})
    given = {name for name, value in flags.items() if value is not None}
    merged = {
        name: origin if name in given else str(origins.get(name, origin))
        for name, origin in resolved.origins.items()
    }
    machine = resolved.machine
    if "dataset" in given and "data_root" not in given:
        # The recorded place is that of the run's own dataset.
        machine = machine.model_copy(update={"data_root": None})
        merged["data_root"] = "default"
    return Resolved(entry, resolved.preset, resolved.trainer, machine, merged)


def finished_epochs(folder: RunFolder) -> int | None:
    """How many epochs the run's report covers; None where it has none (the run is not finished)."""
    try:
        report = json.loads(folder.report_json.read_text(encoding="utf-8"))
        return len(report["history"]) - 1
    except (OSError, ValueError, KeyError, TypeError):
        return None


def observing_plugins(plugins: Plugins) -> list[tuple[str, Any]]:
    """Every installed plugin that may take part in a run beside its trainer."""
    return [(plugin.name, plugin.module) for plugin in plugins.loaded]
