"""Evaluating a checkpoint of an existing run again (``pneumo evaluate``). Nothing of the run is changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.ensemble import MemberPredictions
from pneumo_cli.evaluation.result import plain
from pneumo_cli.inference.ensemble import evaluate_ensemble
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.test_access import access_now, record_access, record_test_access
from pneumo_cli.runs.weights import evaluation_weights, load_weights
from pneumo_cli.runtime import atomic
from pneumo_cli.training.evaluation import describe_evaluation
from pneumo_cli.training.runner import Runner

_log = logging.getLogger("pneumo")


def reevaluate(runner: Runner, folder: RunFolder, checkpoint: str, split: str) -> dict[str, Any]:
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
        record_test_access(run, checkpoint, by="evaluate")
    evaluation = describe_evaluation(
        run, runner.trainer, split, runner.evaluate(split, f"{checkpoint} checkpoint, {split}")
    )
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
    if run.test_accesses:
        result["test_accesses"] = run.test_accesses
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
    load_weights(run.model, evaluation_weights(state))
    run.epoch = state["epoch"]
    run.calibration = state.get("calibration", {})
    return str(state["fingerprint"])


def _write(folder: RunFolder, name: str, result: dict[str, Any]) -> None:
    try:
        atomic.write_json(folder.evaluations / f"{name}.json", result)
    except OSError as error:
        raise PneumoError(f"{folder.evaluations} cannot be written: {error.strerror}") from error


def predict_members(
    runner: Runner, folder: RunFolder, checkpoint: str, splits: Sequence[str]
) -> dict[str, MemberPredictions]:
    """Judge the images of some splits with a checkpoint of a run. Every rank calls it.

    Args:
        runner: of the run's settings, not started.
        checkpoint: ``best`` or ``last``.

    Raises:
        UsageError: the run trained no classifier, or has no image in a split.
        PneumoError: its outputs are not finite, or the checkpoint is damaged.
    """
    run = runner.run
    classifier = runner.trainer.as_classifier()
    if classifier is None:
        raise UsageError(
            f"{folder.path} is a run of {run.spec.name}, which classifies no images to be averaged"
        )
    if load_checkpoint(runner, folder, checkpoint) != run.data.fingerprint:
        _log.warning("these are not the data that %s was trained on", folder.path)
    rule = classifier.decision_rule(run.calibration, run.data.dataset.classes)
    found = {}
    for split in splits:
        if not len(run.data.split.parts()[split]):
            raise UsageError(f"{folder.path} keeps no {split} images")
        outputs = runner.evaluate(split, f"{folder.path.name}, {split}").outputs
        logits = outputs["logits"].astype(np.float64)
        if not np.isfinite(logits).all():
            raise PneumoError(f"{folder.path}: the {checkpoint} checkpoint gives outputs that are not finite")
        found[split] = MemberPredictions(
            folder=folder.path,
            epoch=run.epoch,
            fingerprint=run.data.fingerprint,
            rule=rule,
            index=outputs["index"].astype(np.int64),
            logits=logits,
            labels=outputs["labels"].astype(np.int64),
        )
    return found


def reevaluate_ensemble(
    runners: Sequence[tuple[Runner, RunFolder]], home: RunFolder, checkpoint: str, split: str, point: str = ""
) -> dict[str, Any]:
    """Judge the mean of several runs on the images of one split, and keep the result.

    Looking at test images is one look, whatever the number of runs.

    Args:
        runners: of each run's settings, not started, with its folder; at least one.
        home: the folder of the run, or of the group, that receives the result in ``evaluations``.
        checkpoint: ``best`` or ``last``.
        split: ``train``, ``validation`` or ``test``.
        point: the operating point; empty: the runs' own.

    Returns:
        what is written, as :func:`pneumo_cli.training.reevaluation.reevaluate` has it for one run.

    Raises:
        UsageError: the runs have no such images, not the same ones, or cannot be averaged.
        PneumoError: a checkpoint is damaged, or the result cannot be written.
    """
    first, folder = runners[0]
    data = first.run.data
    for other, place in runners[1:]:
        if other.run.data.fingerprint != data.fingerprint:
            raise UsageError(
                f"{folder.path} and {place.path} have different data ({data.dataset.name}, "
                f"{other.run.data.dataset.name}): --dataset NAME judges both on the same"
            )
        if not np.array_equal(other.run.data.split.parts()[split], data.split.parts()[split]):
            raise UsageError(
                f"{folder.path} and {place.path} do not have the same {split} images: what one was judged on the "
                "other may have trained on (a group's report has the mean over its folds)"
            )
    for runner, place in runners:
        if runner.trainer.as_classifier() is None:
            raise UsageError(f"{place.path} is a run of {runner.run.spec.name}, which classifies no images")
    accesses = 0
    if split == "test":
        look = access_now(home.path, checkpoint, first.run.settings.epochs, "evaluate")
        accesses = record_access(first.run.machine.data_home, data.dataset, look)
    members = [predict_members(runner, place, checkpoint, [split])[split] for runner, place in runners]
    evaluation = evaluate_ensemble(members, data.dataset.records, seed=first.run.settings.seed, point=point)
    now = datetime.now(UTC)
    result: dict[str, Any] = {
        "when": now.isoformat(timespec="seconds"),
        "checkpoint": checkpoint,
        "runs": [
            {"folder": str(one.folder), "epoch": one.epoch, "metrics": one.metrics()} for one in members
        ],
        "dataset": data.dataset.name,
        "fingerprint": data.fingerprint,
        "split": split,
        "images": len(members[0].index),
        "metrics": plain(evaluation.metrics),
        **({"test_accesses": accesses} if accesses else {}),
        "intervals": {name: list(ends) for name, ends in evaluation.intervals.items()},
        **evaluation.details,
    }
    _write(home, f"{now:%Y%m%dT%H%M%S}-mean-{checkpoint}-{data.dataset.name}-{split}", result)
    return result
