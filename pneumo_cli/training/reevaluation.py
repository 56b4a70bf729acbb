"""Evaluating a checkpoint of an existing run again (``pneumo evaluate``). The run itself is not changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from pneumo_cli.data.prepare import PreparedData
from pneumo_cli.data.records import Dataset
from pneumo_cli.data.source import title_of
from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.ensemble import MemberPredictions
from pneumo_cli.evaluation.result import Evaluation, plain
from pneumo_cli.inference.ensemble import evaluate_ensemble
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.extensions import check_extensions
from pneumo_cli.runs.folder import RunFolder
from pneumo_cli.runs.record import recorded_facts, recorded_images, recorded_task
from pneumo_cli.runs.test_access import access_now, record_access, record_test_access
from pneumo_cli.runs.weights import evaluation_weights, load_weights
from pneumo_cli.trainers.capabilities import Classifier
from pneumo_cli.training.evaluation import describe_evaluation, or_noted
from pneumo_cli.training.runner import Runner

_log = logging.getLogger("pneumo")


def reevaluate(runner: Runner, folder: RunFolder, checkpoint: str, split: str) -> dict[str, Any]:
    """Evaluate a checkpoint on one split, and save the result in the folder ``evaluations`` of its run.

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
    evaluation = runner.evaluate(split, f"{checkpoint} checkpoint, {split}")
    describe = partial(describe_evaluation, run, runner.trainer, split, evaluation)
    evaluation = or_noted(run, describe, evaluation, f"what a report adds to the {split} results")
    model = {"checkpoint": checkpoint, "epoch": run.epoch}
    return _save(folder, checkpoint, model, run.data, split, evaluation, run.test_accesses)


def load_checkpoint(runner: Runner, folder: RunFolder, checkpoint: str) -> str:
    """Build the run's model with a checkpoint's weights, and return the fingerprint of its data.

    Raises:
        UsageError: the model decides something else than the dataset asks for.
    """
    run = runner.run
    if runner.trainer.as_classifier() is not None:
        check_task(folder, run.data.dataset)
    check_images(folder, run.data.dataset)
    runner.build()
    for remark in check_extensions(run, recorded_facts(folder.settings), folder):
        _log.warning("%s", remark)
    run.folder = folder
    state = Checkpoints(folder.checkpoints).load(checkpoint)  # on the CPU, where what was fitted is used
    load_weights(run.model, evaluation_weights(state))
    run.epoch = state["epoch"]
    run.calibration = state.get("calibration", {})
    if runner.trainer.as_classifier() is not None:
        _check_order(folder, run.calibration.get("classes", ()), run.data.dataset)
    trained_on, pixels = str(state["fingerprint"]), run.data.images_digest
    if trained_on == run.data.fingerprint and state.get("pixels", pixels) != pixels:
        _log.warning(
            "%s decodes its images otherwise than when %s was trained (by another version of its plugin or of a "
            "library): the results are of other pixels", title_of(run.data.dataset), folder.path,
        )  # fmt: skip
    return trained_on


def check_task(folder: RunFolder, dataset: Dataset) -> None:
    """Check that a run's model decides what a dataset asks for.

    Raises:
        UsageError: it decides another number of classes, or K classes of other names or in another order.
    """
    task, classes = recorded_task(recorded_facts(folder.settings))
    if task == dataset.task and (task == "binary" or list(classes) == list(dataset.classes)):
        return
    trained = "two classes" if task == "binary" else f"{len(classes)} classes ({', '.join(classes)}), {task}"
    raise UsageError(
        f"{folder.path} was trained on {trained}, and the dataset {dataset.name} has {len(dataset.classes)} "
        f"({', '.join(dataset.classes)}), {dataset.task}: --classes may choose the same ones"
    )


def check_images(folder: RunFolder, dataset: Dataset) -> None:
    """Check that a dataset's images have the channels and bits of those that a run was trained on.

    Raises:
        UsageError: they have not.
    """
    trained, given = recorded_images(recorded_facts(folder.settings)), (dataset.channels, dataset.bits)
    if trained != given:
        raise UsageError(
            f"{folder.path} was trained on images of {_images(trained)}, and those of the dataset {dataset.name} "
            f"are of {_images(given)}: evaluate it on images of its own kind"
        )


def _images(kind: tuple[int, int]) -> str:
    channels, bits = kind
    return f"{channels} {'channel' if channels == 1 else 'channels'} of {bits} bits"


def _check_order(folder: RunFolder, trained: Sequence[str], dataset: Dataset) -> None:
    """Compare the classes that a model was trained on with a dataset's: other names may mean the same.

    Raises:
        UsageError: they are the same in another order.
    """
    own, given = ([name.casefold() for name in names] for names in (trained, dataset.classes))
    if not own or own == given:
        return
    if sorted(own) == sorted(given):
        raise UsageError(
            f"{folder.path} was trained on the classes {', '.join(trained)}, and {dataset.name} has them "
            f"in the order {', '.join(dataset.classes)}: --classes {','.join(trained)} brings them into the same"
        )
    pairs = ", ".join(f"{one} as {other}" for one, other in zip(dataset.classes, trained, strict=True))
    _log.warning("the model was trained on other classes: it evaluates %s", pairs)


