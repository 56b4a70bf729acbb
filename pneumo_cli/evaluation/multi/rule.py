"""From K logits to calibrated probabilities and decisions, with OOD and orientation checks.

The sibling of :mod:`pneumo_cli.evaluation.decision_rule` for exclusive classes and for labels: fitted on training
and validation images after training, never on test images, and kept in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, TypeAlias, cast

import numpy as np
from numpy.typing import ArrayLike

from pneumo_cli.errors import PneumoError, UsageError
from pneumo_cli.evaluation.arrays import Floats, Integers, sigmoid
from pneumo_cli.evaluation.decision_rule import DecisionRule, Fitting, PointsAndDetectors, fit_detectors
from pneumo_cli.evaluation.multi.baseline import MultiBaseline
from pneumo_cli.evaluation.multi.calibration import ClassCalibration, fit_class_calibration
from pneumo_cli.evaluation.multi.points import MultiPoint, choose_points, default_point
from pneumo_cli.evaluation.multi.scores import as_one_vs_rest, decide, one_vs_rest, softmax
from pneumo_cli.evaluation.ood import OodDetector
from pneumo_cli.evaluation.orientation import Orientation

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task

Rule: TypeAlias = "DecisionRule | MultiRule"
"""The rule of a classifier of any task."""


@dataclass(frozen=True)
class MultiRule(PointsAndDetectors[MultiPoint]):
    """How K logits become probabilities and decisions.

    Attributes:
        task: ``multiclass`` or ``multilabel``.
        classes: names of the K classes.
        calibration: applied to logits before they become probabilities.
        points: the available operating points; ``default`` is one of them.
        chosen: the name of the one that is used by default.
        images: number of validation images that all this was fitted on; 0 where nothing was fitted.
        prevalence: share of each class among those where it is known, for which the probabilities hold; K values.
        assumed: always None; see :meth:`for_prevalence`.
        ood_detector: detects out-of-distribution images; None where it was not fitted.
        orientation: detects images in a wrong orientation; None where it was not fitted or detects none reliably.
        baseline: a classifier without a network, for comparison; None where it was not fitted.
    """

    assumed: ClassVar[None] = None
    task: Task
    classes: tuple[str, ...]
    calibration: ClassCalibration
    points: tuple[MultiPoint, ...]
    chosen: str = "default"
    images: int = 0
    prevalence: tuple[float, ...] = ()
    ood_detector: OodDetector | None = None
    orientation: Orientation | None = None
    baseline: MultiBaseline | None = None

    @classmethod
    def unfitted(cls, classes: Sequence[str], task: Task) -> MultiRule:
        """The rule where nothing was fitted: the network's own probabilities, and the point ``default``."""
        count = len(classes)
        return cls(task, tuple(classes), ClassCalibration.none(count), (default_point(task, count),))

    @property
    def is_calibrated(self) -> bool:
        """Whether a calibration was fitted: on images of all classes, or with and without at least one label."""
        both = [0 < share < 1 for share in self.prevalence]
        return self.images > 0 and (any(both) if self.task == "multilabel" else all(both))

    def for_prevalence(self, share: float) -> NoReturn:
        """Refuse to adjust the probabilities to another prevalence.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"a prevalence of {share:g} is that of one of two classes, and this classifier has "
            f"{len(self.classes)} ({', '.join(self.classes)}): its probabilities cannot be adjusted to it"
        )

    def scores(self, logits: ArrayLike) -> Floats:
        """The score of each class against the rest, [N, K], of uncalibrated logits [N, K]."""
        return one_vs_rest(logits, self.task)

    def calibrated(self, logits: ArrayLike) -> Floats:
        """Calibrated logits, [N, K]."""
        return self.calibration.apply(logits)

    def probabilities(self, logits: ArrayLike) -> Floats:
        """Calibrated probabilities, [N, K], of uncalibrated logits [N, K]; of exclusive classes with the sum 1."""
        values = self.calibrated(logits)
        return sigmoid(values) if self.task == "multilabel" else softmax(values)

    def decide(self, logits: ArrayLike) -> Integers:
        """What is predicted at the operating point in use, for uncalibrated logits [N, K].

        Returns:
            int64, the class index [N] (``multiclass``) or 1 for each label that is predicted, else 0, [N, K].
        """
        return decide(logits, self.task, self.point.logit_thresholds)

    def probabilities_at(self, point: MultiPoint) -> Floats:
        """The thresholds of a point as probabilities, [K].

        Those of labels are calibrated. The calibrated probability of one of several exclusive classes depends on
        all logits, so theirs are before calibration.
        """
        thresholds = np.array(point.logit_thresholds)
        return sigmoid(self.calibrated(thresholds) if self.task == "multilabel" else thresholds)

    def calibrated_thresholds(self, point: MultiPoint) -> Floats:
        """The thresholds of a point on the scores of calibrated logits, [K].

        Exact for labels. The bias of one of several exclusive classes moves its score by as much as the biases of
        the others count, which depends on the image; here they count equally. For two classes that is exact too.
        """
        thresholds = np.array(point.logit_thresholds)
        if self.task == "multilabel":
            return self.calibrated(thresholds)
        temperatures, biases = self.calibration.arrays()
        others = (biases.sum() - biases) / (len(biases) - 1)
        return np.asarray(thresholds / temperatures + biases - others)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint."""
        return {
            "task": self.task,
            "classes": list(self.classes),
            **self.calibration.plain(),
            "points": [point.plain() for point in self.points],
            "chosen": self.chosen,
            "images": self.images,
            "prevalence": list(self.prevalence),
            "ood_detector": self.ood_detector.state() if self.ood_detector is not None else {},
            "orientation": self.orientation.state() if self.orientation is not None else {},
            "baseline": self.baseline.state() if self.baseline is not None else {},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], classes: Sequence[str], task: Task) -> MultiRule:
        """Restore a rule from a checkpoint.

        Args:
            state: empty where nothing was fitted.
            classes, task: of the classifier where nothing was fitted.

        Raises:
            PneumoError: it is damaged.
        """
        if not state:
            return cls.unfitted(classes, task)
        try:
            if state["task"] not in ("multiclass", "multilabel"):
                raise ValueError(f"the task is {state['task']!r}")
            kept = cast("Task", state["task"])
            names = tuple(str(name) for name in state["classes"])
            count = len(names)
            rule = cls(
                task=kept,
                classes=names,
                calibration=ClassCalibration.from_plain(state),
                points=tuple(MultiPoint.from_plain(point, count) for point in state["points"]),
                chosen=str(state["chosen"]),
                images=int(state["images"]),
                prevalence=tuple(float(share) for share in state["prevalence"]),
                ood_detector=OodDetector.from_state(entry) if (entry := state["ood_detector"]) else None,
                orientation=Orientation.from_state(entry) if (entry := state["orientation"]) else None,
                baseline=MultiBaseline.from_state(entry, kept, count)
                if (entry := state["baseline"])
                else None,
            )
            shares = count if rule.images else 0  # nothing fitted, as for the weights of the last epoch
            if count < 2 or len(rule.calibration.classes) != count or len(rule.prevalence) != shares:
                raise ValueError(f"it is not that of {count} classes, which are at least two")
            if not all(0 <= share <= 1 for share in rule.prevalence):
                raise ValueError(f"the prevalence is {list(rule.prevalence)}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PneumoError(f"the decision rule in the checkpoint is damaged: {error}") from error
        rule.named(rule.chosen)
        return rule


def rule_from_state(state: Mapping[str, Any], classes: Sequence[str], task: Task) -> Rule:
    """Restore the rule of any task from a checkpoint; a state that names no task is binary.

    Args:
        state: empty where nothing was fitted.
        classes, task: of the classifier where nothing was fitted.

    Raises:
        PneumoError: it is damaged.
    """
    if (state.get("task", "binary") if state else task) == "binary":
        return DecisionRule.from_state(state, classes)
    return MultiRule.from_state(state, classes, task)


def fit_multi_rule(
    data: Fitting, task: Task, *, chosen: str, wanted_sensitivity: float, miss_cost: float, seed: int
) -> MultiRule:
    """Fit the calibration, operating points, OOD detector, orientation detector and linear baseline.

    Args:
        task: ``multiclass`` or ``multilabel``.
        chosen: the operating point that is used by default.
        wanted_sensitivity: of each class at the point ``screening``.
        miss_cost: cost of a false negative in false positives, for the point ``cost``.
        seed: of random choices while fitting.
    """
    split = as_one_vs_rest(data.logits, data.labels, task)
    detector, orientation = fit_detectors(data.train_images, data.validation_images, seed)
    known, present = (split.truth >= 0).sum(axis=0), (split.truth == 1).sum(axis=0)
    return MultiRule(
        task=task,
        classes=data.classes,
        calibration=fit_class_calibration(data.logits, data.labels, task),
        points=choose_points(split, task, sensitivity=wanted_sensitivity, miss_cost=miss_cost),
        chosen=chosen,
        images=len(split.truth),
        prevalence=tuple((present / np.maximum(known, 1)).tolist()),
        ood_detector=detector,
        orientation=orientation,
        baseline=MultiBaseline.fit(data.train_images, data.train_labels, task, len(data.classes)),
    )
