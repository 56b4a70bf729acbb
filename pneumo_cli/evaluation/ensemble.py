"""Several trained classifiers that judge as one: the mean of their calibrated logits, and one rule to decide by it.

Each run's logits are calibrated by its own temperature and bias, and the mean of the results is again a logit,
calibrated about as well as they are. An operating point of the whole lies at the mean of the runs' own points on
that scale: nothing is fitted anew, so several runs decide in the same way whether their images are at hand or not,
and the test images choose nothing.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.binary import binary_metrics
from pneumo_cli.evaluation.classification_report import Predictions, assess
from pneumo_cli.evaluation.decision_rule import DecisionRule
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.evaluation.result import Evaluation, plain
from pneumo_cli.runs.checkpoints import Checkpoints
from pneumo_cli.runs.test_access import look_now, write_down
from pneumo_cli.runtime import atomic
from pneumo_cli.trainers.classification import ClassificationTrainer
from pneumo_cli.training.reevaluation import load_checkpoint
from pneumo_cli.training.state import judged_weights

if TYPE_CHECKING:
    from pneumo_cli.data.records import Record
    from pneumo_cli.runs.folder import RunFolder
    from pneumo_cli.training.runner import Runner

_log = logging.getLogger("pneumo")


@dataclass(frozen=True)
class Member:
    """What one run's checkpoint says of the images of one split.

    Attributes:
        folder: the run's.
        epoch: after which the checkpoint was written.
        fingerprint: of the images' dataset.
        rule: the run's own.
        index: the images' positions in the dataset's records, [N].
        logits: of class 1, as the network gives them, float64 [N], finite.
        labels: [N] of 0 and 1.
    """

    folder: Path
    epoch: int
    fingerprint: str
    rule: DecisionRule
    index: NDArray[np.int64]
    logits: NDArray[np.float64]
    labels: NDArray[np.int64]

    @property
    def calibrated(self) -> NDArray[np.float64]:
        """The logits on the scale that all members share, [N]."""
        return self.rule.calibrated(self.logits)

    def metrics(self) -> dict[str, float]:
        """The binary metrics of this member alone, at its own operating point."""
        return binary_metrics(self.logits, self.labels, cut=self.rule.point.cut)


def judge_members(
    runner: Runner, folder: RunFolder, checkpoint: str, splits: Sequence[str]
) -> dict[str, Member]:
    """Judge the images of some splits with a checkpoint of a run. Every rank calls it.

    Args:
        runner: of the run's settings, not started.
        checkpoint: ``best`` or ``last``.

    Raises:
        UsageError: the run trained no classifier, or has no image in a split.
        PneumoError: its outputs are not finite, or the checkpoint is damaged.
    """
    run = runner.run
    if not isinstance(run.trainer, ClassificationTrainer):
        raise UsageError(
            f"{folder.path} is a run of {run.spec.name}, which classifies no images to be averaged"
        )
    if load_checkpoint(runner, folder, checkpoint) != run.data.fingerprint:
        _log.warning("these are not the data that %s was trained on", folder.path)
    rule = DecisionRule.from_state(run.calibration, run.data.dataset.classes)
    if rule.images:
        rule = rule.at(run.trainer.settings.operating_point)
    found = {}
    for split in splits:
        if not len(run.data.split.parts()[split]):
            raise UsageError(f"{folder.path} keeps no {split} images")
        outputs = runner.evaluate(split, f"{folder.path.name}, {split}").outputs
        logits = outputs["logits"].astype(np.float64)
        if not np.isfinite(logits).all():
            raise PneumoError(f"{folder.path}: the {checkpoint} checkpoint gives outputs that are not finite")
        found[split] = Member(
            folder=folder.path,
            epoch=run.epoch,
            fingerprint=run.data.fingerprint,
            rule=rule,
            index=outputs["index"].astype(np.int64),
            logits=logits,
            labels=outputs["labels"].astype(np.int64),
        )
    return found


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """The SHA-256 of the names, types, shapes and bytes of a network's weights, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def checkpoint_digest(folder: RunFolder, checkpoint: str) -> str:
    """The digest of the weights that a run is judged with.

    Raises:
        UsageError: the checkpoint is missing.
        PneumoError: it is damaged.
    """
    return weights_digest(judged_weights(Checkpoints(folder.checkpoints).load(checkpoint)))


def check_distinct(models: Iterable[tuple[Path, str]]) -> None:
    """Refuse one model under two names: a run and a copy of it, or what was exported from it.

    Args:
        models: where each lies, and the digest of its weights; empty where that is not known.

    Raises:
        UsageError: there is one.
    """
    seen: dict[str, Path] = {}
    for place, digest in models:
        if digest and digest in seen:
            raise UsageError(
                f"{seen[digest]} and {place} are the same model (equal weights): a model counts once"
            )
        seen[digest] = place


