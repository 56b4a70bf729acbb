"""Judging a checkpoint of an existing run again: ``pneumo evaluate``, ``judge``. Nothing of the run is changed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.result import Judgement, plain
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.run import Best
from pneumo_cli.runs.test_access import open_test
from pneumo_cli.runtime import atomic
from pneumo_cli.training.evaluation import assess, judge
from pneumo_cli.training.runner import Runner
from pneumo_cli.training.state import judged_weights, load_weights

_log = logging.getLogger("pneumo")


def judge_again(runner: Runner, folder: RunFolder, checkpoint: str, split: str) -> dict[str, Any]:
    """Judge a checkpoint on one split, and keep the result in the folder ``evaluations`` of its run.

    Args:
        runner: of the run's settings, not started.
        checkpoint: ``best`` or ``last``.
        split: ``train``, ``validation`` or ``test``.
    """
    run = runner.run
    if load_checkpoint(runner, folder, checkpoint) != run.data.fingerprint:
        _log.warning("these are not the data that the run was trained on: its own splits mean nothing here")
    if split == "test":
        open_test(run, checkpoint, by="evaluate")
    evaluation = assess(run, split, runner.evaluate(split, f"{checkpoint} checkpoint, {split}"))
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
    if run.looks:
        result["looks"] = run.looks
    if evaluation.intervals:
        result["intervals"] = {name: list(ends) for name, ends in evaluation.intervals.items()}
    result.update(evaluation.details)
    name = f"{now:%Y%m%dT%H%M%S}-{checkpoint}-{run.data.dataset.name}-{split}"
    _write(folder, name, result)
    return result


def load_checkpoint(runner: Runner, folder: RunFolder, checkpoint: str) -> str:
    """Build the run's model and put a checkpoint's weights into it; return its data's fingerprint."""
    run = runner.run
    runner.build()
    run.folder = folder
    state = Checkpoints(folder.checkpoints).load(checkpoint, run.device.torch)
    load_weights(run.model, judged_weights(state))
    run.epoch = state["epoch"]
    run.calibration = state.get("calibration", {})
    return str(state["fingerprint"])


def _write(folder: RunFolder, name: str, result: dict[str, Any]) -> None:
    try:
        atomic.write_json(folder.evaluations / f"{name}.json", result)
    except OSError as error:
        raise PneumoError(f"{folder.evaluations} cannot be written: {error.strerror}") from error


def judge_as_a_whole(runner: Runner, folder: RunFolder, checkpoint: str) -> Judgement:
    """What a run's trainer says of a checkpoint as a whole, on the run's own data.

    Raises:
        UsageError: the trainer says nothing of the kind, or the data have changed.
    """
    run = runner.run
    trained_on = load_checkpoint(runner, folder, checkpoint)
    run.best = Best(run.epoch)
    if trained_on != run.data.fingerprint:
        raise UsageError(
            "these are not the data that the run was trained on: which of its images are copies cannot be said"
        )
    judgement = judge(runner.run, {})
    if judgement is None:
        raise UsageError(f"there is nothing to judge of {folder.path}: its model draws no new images")
    open_test(run, checkpoint, by="judge")
    return judgement


def keep_judgement(
    folder: RunFolder, checkpoint: str, judgement: Judgement, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a judgement into the folder ``evaluations`` of its run, and return what was written.

    Raises:
        UsageError: there is no number in it, for the reason that its first note gives. Nothing is written then.
    """
    if not judgement.metrics:
        raise UsageError(next(iter(judgement.notes), f"there is nothing to judge of {folder.path}"))
    now = datetime.now(UTC)
    result = {
        "when": now.isoformat(timespec="seconds"),
        "checkpoint": checkpoint,
        **facts,
        **judgement.content(),
    }
    _write(folder, f"{now:%Y%m%dT%H%M%S}-{checkpoint}-judgement", result)
    return result
