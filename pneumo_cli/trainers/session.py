"""From resolved settings to a run that is ready to start: its trainer, model, dataset and device.

All errors in a request are found here, before anything is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from pneumo_cli.data.cache import DecodedImages, decoded_images
from pneumo_cli.data.dataset_checks import check_dataset
from pneumo_cli.data.imports import remembered
from pneumo_cli.data.loader import check_batch
from pneumo_cli.data.prepare import PreparedData, SplitRequest, prepare
from pneumo_cli.data.records import Dataset, DatasetRequest, DatasetSource
from pneumo_cli.data.registered import find_registered
from pneumo_cli.errors import DataError, PneumoError, UsageError
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.runs.folder import check_writable
from pneumo_cli.runs.run import Monitor, Run
from pneumo_cli.runtime.devices import Device, choose_device, keep_freed_memory, set_threads
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.plugin_errors import plugin_errors
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.dataset_options import options_class
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.settings.schema import SAMPLINGS, SPLITS, DatasetSettings, MachineSettings
from pneumo_cli.specs import DatasetSpec, ModelSpec, load_reference
from pneumo_cli.trainers.base import Trainer

_LISTED = 6  # models in an error


@dataclass(frozen=True)
class Setup:
    """The trainer, and the registered model and dataset, that the settings ``resolved`` name."""

    registries: Registries
    resolved: Resolved
    trainer: Trainer
    model: Entry[ModelSpec]
    dataset: Entry[DatasetSpec]

    def check_request(self) -> None:
        """Let the trainer check a new run before its data are read. Raises UsageError."""
        check_declared(self)
        with self.calling("check_request"):
            self.trainer.check_request(self.model)

    def calling(self, method: str) -> AbstractContextManager[None]:
        """Within it, what a method of the trainer raises becomes a UsageError that names both."""
        entry = self.resolved.entry
        who = f"the trainer {entry.spec.name} ({entry.provenance})"
        return plugin_errors(f"{who} failed in {method}", passing=(PneumoError,))


def set_up(registries: Registries, resolved: Resolved) -> Setup:
    """Look up the model and dataset that the settings name, and create the trainer.

    Raises:
        UsageError: as :func:`choose_model` and :func:`make_trainer`, or the dataset, the split or the sampling is
            unknown or ambiguous.
    """
    model = choose_model(registries, resolved)
    dataset = resolved.registered(registries.datasets)
    find_registered(registries.splits, resolved.trainer.split, SPLITS)
    find_registered(registries.samplers, resolved.trainer.sampling, SAMPLINGS)
    return Setup(registries, resolved, make_trainer(resolved), model, dataset)


def choose_model(registries: Registries, resolved: Resolved) -> Entry[ModelSpec]:
    """Look up the model that the settings name.

    Raises:
        UsageError: it is unknown or ambiguous, or of a kind that the trainer does not train.
    """
    entry = resolved.entry
    wanted = resolved.trainer.model
    model = resolved.registered(registries.models)
    if model.spec.kind != entry.spec.kind:
        fitting = [e.spec.name for e in registries.models.entries() if e.spec.kind == entry.spec.kind]
        if len(fitting) > _LISTED:
            fitting = [*fitting[:_LISTED], f"and {len(fitting) - _LISTED} more (pneumo list-models)"]
        raise UsageError(
            f"{entry.spec.name} trains models of kind {entry.spec.kind}, and {wanted} is of kind "
            f"{model.spec.kind}; of the right kind: {', '.join(fitting) or 'none'}"
        )
    return model


def open_dataset(
    entry: Entry[DatasetSpec],
    machine: MachineSettings,
    progress: Progress,
    *,
    root_given: bool = False,
    options: DatasetSettings | None = None,
) -> Dataset:
    """Open a registered dataset.

    Args:
        root_given: whether ``data_root`` was given as a flag.
        options: the dataset's own; None: their defaults.

    Raises:
        DataError: the images are missing, or not in the dataset's layout, or the dataset breaks a rule.
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
    who = f"the dataset {spec.name} ({entry.provenance})"
    with plugin_errors(f"{who} cannot be imported from {spec.factory}"):
        factory = load_reference(spec.factory)
    values = dict(options if options is not None else options_class(entry)())
    request = DatasetRequest(root if spec.needs_root else None, machine.cache, progress, values)
    with plugin_errors(f"{who} cannot be opened", passing=(PneumoError, OSError), kind=DataError):
        dataset = factory(request)
    if not isinstance(dataset, Dataset):
        raise UsageError(f"{who}: {spec.factory} returned {type(dataset).__name__}, not a Dataset")
    place = os.path.abspath(request.root) if request.root is not None else ""
    # Of a dataset that is a frozen dataclass, too.
    object.__setattr__(dataset, "opened_from", DatasetSource(entry, place, values))
    with plugin_errors(f"{who} cannot be checked", passing=(PneumoError, OSError), kind=DataError):
        check_dataset(dataset)
    return dataset


def open_data(
    registries: Registries, resolved: Resolved, progress: Progress, *, size: int, only: str
) -> PreparedData:
    """Open, split and decode a dataset by a run's settings.

    Args:
        registries: of the dataset, and of splits.
        size: height and width of the images, in pixels.
        only: the class to keep; empty: all.

    Raises:
        UsageError: the data are not available, or do not fit the settings.
    """
    return prepare_data(
        registries,
        resolved,
        open_named_dataset(registries, resolved, progress),
        progress,
        size=size,
        only=only,
    )


