"""Models that cannot be trained on one image at a time, and epochs whose last batch is a single image.

Batch normalization of one value per channel is not defined: of one image, on maps of 1 x 1 pixels.
"""

from __future__ import annotations

import copy
import random
from functools import partial

import numpy as np
import torch

from pneumo_cli.data.loader import Batch
from pneumo_cli.errors import EXITS, UsageError
from pneumo_cli.runs.run import Run, StepFunctions
from pneumo_cli.runtime.accelerators import kept_generators
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.training.loaders import Loaders


def smallest_batch(run: Run, trainer: Trainer) -> int:
    """How many images a rank's training batch has to have: 2 if a step with one image fails where two do not.

    Steps are tried only if the run has batches of one image; they change neither the model nor random generators.
    """
    sizes = {run.settings.batch_size, run.images_per_epoch % run.settings.batch_size}
    if not any(size // run.ranks.world == 1 for size in sizes):
        return 1
    return 2 if not _can_train(run, trainer, 1) and _can_train(run, trainer, 2) else 1


def check_batch_size(run: Run) -> None:
    """Refuse a batch size at which the model cannot be trained; note what is left out of each epoch.

    Raises:
        UsageError: whole batches, or all training images together, are too small.
    """
    size, world, needed = run.settings.batch_size, run.ranks.world, run.smallest_batch * run.ranks.world
    name = f"{run.model_entry.spec.name} at {run.settings.image_size} px"
    rest = run.images_per_epoch % size
    if needed == world:
        return
    devices = f" on {world} devices" if world > 1 else ""
    why = f"{name} is trained on at least {needed} images at a time{devices}, as it normalizes over the batch"
    if size < needed:
        raise UsageError(f"batch_size = {size}: {why}")
    if run.images_per_epoch < needed:
        raise UsageError(f"there are too few training images, {run.images_per_epoch}: {why}")
    if 0 < rest < needed:
        left = f"{rest} training images are" if rest > 1 else "one training image is"
        run.note(
            f"{left} left out of each epoch, not the same each time: {why}; another --batch-size uses all"
        )


class _NoUpdates:
    """Stands for a run's updates while steps are tried: leaves the weights as they are."""

    def make(self, loss: torch.Tensor, name: str) -> None:
        """As :meth:`Updates.make`."""

    backward = make

    def update(self, name: str) -> None:
        """As :meth:`Updates.update`."""


def _can_train(run: Run, trainer: Trainer, images: int) -> bool:
    """Whether a copy of the model can make a training step with so many images of the training split."""
    positions = np.resize(run.data.split.train, images)
    device = run.device.torch
    states = random.getstate(), np.random.get_state()
    trial = copy.copy(run)
    trial.updates = _NoUpdates()  # type: ignore[assignment]
    trial.functions = StepFunctions(
        partial(trainer.train_step, trial), partial(trainer.training_loss, trial), trial.updates.make
    )
    try:
        with kept_generators(device), run.device.autocast():
            trial.model = copy.deepcopy(run.model)
            trainer.train_mode(trial)
            index = torch.from_numpy(positions).to(device)
            labels = torch.from_numpy(run.data.labels).to(device)[index]
            targets = Loaders(run).targets
            found = targets.of(run.sources.train, positions, index, 1) if targets is not None else {}
            trainer.train_step(trial, Batch(run.sources.train(positions, 1), labels, index, targets=found))
    except (Exception, *EXITS):  # training reports it, if it is for another reason
        return False
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
    return True