def averaged_rule(rules: Sequence[DecisionRule]) -> DecisionRule:
    """The rule for the mean of calibrated logits: which needs no more of it, with the points that all members have.

    The point in use is that of the members, where they agree, and ``default`` where they do not.

    Raises:
        UsageError: they do not tell the same classes apart.
    """
    first = rules[0]
    for rule in rules[1:]:
        if rule.classes != first.classes:
            raise UsageError(
                f"these runs tell different classes apart ({', '.join(first.classes)}; {', '.join(rule.classes)}): "
                "their mean says nothing"
            )
    points = []
    for point in first.points:
        cuts = [float(rule.calibrated(o.cut)) for rule in rules for o in rule.points if o.name == point.name]
        if len(cuts) == len(rules):
            said = point.rule if len(set(cuts)) == 1 else f"The mean of {len(cuts)} runs' thresholds."
            points.append(OperatingPoint(point.name, float(np.mean(cuts)), said))
    chosen = {rule.chosen for rule in rules}
    assumed = {rule.assumed for rule in rules}
    images = sum(rule.images for rule in rules)
    return DecisionRule(
        classes=first.classes,
        points=tuple(points),
        chosen=first.chosen if len(chosen) == 1 else "default",
        images=images,
        prevalence=sum(r.images * r.prevalence for r in rules) / images if images else first.prevalence,
        assumed=first.assumed if len(assumed) == 1 else None,
    )


def average(members: Sequence[Member]) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """The mean of the calibrated logits per image, over the members that have judged it.

    Returns:
        index (rising), logits and labels, [N] each, of the images that any member has judged.

    Raises:
        UsageError: the members judged images of different datasets.
    """
    if len({one.fingerprint for one in members}) > 1:
        raise UsageError("these runs were not judged on the same data: their mean says nothing")
    index, place = np.unique(np.concatenate([one.index for one in members]), return_inverse=True)
    sums = np.bincount(place, weights=np.concatenate([one.calibrated for one in members]))
    labels = np.empty(len(index), np.int64)
    labels[place] = np.concatenate([one.labels for one in members])
    return index, sums / np.bincount(place), labels


def judge_average(
    members: Sequence[Member], records: Sequence[Record], *, seed: int, point: str = ""
) -> Evaluation:
    """What a report says of the mean: metrics with intervals over patients, operating points, subtypes, errors.

    Args:
        members: at least one.
        records: of the dataset that they judged.
        seed: of the bootstrap.
        point: the operating point in use; empty: as :func:`averaged_rule` has it.

    Raises:
        UsageError: as :func:`averaged_rule` and :func:`average`, or there is no such point.
    """
    rule = averaged_rule([one.rule for one in members])
    rule = rule.at(point) if point else rule
    index, logits, labels = average(members)
    shown = [records[position] for position in index.tolist()]
    found = Predictions(
        logits=logits,
        labels=labels,
        names=[record.name for record in shown],
        patients=[record.patient for record in shown],
        subtypes=[record.subtype for record in shown],
    )
    outputs: dict[str, NDArray[Any]] = {"index": index, "logits": logits, "labels": labels}
    evaluation = assess(Evaluation({}, outputs=outputs), found, rule, None, seed)
    # The mean is on the calibrated scale already: there are no probabilities before calibration to be judged.
    again = {name for name in evaluation.metrics if f"{name}_calibrated" in evaluation.metrics}
    metrics = {name: value for name, value in evaluation.metrics.items() if name not in again}
    intervals = {name: ends for name, ends in evaluation.intervals.items() if name in metrics}
    return Evaluation(
        metrics, evaluation.figures, evaluation.outputs, intervals, evaluation.tables, evaluation.details
    )


def evaluate_mean(
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
        what is written, as :func:`pneumo_cli.training.reevaluation.judge_again` has it for one run.

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
        if not isinstance(runner.run.trainer, ClassificationTrainer):
            raise UsageError(f"{place.path} is a run of {runner.run.spec.name}, which classifies no images")
    looks = 0
    if split == "test":
        look = look_now(home.path, checkpoint, first.run.settings.epochs, "evaluate")
        looks = write_down(first.run.machine.data_home, data.dataset, look)
    members = [judge_members(runner, place, checkpoint, [split])[split] for runner, place in runners]
    evaluation = judge_average(members, data.dataset.records, seed=first.run.settings.seed, point=point)
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
        **({"looks": looks} if looks else {}),
        "intervals": {name: list(ends) for name, ends in evaluation.intervals.items()},
        **evaluation.details,
    }
    path = home.evaluations / f"{now:%Y%m%dT%H%M%S}-mean-{checkpoint}-{data.dataset.name}-{split}.json"
    try:
        atomic.write_json(path, result)
    except OSError as error:
        raise PneumoError(f"{home.evaluations} cannot be written: {error.strerror}") from error
    return result
