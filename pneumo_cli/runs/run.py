"""The run object that every hook receives: settings, data, model, optimizers, progress."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.compat import FormerNames
from pneumo_cli.data.augmentation import Transform
from pneumo_cli.data.batch_inputs import ImageInputs, Sources, Transforms
from pneumo_cli.data.class_sampling import Sampling, find_sampling
from pneumo_cli.data.loader import count_batches
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runs.updates import Updates
from pneumo_cli.runtime.accelerators import free_memory
from pneumo_cli.runtime.devices import Device
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_cli.runtime.seeding import derive
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.settings.schema import MachineSettings, TrainerSettings
from pneumo_cli.specs import DatasetSpec, ModelSpec, TrainerSpec

if TYPE_CHECKING:
    from pneumo_cli.data.loader import Batch
    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.runs.ema import WeightAverage
    from pneumo_cli.runs.folder import RunFolder

_log = logging.getLogger("pneumo")


class _Monitor(NamedTuple):
    metric: str
    mode: Literal["max", "min"]
    side: Literal["validation", "train"] = "validation"


class Monitor(_Monitor):
    """The metric that selects the best checkpoint, its direction, and the images it is computed on.

    Attributes:
        metric: its name; empty: the last epoch is kept as the best.
        mode: ``max`` if higher is better, else ``min``.
        side: ``validation``, or ``train`` for a training metric, as of a task without validation.

    Raises:
        ValueError: ``metric`` is no text, ``mode`` neither ``max`` nor ``min``, or ``side`` neither of its two.
    """

    __slots__ = ()

    def __new__(
        cls, metric: str, mode: Literal["max", "min"], side: Literal["validation", "train"] = "validation"
    ) -> Self:
        """Check the three."""
        if not isinstance(metric, str):
            raise ValueError(f"a monitor's metric is the name of a metric, not {metric!r}")
        if mode not in ("max", "min"):
            raise ValueError(f"the mode of the monitor of {metric!r} is 'max' or 'min', not {mode!r}")
        if side not in ("validation", "train"):
            raise ValueError(
                f"the side of the monitor of {metric!r} is 'validation' or 'train', not {side!r}"
            )
        return super().__new__(cls, metric, mode, side)

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value is better than the best so far; of equal values the first stays the best."""
        return best is None or (value > best if self.mode == "max" else value < best)


@dataclass
class Best:
    """The best epoch so far by the monitored metric."""

    epoch: int | None = None
    value: float | None = None


class StepFunctions(NamedTuple):
    """What a training step calls: the trainer's own functions, inside those that extensions put around them."""

    train_step: Callable[[Batch], Mapping[str, torch.Tensor]]
    loss: Callable[[torch.Tensor, Batch], torch.Tensor]
    optimize: Callable[[torch.Tensor, str], None]


_FORMER = {
    "plugins": "registries",
    "trainer": "",
    "looks": "test_accesses",
    "scaler": "updates.scaler",
    "batch_share": "updates.batch_share",
    "last_step": "updates.last_step",
}


