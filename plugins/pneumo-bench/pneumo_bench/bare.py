"""The loop that a training step is compared with: the same model, precision and optimizer, and nothing else.

Model and optimizers are copies, whose learning rates are 0: a thousand steps on one batch would take the weights
to where no training does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from pneumo_cli.data.loader import Batch
from pneumo_cli.runs.run import Run, StepFunctions
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.trainers.classification import ClassificationTrainer

CALLS = "torch calls alone"
TRAIN_STEP = "the trainer's train_step, without the runner"

Step = Callable[[], None]


def bare_step(run: Run, trainer: Trainer, batch: Batch) -> tuple[Step, str]:
    """A step on a resident batch, and what it is made of: :data:`CALLS` or :data:`TRAIN_STEP`.

    Args:
        run: built; it is not changed.
        batch: on the run's device.

    Raises:
        Exception: the model cannot be copied.
    """
    model, optimizers = copy.deepcopy((run.model, run.optimizers))
    for optimizer in optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = 0.0
    own = copy.copy(run)
    own.model, own.optimizers = model, optimizers
    scaler = torch.amp.GradScaler(run.device.torch.type, enabled=run.device.precision == "fp16")
    if _is_plain(trainer, batch):
        return _calls(own, batch, scaler), CALLS
    return _train_step(own, trainer, batch, scaler), TRAIN_STEP


def _is_plain(trainer: Trainer, batch: Batch) -> bool:
    """Whether a step is forward, loss, backward and update of a whole classifier, and nothing else."""
    kind = type(trainer)
    return (
        isinstance(trainer, ClassificationTrainer)
        and kind.train_step is ClassificationTrainer.train_step
        and not batch.stage
        and len(batch.labels) == len(batch.images)
    )


def _calls(run: Run, batch: Batch, scaler: torch.amp.GradScaler) -> Step:
    model, (optimizer,) = run.model, run.optimizers.values()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with run.device.autocast():
            outputs = model(batch.images)
        scaler.scale(_loss(outputs.float(), batch.labels)).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def _loss(outputs: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of two classes, of several, or of labels."""
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(outputs, labels.clamp(min=0).float())
    if outputs.ndim == 2 and outputs.shape[1] > 1:
        return F.cross_entropy(outputs, labels)
    return F.binary_cross_entropy_with_logits(outputs.flatten(), labels.float())


def _train_step(run: Run, trainer: Trainer, batch: Batch, scaler: torch.amp.GradScaler) -> Step:
    parameters = {
        name: [one for group in optimizer.param_groups for one in group["params"] if one.requires_grad]
        for name, optimizer in run.optimizers.items()
    }

    def optimize(loss: Tensor, name: str) -> None:
        optimizer = run.optimizers[name]
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(run.device.torch.type, enabled=False):
            scaler.scale(loss).backward(inputs=parameters[name])
        scaler.step(optimizer)
        scaler.update()
        torch.clear_autocast_cache()  # of the weights before the update

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return trainer.training_loss(run, outputs, batch)

    run.functions = StepFunctions(lambda batch: trainer.train_step(run, batch), loss, optimize)

    def step() -> None:
        with run.device.autocast():
            trainer.train_step(run, batch)

    return step
