"""One run, as every hook receives it: what is being done, with what, and how far it is."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from pneumo_cli.data.augmentation import Transform
from pneumo_cli.data.batch_inputs import ImageInputs
from pneumo_cli.errors import UsageError
from pneumo_cli.plugins.discovery import Plugins
from pneumo_cli.registry import Entry
from pneumo_cli.runtime.devices import Device
from pneumo_cli.runtime.distributed import Ranks
from pneumo_cli.runtime.progress import NOTICE, Progress
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.settings.schema import MachineSettings, TrainerSettings
from pneumo_cli.specs import DatasetSpec, ModelSpec, TrainerSpec, load_reference
from pneumo_cli.trainers.base import Sources, Trainer, Transforms

if TYPE_CHECKING:
    from pneumo_cli.data.prepare import PreparedData
    from pneumo_cli.plugins.run_hooks import RunHooks
    from pneumo_cli.runs.ema import WeightAverage
    from pneumo_cli.runs.folder import RunFolder

_log = logging.getLogger("pneumo")


@dataclass
class Best:
    """The best epoch so far by the monitored metric."""

    epoch: int | None = None
    value: float | None = None


@dataclass
class Run:
    """One execution of a trainer.

    Hooks read it; the runner alone writes to it. ``model``, ``optimizers``, ``schedulers``, ``transforms``,
    ``sources``, ``hooks`` and ``folder`` are set when the run starts.

    Attributes:
        plugins: everything that is installed.
        resolved: the settings with their origins.
        trainer: the object whose methods are the task hooks.
        model_entry, dataset_entry: the registered model and dataset in use.
        device: where it computes, and in which precision.
        ranks: the processes that share it.
        data: decoded images, labels and splits.
        progress: where long steps are shown.
        epoch: the current or last epoch; 0 before training.
        step: the current step within the epoch, from 0.
        history: one row per finished epoch, epoch 0 included.
        best: the best epoch so far.
        average: the moving average of the weights, with which the run is judged; None where there is none.
        batch_share: this rank's images of the current batch as a share of all images of the update that it is
            part of (one batch over all ranks, or ``accumulate`` of them).
        calibration: what the trainer has fitted on the validation images (:meth:`Trainer.calibrate`); empty before.
        looks: how often the test images have been looked at, this run's own look included; 0 before.
        notes: what has been found worth saying about this run, see :meth:`note`.
        resumed: how many times the run has been taken up again.
        started: when the run began, in UTC.
        seconds_before: how long it had worked when it was taken up again.
    """

    plugins: Plugins
    resolved: Resolved
    trainer: Trainer
    model_entry: Entry[ModelSpec]
    dataset_entry: Entry[DatasetSpec]
    device: Device
    ranks: Ranks
    data: PreparedData
    progress: Progress
    epoch: int = 0
    step: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: Best = field(default_factory=Best)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    looks: int = 0
    notes: list[str] = field(default_factory=list)
    resumed: int = 0
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    seconds_before: float = 0.0

    folder: RunFolder = field(init=False)
    hooks: RunHooks = field(init=False)
    model: torch.nn.Module = field(init=False)
    optimizers: dict[str, torch.optim.Optimizer] = field(init=False)
    schedulers: dict[str, torch.optim.lr_scheduler.LRScheduler] = field(init=False)
    transforms: Transforms = field(init=False)
    sources: Sources = field(init=False)
    average: WeightAverage | None = field(init=False, default=None)
    scaler: torch.amp.GradScaler = field(init=False)
    batch_share: float = field(init=False, default=1.0)
    last_step: bool = field(init=False, default=False)
    _pending: dict[str, int] = field(init=False, default_factory=dict)
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
        optimizer = self.optimizers[name]
        parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
        pending = self._pending.get(name, 0)
        if pending == 0:
            optimizer.zero_grad(set_to_none=True)
        # Batches of one update, and ranks' shares of a batch, need not be equal: weighted by their number of
        # images, the sum of the gradients is that of the mean over all images of the update.
        share = loss * self.batch_share
        with torch.autocast(self.device.torch.type, enabled=False):
            self.scaler.scale(share).backward(inputs=parameters)
        self._pending[name] = pending + 1
        if self._pending[name] < self.settings.accumulate and not self.last_step:
            return
        self._pending[name] = 0
        self.ranks.sum_gradients(parameters)
        if self.settings.clip_norm:
            self.scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)
        self.scaler.step(optimizer)
        self.scaler.update()

    @property
    def between_updates(self) -> bool:
        """Whether no gradient is held back for a later update, so that the state on the disk is complete."""
        return not any(self._pending.values())

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


def build_registered(entry: Entry[ModelSpec], options: Mapping[str, Any]) -> torch.nn.Module:
    """Call a registered model's factory with those options that it takes; its ``name`` is one of them.

    Raises:
        UsageError: the factory cannot be imported, fails, or returns no module.
    """
    who = f"the model {entry.spec.name} ({entry.provenance})"
    options = {**options, "name": entry.spec.name}
    try:
        factory = load_reference(entry.spec.factory)
    except Exception as error:
        raise UsageError(
            f"{who} cannot be imported from {entry.spec.factory}: {type(error).__name__}: {error}"
        ) from error
    taken = inspect.signature(factory).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        options = {name: value for name, value in options.items() if name in taken}
    try:
        model = factory(**options)
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{who} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(model, torch.nn.Module):
        raise UsageError(f"{who} returned {type(model).__name__}, not a torch.nn.Module")
    return model
