"""From resolved settings to a run that is ready to start: its trainer, model, dataset and device.

All errors in a request are found here, before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from pneumo_cli.data.imports import remembered
from pneumo_cli.data.prepare import PreparedData, SplitRequest, prepare
from pneumo_cli.data.records import Dataset, DatasetRequest
from pneumo_cli.errors import DataError, PneumoError, UsageError
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.runs.folder import check_writable
from pneumo_cli.runs.model_factory import plugin_errors
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime.devices import Device, choose_device, keep_freed_memory, set_threads
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.dataset_options import options_class
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.settings.schema import DatasetSettings, MachineSettings
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
        self.trainer.check_request(self.model)


def set_up(registries: Registries, resolved: Resolved) -> Setup:
    """Look up the model and dataset that the settings name, and create the trainer.

    Raises:
        UsageError: as :func:`choose_model` and :func:`make_trainer`, or the dataset is unknown or ambiguous.
    """
    model = choose_model(registries, resolved)
    dataset = registries.datasets.get(resolved.trainer.dataset)
    return Setup(registries, resolved, make_trainer(resolved), model, dataset)


def choose_model(registries: Registries, resolved: Resolved) -> Entry[ModelSpec]:
    """Look up the model that the settings name.

    Raises:
        UsageError: it is unknown or ambiguous, or of a kind that the trainer does not train.
    """
    entry = resolved.entry
    wanted = resolved.trainer.model
    # The default model is that of the trainer's own distribution, even if others use the same name.
    default = resolved.origins["model"] == "default"
    model = registries.models.get(wanted, prefer=entry.provenance.distribution if default else "")
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
        DataError: the images are missing, or not in the dataset's layout.
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
        raise UsageError(f"{who} returned no Dataset")
    return dataset


def open_data(
    entry: Entry[DatasetSpec], resolved: Resolved, progress: Progress, *, size: int, only: str
) -> PreparedData:
    """Open, split and decode a dataset by a run's settings.

    Args:
        size: height and width of the images, in pixels.
        only: the class to keep; empty: all.

    Raises:
        UsageError: the data are not available, or do not fit the settings.
    """
    settings, machine = resolved.trainer, resolved.machine
    given = resolved.origins["data_root"].startswith("--")
    split = SplitRequest(
        settings.split, settings.validation_fraction, settings.split_seed, settings.folds, settings.fold
    )
    return prepare(
        open_dataset(entry, machine, progress, root_given=given, options=resolved.options),
        size=size,
        split=split,
        cache=machine.cache,
        progress=progress,
        skip_unreadable=settings.skip_unreadable,
        only=only,
    )


def open_run(setup: Setup, progress: Progress, ranks: Ranks) -> Run:
    """Create a run, with its data decoded and split. Only caches are written.

    Raises:
        UsageError: the device or the data are not available, or the output folder cannot be written.
    """
    resolved = setup.resolved
    device = prepare_device(resolved.machine, ranks.local_rank)
    if ranks.first:
        check_writable(resolved.machine.output, resolved.entry.spec.name)

    def opened() -> PreparedData:
        size, only = resolved.trainer.image_size, setup.trainer.only_class
        return open_data(setup.dataset, resolved, progress, size=size, only=only)

    # The first rank fills the cache; the others then only read it.
    data = opened() if ranks.first else None
    ranks.barrier()
    data = data if data is not None else opened()
    return run_on(setup, data, device, progress, ranks)


def run_on(setup: Setup, data: PreparedData, device: Device, progress: Progress, ranks: Ranks) -> Run:
    """Create a run on prepared data."""
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


def prepare_device(machine: MachineSettings, local_rank: int = 0) -> Device:
    """Configure the threads and memory of this process, and choose its device.

    Raises:
        UsageError: there is no such device, or it does not support the precision.
    """
    set_threads(machine.threads)
    keep_freed_memory()
    return choose_device(machine.device, machine.precision, local_rank)


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
