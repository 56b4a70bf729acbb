"""Judging a checkpoint of an existing run again: ``pneumo evaluate``. Nothing of the run is changed."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

from pneumo_cli import atomic
from pneumo_cli.checkpoints import Checkpoints
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.result import plain
from pneumo_cli.folder import RunFolder
from pneumo_cli.runner import Runner
from pneumo_cli.state import judged_weights, load_weights

_log = logging.getLogger("pneumo")


def judge_again(runner: Runner, folder: RunFolder, checkpoint: str, split: str) -> dict[str, Any]:
    """Judge a checkpoint on one split, and keep the result in the folder ``evaluations`` of its run.

    Args:
        runner: of the run's settings, not started.
        checkpoint: ``best`` or ``last``.
        split: ``train``, ``validation`` or ``test``.
    """
    run = runner.run
    runner.build()
    run.folder = folder
    state = Checkpoints(folder.checkpoints).load(checkpoint, run.device.torch)
    load_weights(run, judged_weights(state))
    run.epoch = state["epoch"]
    if state["fingerprint"] != run.data.fingerprint:
        _log.warning("these are not the data that the run was trained on: its own splits mean nothing here")
    evaluation = runner.evaluate(split, f"{checkpoint} checkpoint, {split}")
    now = datetime.now(UTC)
    result = {
        "when": now.isoformat(timespec="seconds"),
        "checkpoint": checkpoint,
        "epoch": run.epoch,
        "dataset": run.data.dataset.name,
        "fingerprint": run.data.fingerprint,
        "split": split,
        "images": len(run.data.split.parts()[split]),
        "metrics": plain(evaluation.metrics),
    }
    name = f"{now:%Y%m%dT%H%M%S}-{checkpoint}-{run.data.dataset.name}-{split}"
    try:
        atomic.write_json(folder.evaluations / f"{name}.json", result)
    except OSError as error:
        raise PneumoError(f"{folder.evaluations} cannot be written: {error.strerror}") from error
    return result
