"""Paired tests of classifiers of K exclusive classes, or of K labels, on the same images.

As :mod:`pneumo_cli.evaluation.confidence.paired`: the macro metrics are tested by the bootstrap over patients, and
the macro ROC AUC is the primary one. The ROC AUC of each class against the rest is a third family of tests,
adjusted for all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.confidence.intervals import Difference, difference_intervals
from pneumo_cli.evaluation.confidence.mcnemar import Discordance, of_counts
from pneumo_cli.evaluation.confidence.paired import (
    NO_DIFFERENCE,
    OF_CALLS,
    PRIMARY,
    Pair,
    adjusted,
    tested,
)
from pneumo_cli.evaluation.multi.calibration import ClassCalibration
from pneumo_cli.evaluation.multi.intervals import multi_difference_intervals, resamples_for
from pneumo_cli.evaluation.multi.metrics import multi_metrics
from pneumo_cli.evaluation.multi.scores import class_truth, decide, one_vs_rest
from pneumo_cli.runtime.json_values import mapping, sequence, text

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task
    from pneumo_cli.evaluation.confidence.intervals import Patients

_PROBABILITIES = ("brier", "ece")


@dataclass(frozen=True)
class ClassScored:
    """A classifier's logits of K classes, [N, K], finite, with its thresholds and its calibration.

    Attributes:
        task: ``multiclass`` or ``multilabel``.
        classes: their names, K.
        thresholds: on the scores of each class against the rest, K.
    """

    task: Task
    classes: tuple[str, ...]
    logits: NDArray[np.float64]
    thresholds: tuple[float, ...]
    calibration: ClassCalibration

    @property
    def predicted(self) -> NDArray[np.int64]:
        """Class indices [N], or 1 for each label that is predicted, else 0, [N, K]."""
        return decide(self.logits, self.task, self.thresholds)


def read_classes(
    file: Path, rows: Sequence[Mapping[str, str]], names: Sequence[str], details: Mapping[str, Any]
) -> tuple[NDArray[np.int64], ClassScored]:
    """The labels and the logits in a file of predictions.

    Args:
        names: of the images, in the wanted order; those of the rows.
        details: of the split in the run's report.

    Raises:
        PneumoError: the file or the report is damaged.
    """
    task: Task = "multilabel" if details.get("task") == "multilabel" else "multiclass"
    classes = tuple(str(mapping(one).get("name")) for one in sequence(details.get("classes")))
    labels = [f"labels_{name}" for name in classes] if task == "multilabel" else ["labels"]
    logits = [f"logits_{name}" for name in classes]
    found: dict[str, tuple[list[int], list[float]]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            found[row["name"]] = [int(row[one]) for one in labels], [float(row[one]) for one in logits]
        except (KeyError, ValueError):
            raise PneumoError(
                f"{file} is damaged: line {line} has no numbers for its labels or logits"
            ) from None
        if not all(map(math.isfinite, found[row["name"]][1])):
            raise PneumoError(f"{file} is damaged: line {line} has a logit that is not finite")
    truth = np.array([found[name][0] for name in names], dtype=np.int64)
    point = mapping(mapping(details.get("operating_points")).get(text(details.get("operating_point"))))
    try:
        thresholds = tuple(
            float(mapping(one)["logit_threshold"]) for one in sequence(point.get("classes"))
        ) or (0.0,) * len(classes)
        scored = ClassScored(
            task,
            classes,
            np.array([found[name][1] for name in names], dtype=np.float64),
            thresholds,
            ClassCalibration.from_plain(mapping(details.get("calibration"))),
        )
        truth = truth if task == "multilabel" else truth[:, 0]
        multi_metrics(scored.logits, truth, task, thresholds)
        scored.calibration.apply(scored.logits)
    except (KeyError, TypeError, ValueError) as error:
        raise PneumoError(f"{file} does not belong to its report.json: {error}") from error
    return truth, scored


def compare_classes(
    classifiers: Sequence[ClassScored],
    pairs: Sequence[tuple[int, int]],
    labels: NDArray[np.int64],
    patients: Patients,
    *,
    seed: int = 0,
) -> tuple[list[Pair], dict[str, int]]:
    """Compare pairs of classifiers of the same classes, on the same images.

    Args:
        pairs: (first, second), as places in ``classifiers``.
        labels: class indices [N], or 1, 0 and -1 for unknown [N, K].
        patients: the patient of each image, [N].
        seed: of the bootstrap.

    Returns:
        as :func:`~pneumo_cli.evaluation.confidence.paired.compare_pairs`, with the family ``classes``: the ROC AUC
        of each class.
    """
    several = [(classifiers[a], classifiers[b]) for a, b in pairs]
    differences = [_differences(second, first, labels, patients, seed) for first, second in several]
    areas = [_areas(second, first, labels, patients, seed) for first, second in several]
    flat, tests = adjusted(differences)
    of_classes, family = adjusted(areas, primary="")
    results = [
        Pair(
            equal=_equal(first, second),
            equal_calls=np.array_equal(first.predicted, second.predicted),
            metrics={
                name: tested(name, one, flat[i].get(name, one.p)) for name, one in differences[i].items()
            },
            calls={"accuracy": _right(second, first, labels)} if first.task == "multiclass" else {},
            classes={
                name: tested(PRIMARY, one, of_classes[i].get(name, one.p)) for name, one in areas[i].items()
            },
        )
        for i, (first, second) in enumerate(several)
    ]
    return results, {**tests, "classes": sum(family.values())}


def _differences(
    second: ClassScored, first: ClassScored, labels: NDArray[np.int64], patients: Patients, seed: int
) -> dict[str, Difference]:
    """The difference of each macro metric, second minus first."""
    found = multi_difference_intervals(
        second.logits,
        first.logits,
        labels,
        patients,
        first.task,
        thresholds=(second.thresholds, first.thresholds),
        seed=seed,
    )
    none = ClassCalibration.none(len(first.classes))
    if (second.calibration, first.calibration) != (none, none):
        after = multi_difference_intervals(
            second.calibration.apply(second.logits),
            first.calibration.apply(first.logits),
            labels,
            patients,
            first.task,
            seed=seed,
        )
        found |= {f"{name}_calibrated": after[name] for name in _PROBABILITIES if name in after}
    if np.array_equal(first.predicted, second.predicted):
        found |= dict.fromkeys(found.keys() & {*OF_CALLS, "exact_match"}, NO_DIFFERENCE)
    return found


def _areas(
    second: ClassScored, first: ClassScored, labels: NDArray[np.int64], patients: Patients, seed: int
) -> dict[str, Difference]:
    """The difference of the ROC AUC of each class that has images of both kinds, second minus first."""
    truth = class_truth(labels, first.task, len(first.classes))
    scores = [one_vs_rest(one.logits, one.task) for one in (second, first)]
    who = np.asarray(patients)
    found = {}
    for place, name in enumerate(first.classes):
        known = truth[:, place] >= 0
        own = truth[known, place]
        if not 0 < own.sum() < own.size:
            continue
        ours, theirs = (one[known, place] for one in scores)
        values = difference_intervals(
            ours, theirs, own, who[known].tolist(), resamples=resamples_for(*truth.shape), seed=seed
        )
        if PRIMARY in values:
            found[name] = values[PRIMARY]
    return found


def _right(second: ClassScored, first: ClassScored, labels: NDArray[np.int64]) -> Discordance:
    """McNemar's test of the images whose class is right by one of the two alone."""
    ours, theirs = second.predicted == labels, first.predicted == labels
    return of_counts(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()))


def _equal(first: ClassScored, second: ClassScored) -> bool:
    return (
        np.array_equal(first.logits, second.logits)
        and first.thresholds == second.thresholds
        and first.calibration == second.calibration
    )
