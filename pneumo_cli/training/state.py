"""The content of a run's checkpoints, and how a run is restored from it. Files are written and read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import torch

from pneumo_cli.errors import UsageError
from pneumo_cli.runs.run import Best, Run
from pneumo_cli.runs.weights import load_weights
from pneumo_cli.training.epoch_outputs import EpochOutputs


def training_state(run: Run, outputs: Mapping[str, Any], states: Mapping[str, Any]) -> dict[str, Any]:
    """The content of ``last``.

    Args:
        outputs: the :meth:`EpochOutputs.state` of the current epoch.
        states: of trainer, extensions and observers (:meth:`RunHooks.states`).
    """
    stop = {"stop": {"reason": run.stop_reason, "of": run.settings.epochs}} if run.stop_reason else {}
    return {
        "fingerprint": run.data.fingerprint,
        "pixels": run.data.images_digest,
        "epoch": run.epoch,
        "step": run.step,
        "history": run.history,
        "best_epoch": run.best.epoch,
        "best_value": run.best.value,
        "resumed": run.resumed,
        "started": run.started.isoformat(),
        "seconds": run.seconds,
        "notes": run.notes,
        "model": run.model.state_dict(),
        "average": run.average.state_dict() if run.average is not None else {},
        "optimizers": {name: o.state_dict() for name, o in run.optimizers.items()},
        "schedulers": {name: _scheduler_state(s) for name, s in run.schedulers.items()},
        "scaler": run.updates.scaler.state_dict(),
        "outputs": outputs,
        **stop,
        **states,
    }


def best_state(run: Run) -> dict[str, Any]:
    """The content of ``best``: the weights (averaged if the run averages them), and which epoch's they are."""
    return {
        "fingerprint": run.data.fingerprint,
        "pixels": run.data.images_digest,
        "epoch": run.epoch,
        "monitor": run.monitor.metric,
        "value": run.best.value,
        "model": (run.model if run.average is None else run.average.module).state_dict(),
    }


def restore_training(run: Run, state: Mapping[str, Any]) -> EpochOutputs:
    """Restore a run from its ``last`` checkpoint, and return the outputs of the current epoch so far.

    Raises:
        UsageError: the checkpoint is of other data, or of another model than the installed plugins build.
    """
    if state["fingerprint"] != run.data.fingerprint:
        raise UsageError(
            "the dataset has changed since this run began: its images, labels or patients differ "
            "(a new run can use it; this one needs the old data)"
        )
    load_weights(run.model, state["model"])
    try:
        if run.average is not None:
            run.average.load_state_dict(state["average"])
        for name, optimizer in run.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        for name, scheduler in run.schedulers.items():
            scheduler.load_state_dict(state["schedulers"][name])
    except (RuntimeError, KeyError, ValueError) as error:
        text = "the checkpoint does not fit the optimizers of the installed plugins"
        raise UsageError(f"{text}: {str(error).splitlines()[0]}") from error
    run.updates.scaler.load_state_dict(state["scaler"])
    run.epoch, run.step = state["epoch"], state["step"]
    run.history = list(state["history"])
    run.best = Best(state["best_epoch"], state["best_value"])
    run.resumed = state["resumed"] + 1
    run.started = datetime.fromisoformat(state["started"])
    run.seconds_before = state["seconds"]
    run.notes = list(state["notes"])
    if state.get("pixels", run.data.images_digest) != run.data.images_digest:
        run.note(
            "The images are decoded otherwise than when the run was last saved (by another version of the "
            f"dataset's plugin or of a library): the epochs up to {run.epoch} were trained on other pixels"
        )
    stop = state.get("stop", {})
    if stop and run.settings.epochs <= stop["of"]:  # more epochs were asked for otherwise: it goes on
        run.stop_reason = stop["reason"]
    outputs = EpochOutputs(run.ranks)
    outputs.restore(state["outputs"], run.step)
    return outputs


def _scheduler_state(scheduler: torch.optim.lr_scheduler.LRScheduler) -> dict[str, Any]:
    """A scheduler's state without what the settings rebuild (the functions of LambdaLR)."""
    return {
        name: value
        for name, value in scheduler.state_dict().items()
        if value is None or isinstance(value, (bool, int, float, str, list, tuple, dict))
    }
