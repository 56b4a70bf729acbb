"""A run's trained model without the run's data, to predict, generate or extract features with.

It needs only the run folder, on any machine with the same plugins. Re-evaluating a checkpoint on the run's own
images is :mod:`pneumo_cli.training.reevaluation`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from pneumo_cli.registry import Entry, Registries
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import CHECKPOINTS as CHECKPOINTS
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.folder import check_checkpoint as check_checkpoint
from pneumo_cli.runs.model_factory import build_registered
from pneumo_cli.runs.record import recorded_facts, recorded_images, recorded_task, reopen_settings
from pneumo_cli.runs.weights import evaluation_weights, load_weights
from pneumo_cli.runtime.devices import Device
from pneumo_cli.settings.resolve import Resolved
from pneumo_cli.specs import ModelSpec
from pneumo_cli.trainers.base import Trainer
from pneumo_cli.trainers.requirements import check_plugins
from pneumo_cli.trainers.session import choose_model, make_trainer, prepare_device


@dataclass(frozen=True)
class Trained:
    """A trained model, with its run.

    Attributes:
        trainer: of the run, with its settings.
        entry: the registered model.
        model: with the checkpoint's weights (their EMA if the run kept one), in eval mode, on ``device``.
        checkpoint: ``best`` or ``last``.
        epoch: of the checkpoint.
        fingerprint: of the training data.
        dataset: the registered name of the training data.
        calibration: the result of the trainer's ``calibrate``; empty if there is none.
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
        """A name to show: trainer and run."""
        return f"{self.resolved.entry.spec.name}/{self.folder.path.absolute().name}"


def load_trained(
    registries: Registries,
    folder: RunFolder,
    checkpoint: str = "best",
    flags: Mapping[str, Any] | None = None,
) -> Trained:
    """Build a run's model and load a checkpoint's weights into it.

    Args:
        flags: settings that replace the run's own, such as ``device``; None means not given. The number of threads
            is not the run's own: without one it is that of :func:`~pneumo_cli.runtime.devices.set_threads`.

    Raises:
        UsageError: the run has no such checkpoint, or its plugins are not installed or build another model.
        PneumoError: the checkpoint is damaged.
    """
    check_checkpoint(checkpoint)
    check_plugins(registries, folder)
    resolved = reopen_settings(registries, folder, using_all_cores(flags or {}))
    device = prepare_device(resolved.machine)
    # On the CPU, where what was fitted (calibration, detectors) is used; the weights are copied to the device.
    state = Checkpoints(folder.checkpoints).load(checkpoint)
    trainer = make_trainer(resolved)
    facts = recorded_facts(folder.settings)
    trainer.choose_task(*recorded_task(facts))
    trainer.choose_images(*recorded_images(facts))
    entry = choose_model(registries, resolved)
    # Missing in runs of earlier versions, whose subtypes were two.
    outputs = {"outputs": facts["outputs"]} if isinstance(facts.get("outputs"), int) else {}
    model = build_registered(entry, {**trainer.model_options(), **outputs})
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
        dataset=str(facts.get("dataset", resolved.trainer.dataset)),
        calibration=state.get("calibration", {}),
    )


def using_all_cores(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Flags for a finished run that is computed with: with as many threads as the machine allows, unless they say.

    The number of a run is that of the machine that it was trained on, and perhaps of several runs side by side.
    """
    return {**flags, "threads": 0 if flags.get("threads") is None else flags["threads"]}
