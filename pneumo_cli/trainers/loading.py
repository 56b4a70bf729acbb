"""A run's model as it was trained, without the run's data: what makes images, or features, of something else.

A run folder that was copied to another machine is enough, with the same plugins there. Judging a checkpoint on the
run's own images again is :mod:`pneumo_cli.training.reevaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from pneumo_cli.errors import UsageError, nearest
from pneumo_cli.registry import Entry, Registries
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runs.record import recorded_facts, reopen_settings
from pneumo_cli.runs.weights import evaluation_weights, load_weights
from pneumo_cli.runtime.devices import Device
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.specs import ModelSpec
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.trainers.requirements import check_plugins
from pneumo_cli.trainers.session import choose_model, make_trainer, prepare_device

CHECKPOINTS = ("best", "last")


@dataclass(frozen=True)
class Trained:
    """A trained model, and what it belongs to.

    Attributes:
        folder: of the run.
        resolved: the run's settings.
        trainer: made from these settings.
        entry: the registered model.
        model: with the checkpoint's weights (their average, where the run kept one), in eval mode, on ``device``.
        device: where it computes.
        checkpoint: ``best`` or ``last``.
        epoch: after which the checkpoint was written.
        fingerprint: of the data that it was trained on.
        dataset: the registered name of these data.
        calibration: what the trainer fitted when training was over; empty where nothing was.
    """

    folder: RunFolder
    resolved: Resolved
    trainer: Trainer
    entry: Entry[ModelSpec]
    model: nn.Module
    device: Device
    checkpoint: str
    epoch: int
    fingerprint: str
    dataset: str
    calibration: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What a person calls it: trainer and run."""
        return f"{self.resolved.entry.spec.name}/{self.folder.path.absolute().name}"


def load_trained(
    registries: Registries,
    folder: RunFolder,
    checkpoint: str = "best",
    flags: Mapping[str, Any] | None = None,
) -> Trained:
    """Build a run's model and put a checkpoint's weights into it.

    Args:
        flags: settings that replace the run's own, such as ``device``; None stands for not given.

    Raises:
        UsageError: the run has no such checkpoint, or its plugins are not installed or build another model.
        PneumoError: the checkpoint is damaged.
    """
    check_checkpoint(checkpoint)
    check_plugins(registries, folder)
    resolved = reopen_settings(registries, folder, flags or {})
    device = prepare_device(resolved.machine)
    state = Checkpoints(folder.checkpoints).load(checkpoint, device.torch)
    trainer = make_trainer(resolved)
    entry = choose_model(registries, resolved)
    model = build_registered(entry, trainer.model_options())
    load_weights(model, evaluation_weights(state))
    model.to(device.torch).to(memory_format=device.memory_format).eval().requires_grad_(False)
    return Trained(
        folder=folder,
        resolved=resolved,
        trainer=trainer,
        entry=entry,
        model=model,
        device=device,
        checkpoint=checkpoint,
        epoch=int(state["epoch"]),
        fingerprint=str(state["fingerprint"]),
        dataset=str(recorded_facts(folder.settings).get("dataset", resolved.trainer.dataset)),
        calibration=state.get("calibration", {}),
    )


def check_checkpoint(name: str) -> None:
    """Refuse what is no checkpoint's name.

    Raises:
        UsageError: it is neither ``best`` nor ``last``.
    """
    if name not in CHECKPOINTS:
        raise UsageError(f"{name!r} is none of {', '.join(CHECKPOINTS)}; {nearest(name, CHECKPOINTS)}")