@dataclass
class Run(FormerNames, former=_FORMER):
    """One execution of a trainer.

    Hooks read it; only the runner writes to it. ``model``, ``optimizers``, ``schedulers``, ``transforms``,
    ``sources``, ``average``, ``updates``, ``functions`` and ``folder`` are set when the run starts.

    Attributes:
        registries: all installed trainers, models and datasets.
        resolved: the settings with their origins.
        model_entry, dataset_entry: the registered model and dataset in use.
        device: the device and the precision.
        ranks: the processes that share the run.
        data: decoded images, labels and splits.
        progress: shows long steps.
        monitor: the metric that selects the best checkpoint.
        curves: the metrics whose curves the report shows first; empty: all of them.
        participants: the names of the plugins of this run, the trainer among them.
        extensions: those that change how the model is trained or evaluated, which are part of the recipe: the
            distribution and version that each comes from, by name.
        epoch: the current or last epoch; 0 before training.
        step: the current step within the epoch, from 0.
        history: one row per finished epoch, epoch 0 included.
        best: the best epoch so far.
        folder: the run's folder.
        model: the module that is trained; within ``evaluate`` the evaluation model (the EMA, if there is one).
        optimizers, schedulers: by the name that :meth:`optimize` is called with.
        transforms: from stored images to the model's input.
        sources: of the loaders' batches.
        average: the EMA of the weights, with which the run is evaluated; None without one.
        updates: performs weight updates, see :meth:`optimize`.
        functions: the functions of a training step, composed once per run.
        stop_reason: why training ends before its last epoch, see :meth:`stop`; empty: it does not.
        smallest_batch: training images that each rank needs in a batch, see :mod:`pneumo_cli.training.batch_size`.
        calibration: what the trainer has fitted on the validation images
            (:meth:`~pneumo_cli.trainers.base.Trainer.calibrate`); empty before.
        test_accesses: evaluations of the same task on the test images, this run's too; 0 before.
        notes: remarks for the report, see :meth:`note`.
        resumed: how many times the run has been resumed.
        started: when the run began, in UTC.
        seconds_before: the run's duration before it was last resumed.
    """

    registries: Registries
    resolved: Resolved
    model_entry: Entry[ModelSpec]
    dataset_entry: Entry[DatasetSpec]
    device: Device
    ranks: Ranks
    data: PreparedData
    progress: Progress
    monitor: Monitor
    curves: Sequence[str] = ()
    participants: Sequence[str] = ()
    extensions: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    test_accesses: int = 0
    notes: list[str] = field(default_factory=list)
    resumed: int = 0
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds_before: float = 0.0
    stop_reason: str = ""

    folder: RunFolder = field(init=False)
    model: torch.nn.Module = field(init=False)
    optimizers: dict[str, torch.optim.Optimizer] = field(init=False)
    schedulers: dict[str, torch.optim.lr_scheduler.LRScheduler] = field(init=False)
    transforms: Transforms = field(init=False)
    sources: Sources = field(init=False)
    average: WeightAverage | None = field(init=False, default=None)
    updates: Updates = field(init=False)
    functions: StepFunctions = field(init=False)
    smallest_batch: int = field(init=False, default=1)
    _clock: float = field(init=False, default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """The run's duration, over all resumptions."""
        return self.seconds_before + time.monotonic() - self._clock

    @property
    def trained(self) -> bool:
        """Whether training is over: all epochs are trained, or it was stopped after one."""
        done = len(self.history) - 1
        return done >= self.settings.epochs or bool(self.stop_reason and done >= 1)

    @property
    def stopped(self) -> dict[str, Any]:
        """For the record of a run that was stopped: ``epoch``, out of how many (``of``), ``reason``; else empty."""
        epoch = len(self.history) - 1
        if not self.stop_reason or not 1 <= epoch < self.settings.epochs:
            return {}
        return {"epoch": epoch, "of": self.settings.epochs, "reason": self.stop_reason}

    @property
    def spec(self) -> TrainerSpec:
        """The trainer's spec."""
        return self.resolved.entry.spec

    @property
    def settings(self) -> TrainerSettings:
        """The trainer's settings: the recipe."""
        return self.resolved.trainer

    @property
    def machine(self) -> MachineSettings:
        """The settings of the machine: device, folders."""
        return self.resolved.machine

    @property
    def updates_per_epoch(self) -> int:
        """Weight updates per epoch."""
        size = self.settings.batch_size
        steps = count_batches(self.images_per_epoch, size, self.ranks.world, self.smallest_batch)
        return -(-steps // self.settings.accumulate)

    @property
    def images_per_epoch(self) -> int:
        """Training images per epoch, each counted as often as it is drawn."""
        return self._sampling.size

    @cached_property
    def _sampling(self) -> Sampling:
        name, data = self.settings.sampling, self.data
        seed = derive(self.settings.seed, "sampling")
        records, samplers = data.dataset.records, self.registries.samplers
        return find_sampling(name, samplers, data.split.train, data.labels, records, seed)

    def training_positions(self, epoch: int) -> NDArray[np.int64]:
        """The training images of an epoch, see :func:`pneumo_cli.data.class_sampling.sampled`."""
        return self._sampling.of(epoch)

    @cached_property
    def images(self) -> torch.Tensor:
        """All images, see :class:`~pneumo_cli.data.prepare.PreparedData`.

        On a GPU if they take less than a quarter of its free memory.
        """
        device = self.device.torch
        free = free_memory(device)
        if free is not None and self.data.images.nbytes < free / 4:
            return self.data.images_on(device)
        return self.data.images_on(torch.device("cpu"))

    def image_inputs(self, transform: Transform) -> ImageInputs:
        """Batches of the run's images, on its device."""
        return ImageInputs(self.images, transform, self.device.torch, self.device.memory_format)

    def create_model(self, **options: Any) -> torch.nn.Module:
        """Build the registered model that the settings name.

        Args:
            options: for the factory (``channels`` and ``outputs`` for a classifier), which receives those that
                it takes.

        Raises:
            UsageError: the factory cannot be imported, fails, or returns no module.
        """
        return build_registered(self.model_entry, options)

    def note(self, text: str) -> None:
        """Add a remark to stderr, the run's log and its report. It becomes one line without control characters."""
        text = "".join(letter for letter in " ".join(str(text).split()) if letter.isprintable())
        if self.ranks.first and text not in self.notes:
            self.notes.append(text)
            _log.log(NOTICE, "%s", text)

    def loss(self, outputs: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The loss that is trained, 0-d: :meth:`Trainer.training_loss`, as extensions change it.

        Args:
            outputs: of the model for the batch.
        """
        return self.functions.loss(outputs, batch)

    def optimize(self, loss: torch.Tensor, name: str = "main") -> None:
        """Make one update: backward, accumulation, the sum over ranks, clipping, the optimizer's step.

        Only the named optimizer's parameters receive gradients, so that a generator's loss adds none to the
        discriminator that it is computed with. Extensions may change what it does.

        Args:
            loss: 0-d tensor, the mean over this rank's images of the batch.
            name: of one of ``optimizers``.
        """
        self.functions.optimize(loss, name)

    def gradients(self, loss: torch.Tensor, name: str = "main") -> dict[torch.Tensor, torch.Tensor]:
        """The gradient of a loss, by parameter, for extensions. Nothing is accumulated, counted or updated.

        Collective. The loss can be differentiated again afterwards.

        Args:
            loss: 0-d tensor, the mean over this rank's images of the batch.
            name: of the optimizer whose trainable parameters are meant.

        Returns:
            the gradient of the mean over the images of all ranks, without the scale of fp16; zeros for a parameter
            that the loss does not depend on.
        """
        return self.updates.gradients(loss, name)

    def backward(self, loss: torch.Tensor, name: str = "main") -> None:
        """The first half of :meth:`optimize`, for extensions: add the gradient of a batch to that of the update."""
        self.updates.backward(loss, name)

    def update(self, name: str = "main") -> None:
        """The second half of :meth:`optimize`, for extensions: update the weights.

        Only if all batches of the update are there (the setting ``accumulate``); else it does nothing.
        """
        self.updates.update(name)

    def stop(self, reason: str) -> None:
        """End the training after the current epoch, on all ranks. For trainers and extensions.

        The best checkpoint is evaluated and the report written as after the last epoch.

        Args:
            reason: one line, for the report; of several, the first counts.
        """
        self.stop_reason = self.stop_reason or " ".join(str(reason).split()) or "no reason given"

    def gather(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.generic]]:
        """Gather per-image values of all ranks, in the order of ``outputs["index"]``.

        Args:
            outputs: tensors [n] of this rank by name; ``index`` (int64) among them.

        Returns:
            arrays [N] by name, the same on every rank, without duplicates.
        """
        own = {
            name: (value.detach().float() if value.is_floating_point() else value.detach()).cpu().numpy()
            for name, value in outputs.items()
        }
        parts = self.ranks.gather(own)
        merged = {name: np.concatenate([part[name] for part in parts]) for name in own}
        order = np.argsort(merged["index"], kind="stable")
        return {name: value[order] for name, value in merged.items()}
