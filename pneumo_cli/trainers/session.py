"""From resolved settings to a run that can begin, and from a run's folder back to it.

Everything that can be wrong with what was asked for is found here, before anything is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from pneumo_cli.data.imports import remembered
from pneumo_cli.data.prepare import PreparedData, prepare
from pneumo_cli.data.records import Dataset, DatasetRequest
from pneumo_cli.errors import DataError, PneumoError, UsageError
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.runs.folder import check_writable
from pneumo_cli.runs.run import Run
from pneumo_cli.runtime.devices import Device, choose_device, keep_freed_memory, set_threads
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import Progress
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.settings.schema import MachineSettings
from pneumo_cli.specs import DatasetSpec, ModelSpec, load_reference
from pneumo_cli.trainers.base import Trainer

_LISTED = 6  # models that an error names


@dataclass(frozen=True)
class Setup:
    """What settings ask for, looked up and made: found out once, before anything of a run is opened.

    Attributes:
        resolved: the settings.
        trainer: made from them.
        model, dataset: the registered parts that they name.
    """

    registries: Registries
    resolved: Resolved
    trainer: Trainer
    model: Entry[ModelSpec]
    dataset: Entry[DatasetSpec]

    def check_request(self) -> None:
        """Let the trainer look at what a new run asks for, before minutes are spent on its data.

        Raises:
            UsageError: something that was asked for cannot be had.
        """
        self.trainer.check_request(self.model)


def set_up(registries: Registries, resolved: Resolved) -> Setup:
    """Access up the parts that the settings name, and make the trainer.

    Raises:
        UsageError: a part is unknown or ambiguous, the model is of a kind that the trainer does not train, or the
            plugin's reference does not lead to a complete trainer.
    """
    model = choose_model(registries, resolved)
    dataset = registries.datasets.get(resolved.trainer.dataset)
    return Setup(registries, resolved, make_trainer(resolved), model, dataset)


def choose_model(registries: Registries, resolved: Resolved) -> Entry[ModelSpec]:
    """Access up the model that the settings name.

    Raises:
        UsageError: it is unknown or ambiguous, or of a kind that the trainer does not train.
    """
    entry = resolved.entry
    wanted = resolved.trainer.model
    # A trainer's default model is the one that its own distribution brings, whoever else uses the name.
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


def open_run(setup: Setup, progress: Progress, ranks: Ranks) -> Run:
    """Make everything that a run needs, data decoded and split, with nothing written but caches.

    Raises:
        UsageError: something that was asked for cannot be had.
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
    """A run on data that are there already."""
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
    """Set this process up for computing as the settings say, and choose its device.

    Raises:
        UsageError: there is no such device, or it cannot compute in the precision that is asked for.
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