def open_named_dataset(registries: Registries, resolved: Resolved, progress: Progress) -> Dataset:
    """Open the dataset that a run's settings name; raises as :func:`open_dataset`."""
    return open_dataset(
        resolved.registered(registries.datasets),
        *(resolved.machine, progress),
        root_given=resolved.origins["data_root"].startswith("--"),
        options=resolved.options,
    )


def prepare_data(
    registries: Registries,
    resolved: Resolved,
    dataset: Dataset,
    progress: Progress,
    *,
    size: int,
    only: str,
    decode: Callable[[Dataset, int, Path, Progress], DecodedImages] = decoded_images,
) -> PreparedData:
    """Split and decode an opened dataset by a run's settings; as :func:`open_data`.

    Args:
        decode: as for :func:`~pneumo_cli.data.prepare.prepare`.
    """
    settings, machine = resolved.trainer, resolved.machine
    split = SplitRequest.of(
        registries.splits,
        *(settings.split, settings.validation_fraction, settings.split_seed, settings.folds, settings.fold),
    )
    return prepare(
        dataset,
        size=size,
        split=split,
        cache=machine.cache,
        progress=progress,
        skip_unreadable=settings.skip_unreadable,
        only=only,
        decode=decode,
    )


def open_run(setup: Setup, progress: Progress, ranks: Ranks) -> Run:
    """Create a run, with its data decoded and split. Only caches are written.

    Raises:
        UsageError: the device or the data are not available, the batch is smaller than the number of devices, or
            the output folder cannot be written.
    """
    resolved = setup.resolved
    check_batch(resolved.trainer.batch_size, ranks.world)
    device = prepare_device(resolved.machine, ranks.local_rank)
    if ranks.first:
        check_writable(resolved.machine.output, resolved.entry.spec.name)

    def opened() -> PreparedData:
        size, only = resolved.trainer.image_size, wanted_class(setup)
        return open_data(setup.registries, resolved, progress, size=size, only=only)

    # The first rank fills the cache; the others then only read it.
    data = opened() if ranks.first else None
    ranks.barrier()
    data = data if data is not None else opened()
    run = run_on(setup, data, device, progress, ranks)
    _ = run.images_per_epoch  # what is wrong with a plugin's sampling is found before anything is written
    return run


def wanted_class(setup: Setup) -> str:
    """The only class whose images a run uses; empty: all.

    Raises:
        UsageError: the trainer names something else than a class.
    """
    with setup.calling("only_class"):
        only: object = setup.trainer.only_class
        if not isinstance(only, str):
            raise TypeError(f"it is {only!r}, not the name of a class, or empty")
        return only


def run_on(setup: Setup, data: PreparedData, device: Device, progress: Progress, ranks: Ranks) -> Run:
    """Create a run on prepared data.

    Raises:
        UsageError: what the trainer declares cannot be used.
    """
    check_declared(setup)
    with setup.calling("choose_images"):
        setup.trainer.choose_images(data.dataset.channels, data.dataset.bits)
    return Run(
        registries=setup.registries,
        resolved=setup.resolved,
        model_entry=setup.model,
        dataset_entry=setup.dataset,
        device=device,
        ranks=ranks,
        data=data,
        progress=progress,
        monitor=setup.trainer.monitor,
        curves=setup.trainer.curves,
    )


def check_declared(setup: Setup) -> None:
    """Check the attributes by which a trainer says how its runs go on, which would be misread silently.

    Raises:
        UsageError: one is not as :class:`~pneumo_cli.trainers.base.Trainer` documents it.
    """
    trainer, entry = setup.trainer, setup.resolved.entry
    with plugin_errors(f"the trainer {entry.spec.name} ({entry.provenance}) cannot be used"):
        if not isinstance(trainer.monitor, Monitor):
            raise TypeError(f"its monitor is {trainer.monitor!r}, not a Monitor")
        if trainer.scheduler_interval not in ("epoch", "update"):
            raise ValueError(
                f"its scheduler_interval is {trainer.scheduler_interval!r}, not 'epoch' or 'update'"
            )
        if isinstance(trainer.curves, str) or not all(isinstance(name, str) for name in trainer.curves):
            raise TypeError(f"its curves are {trainer.curves!r}, not a tuple of metrics' names")


def prepare_device(machine: MachineSettings, local_rank: int = 0) -> Device:
    """Configure the threads and memory of this process, and choose its device.

    Raises:
        UsageError: there is no such device, or it does not support the precision.
    """
    set_threads(machine.threads)
    keep_freed_memory()
    return choose_device(machine.device, machine.precision, local_rank, machine.deterministic)


def make_trainer(resolved: Resolved) -> Trainer:
    """Import and construct the trainer.

    Raises:
        UsageError: the plugin's reference does not lead to a complete trainer.
    """
    entry = resolved.entry
    who = f"the trainer {entry.spec.name} ({entry.provenance})"
    with plugin_errors(f"{who} cannot be made from {entry.spec.trainer}", passing=(PneumoError,)):
        trainer = load_reference(entry.spec.trainer)(resolved.trainer)
    if not isinstance(trainer, Trainer):
        raise UsageError(f"{who} is no subclass of pneumo_cli.trainers.base.Trainer")
    return trainer
