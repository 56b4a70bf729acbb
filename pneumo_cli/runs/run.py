"""One run, as every hook receives it: what is being done, with what, and how far it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.compat import FormerNames
from pneumo_cli.data.augmentation import Transform
from pneumo_cli.data.batch_inputs import ImageInputs, Sources, Transforms
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runs.updates import Updates
from pneumo_cli.runtime.devices import Device
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.settings.schema import MachineSettings, TrainerSettings
from pneumo_cli.specs import DatasetSpec, ModelSpec, TrainerSpec

if TYPE_CHECKING:
    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.runs.ema import WeightAverage
    from pneumo_cli.runs.folder import RunFolder

_log = logging.getLogger("pneumo")


class Monitor(NamedTuple):
    """The metric that chooses the best checkpoint, whether more of it is better, and on which images it is taken.

    ``side`` is ``train`` where it is one of the training metrics: for a task that validates nothing. With an empty
    ``metric`` nothing chooses, and the last epoch's is kept.
    """

    metric: str
    mode: Literal["max", "min"]
    side: Literal["validation", "train"] = "validation"

    def improves(self, value: float, best: float | None) -> bool:
        """Whether a value beats the best so far; the first of equal values stays the best."""
        if best is None:
            return True
        return value > best if self.mode == "max" else value < best


@dataclass
class Best:
    """The best epoch so far by the monitored metric."""

    epoch: int | None = None
    value: float | None = None


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

    Hooks read it; the runner alone writes to it. ``model``, ``optimizers``, ``schedulers``, ``transforms``,
    ``sources``, ``average``, ``updates`` and ``folder`` are set when the run starts.

    Attributes:
        registries: everything that is installed, by name.
        resolved: the settings with their origins.
        model_entry, dataset_entry: the registered model and dataset in use.
        device: where it computes, and in which precision.
        ranks: the processes that share it.
        data: decoded images, labels and splits.
        progress: where long steps are shown.
        monitor: the metric that chooses the best checkpoint.
        curves: the metrics whose curves the report shows first; empty: all of them.
        participants: the names of the plugins that take part, the trainer among them.
        extensions: the names of those that wrap a task hook.
        epoch: the current or last epoch; 0 before training.
        step: the current step within the epoch, from 0.
        history: one row per finished epoch, epoch 0 included.
        best: the best epoch so far.
        average: the moving average of the weights, with which the run is judged; None where there is none.
        updates: how losses become updates of the weights, see :meth:`optimize`.
        calibration: what the trainer has fitted on the validation images
            (:meth:`~pneumo_cli.trainers.base.Trainer.calibrate`); empty before.
        test_accesses: how often the test images have been evaluated on, by this run too; 0 before.
        notes: what has been found worth saying about this run, see :meth:`note`.
        resumed: how many times the run has been taken up again.
        started: when the run began, in UTC.
        seconds_before: how long it had worked when it was taken up again.
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
    extensions: Sequence[str] = ()
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

    folder: RunFolder = field(init=False)
    model: torch.nn.Module = field(init=False)
    optimizers: dict[str, torch.optim.Optimizer] = field(init=False)
    schedulers: dict[str, torch.optim.lr_scheduler.LRScheduler] = field(init=False)
    transforms: Transforms = field(init=False)
    sources: Sources = field(init=False)
    average: WeightAverage | None = field(init=False, default=None)
    updates: Updates = field(init=False)
    _clock: float = field(init=False, default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Time spent on this run, over all its resumptions."""
        return self.seconds_before + time.monotonic() - self._clock

    @property
    def spec(self) -> TrainerSpec:
        """The trainer's spec."""
        return self.resolved.entry.spec

    @property
    def settings(self) -> TrainerSettings:
        """The recipe."""
        return self.resolved.trainer

    @property
    def machine(self) -> MachineSettings:
        """What belongs to the machine."""
        return self.resolved.machine

    @property
    def updates_per_epoch(self) -> int:
        """How many times an epoch changes the weights."""
        whole, rest = divmod(len(self.data.split.train), self.settings.batch_size)
        steps = whole + (rest >= self.ranks.world)
        return -(-steps // self.settings.accumulate)

    @cached_property
    def images(self) -> torch.Tensor:
        """All images, uint8 [N, S, S]: on the accelerator where they take little of its memory."""
        device = self.device.torch
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if self.data.images.size < free / 4:
                return self.data.images_on(device)
        return self.data.images_on(torch.device("cpu"))

    def image_inputs(self, transform: Transform) -> ImageInputs:
        """Make batches of the run's images, for its device."""
        return ImageInputs(self.images, transform, self.device.torch, self.device.memory_format)

    def create_model(self, **options: Any) -> torch.nn.Module:
        """Make the registered model that the settings name.

        Args:
            options: what the kind's trainers offer (``channels`` and ``outputs`` for a classifier); a factory
                receives those that it takes.

        Raises:
            UsageError: the factory cannot be imported, fails, or returns no module.
        """
        return build_registered(self.model_entry, options)

    def note(self, text: str) -> None:
        """Say something about the run that is worth knowing: on stderr, in its log, in its report."""
        if self.ranks.first and text not in self.notes:
            self.notes.append(text)
            _log.log(NOTICE, "%s", text)

    def optimize(self, loss: torch.Tensor, name: str = "main") -> None:
        """Make one update: backward, accumulation, the sum over ranks, clipping, the optimizer's step.

        Gradients go to the named optimizer's parameters only, so that a generator's loss leaves nothing behind
        in the discriminator that it passed through.

        Args:
            loss: 0-d tensor, the mean over this rank's images of the batch.
            name: which of ``optimizers``.
        """
        self.updates.make(loss, name)

    def gather(self, outputs: Mapping[str, torch.Tensor]) -> dict[str, NDArray[np.generic]]:
        """Bring per-image values of all ranks together, in the order of ``outputs["index"]``.

        Args:
            outputs: tensors [n] of this rank by name; ``index`` (int64) among them.

        Returns:
            arrays [N] by name, the same on every rank, without duplicates.
        """
        mine = {
            name: (value.detach().float() if value.is_floating_point() else value.detach()).cpu().numpy()
            for name, value in outputs.items()
        }
        parts = self.ranks.gather(mine)
        merged = {name: np.concatenate([part[name] for part in parts]) for name in mine}
        order = np.argsort(merged["index"], kind="stable")
        return {name: value[order] for name, value in merged.items()}