def _classifier(runner: Runner, folder: RunFolder) -> Classifier:
    classifier = runner.trainer.as_classifier()
    if classifier is None:
        raise UsageError(
            f"{folder.path} is a run of {runner.run.spec.name}, which classifies no images: only classifiers are "
            "evaluated as an ensemble; pneumo evaluate takes each run by itself"
        )
    return classifier


def predict_members(
    runner: Runner, folder: RunFolder, checkpoint: str, splits: Sequence[str]
) -> dict[str, MemberPredictions]:
    """Predict the images of some splits with a checkpoint of a run, as a member of an ensemble. Collective.

    Args:
        runner: of the run's settings, not started.
        checkpoint: ``best`` or ``last``.

    Raises:
        UsageError: the run trained no classifier, or has no image in a split.
        PneumoError: its outputs are not finite, or the checkpoint is damaged.
    """
    run = runner.run
    classifier = _classifier(runner, folder)
    if load_checkpoint(runner, folder, checkpoint) != run.data.fingerprint:
        _log.warning("these are not the data that %s was trained on", folder.path)
    rule = classifier.decision_rule(run.calibration, run.data.dataset.classes)
    predictions = {}
    for split in splits:
        if not len(run.data.split.parts()[split]):
            raise UsageError(f"{folder.path} has no {split} images")
        outputs = runner.evaluate(split, f"{folder.path.name}, {split}").outputs
        logits = outputs["logits"].astype(np.float64)
        if not np.isfinite(logits).all():
            raise PneumoError(f"{folder.path}: the {checkpoint} checkpoint gives outputs that are not finite")
        predictions[split] = MemberPredictions(
            folder=folder.path,
            epoch=run.epoch,
            fingerprint=run.data.fingerprint,
            rule=rule,
            index=outputs["index"].astype(np.int64),
            logits=logits,
            labels=outputs["labels"].astype(np.int64),
        )
    return predictions


def reevaluate_ensemble(
    runners: Sequence[tuple[Runner, RunFolder]], home: RunFolder, checkpoint: str, split: str, point: str = ""
) -> dict[str, Any]:
    """Evaluate the ensemble of several runs on one split, as :func:`reevaluate` a run. It is one test-set access.

    Args:
        runners: of each run's settings, not started, with its folder; at least one.
        home: the folder of the run, or of the group, that receives the result in ``evaluations``.
        checkpoint: ``best`` or ``last``.
        split: ``train``, ``validation`` or ``test``.
        point: the operating point; empty: the runs' own.

    Raises:
        UsageError: the runs have no images of this split, different ones, or cannot form an ensemble.
        PneumoError: a checkpoint is damaged, or the result cannot be written.
    """
    first, first_folder = runners[0]
    data = first.run.data
    for runner, folder in runners[1:]:
        other = runner.run.data
        if other.fingerprint != data.fingerprint:
            raise UsageError(
                f"{first_folder.path} and {folder.path} have different data ({data.dataset.name}, "
                f"{other.dataset.name}): --dataset NAME evaluates both on the same"
            )
        if not np.array_equal(other.split.parts()[split], data.split.parts()[split]):
            raise UsageError(
                f"{first_folder.path} and {folder.path} do not have the same {split} images: one may have been "
                "trained on those of the other (a group's report evaluates its folds as an ensemble)"
            )
    for runner, folder in runners:
        _classifier(runner, folder)  # before the test-set access is recorded
        check_task(folder, runner.run.data.dataset)
    accesses = 0
    if split == "test":
        access = access_now(
            *(home.path, checkpoint, first.run.settings.epochs, "evaluate"), first.run.spec.kind
        )
        accesses = record_access(first.run.machine.data_home, data.dataset, access, first.run.registries)
    members = [predict_members(runner, folder, checkpoint, [split])[split] for runner, folder in runners]
    evaluation = evaluate_ensemble(members, data.dataset.records, seed=first.run.settings.seed, point=point)
    runs = [{"folder": str(one.folder), "epoch": one.epoch, "metrics": one.metrics()} for one in members]
    model = {"checkpoint": checkpoint, "runs": runs}
    return _save(home, f"mean-{checkpoint}", model, data, split, evaluation, accesses)


def _save(
    folder: RunFolder,
    name: str,
    model: dict[str, Any],
    data: PreparedData,
    split: str,
    evaluation: Evaluation,
    accesses: int,
) -> dict[str, Any]:
    """Save an evaluation of one split with the run, and return what is written."""
    content: dict[str, Any] = {
        **model,
        "dataset": data.dataset.name,
        "fingerprint": data.fingerprint,
        "split": split,
        "images": len(data.split.parts()[split]),
        "metrics": plain(evaluation.metrics),
    }
    if accesses:
        content["test_accesses"] = accesses
    if evaluation.intervals:
        content["intervals"] = {name: list(ends) for name, ends in evaluation.intervals.items()}
    content.update({name: value for name, value in evaluation.details.items() if name not in content})
    return folder.add_evaluation(f"{name}-{data.dataset.name}-{split}", content)
