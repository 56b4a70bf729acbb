"""From a trained classifier's logit to a calibrated probability and a decision, with OOD and orientation checks.

Everything here is fitted on training and validation images after training
(:meth:`pneumo_cli.trainers.classification.ClassificationTrainer.calibrate`), never on test images, and kept in the
checkpoint with the weights that it belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumo_cli.compat import FormerNames
from pneumo_cli.errors import PneumoError, UsageError, nearest
from pneumo_cli.evaluation.arrays import sigmoid
from pneumo_cli.evaluation.calibration import UNCALIBRATED, Calibration, fit_calibration, log_odds_shift
from pneumo_cli.evaluation.linear_baseline import LinearBaseline
from pneumo_cli.evaluation.ood import OodDetector, fit_ood_detector
from pneumo_cli.evaluation.operating_points import OperatingPoint, choose_operating_points
from pneumo_cli.evaluation.orientation import Orientation, Presentation, fit_orientation

if TYPE_CHECKING:
    from pneumo_cli.data.records import Task

_MOST = 4096  # images
_BYTES = 2**28
_SMALLEST = 32  # pixels, of images for OOD detection
_DEFAULT = OperatingPoint("default", 0.0, "Probability 0.5 before calibration; not chosen by the data.")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


Point = TypeVar("Point", bound=_Named)


class PointsAndDetectors(Generic[Point]):
    """What the rules of two and of K classes share: operating points by name, and the detectors of images."""

    points: tuple[Point, ...]
    chosen: str
    ood_detector: OodDetector | None
    orientation: Orientation | None

    @property
    def point(self) -> Point:
        """The operating point that is used by default."""
        return self.named(self.chosen)

    def named(self, name: str) -> Point:
        """The operating point of a name.

        Raises:
            UsageError: there is none.
        """
        for point in self.points:
            if point.name == name:
                return point
        names = [point.name for point in self.points]
        raise UsageError(f"this checkpoint has no operating point {name!r}; {nearest(name, names)}")

    def at(self, name: str) -> Self:
        """The same rule with another default operating point.

        Raises:
            UsageError: there is no such point.
        """
        return replace(self, chosen=self.named(name).name)  # type: ignore[type-var]  # the rules are dataclasses

    def presentations(self, levels: NDArray[np.uint8]) -> list[Presentation] | None:
        """The orientation of images uint8 [n, S, S]; None where no detector is fitted."""
        if self.orientation is None or self.ood_detector is None:
            return None
        return self.orientation.presentations(levels, self.ood_detector)


@dataclass(frozen=True)
class DecisionRule(PointsAndDetectors[OperatingPoint], FormerNames, former={"novelty": "ood_detector"}):
    """How logits become probabilities and decisions.

    Its sibling for K classes is :class:`pneumo_cli.evaluation.multi.rule.MultiRule`.

    Attributes:
        task: ``binary``.
        classes: names of class 0 and class 1.
        calibration: applied to a logit before it becomes a probability.
        points: the available operating points; ``default`` is one of them.
        chosen: the name of the one that is used by default.
        images: number of validation images that all this was fitted on; 0 where nothing was fitted.
        prevalence: share of class 1 among them, for which the probabilities hold.
        assumed: another share of class 1 to which the calibration was adjusted (:meth:`for_prevalence`), or None.
            It belongs to a prediction request, so no checkpoint keeps it.
        ood_detector: detects out-of-distribution images; None where it was not fitted.
        orientation: detects images in a wrong orientation; None where it was not fitted or detects none reliably.
        baseline: a classifier without a network, for comparison; None where it was not fitted.
    """

    task: ClassVar[Task] = "binary"
    classes: tuple[str, str]
    calibration: Calibration = UNCALIBRATED
    points: tuple[OperatingPoint, ...] = (_DEFAULT,)
    chosen: str = "default"
    images: int = 0
    prevalence: float = 0.5
    assumed: float | None = None
    ood_detector: OodDetector | None = None
    orientation: Orientation | None = None
    baseline: LinearBaseline | None = None

    @property
    def is_calibrated(self) -> bool:
        """Whether the calibration was fitted on validation images of both classes."""
        return self.images > 0 and 0 < self.prevalence < 1

    def for_prevalence(self, share: float) -> DecisionRule:
        """The same rule with probabilities for another prevalence.

        Decisions do not change: operating points are thresholds on the network's logit.

        Args:
            share: of class 1, 0 < share < 1.

        Raises:
            UsageError: the probabilities are not calibrated.
            ValueError: the share is out of bounds.
        """
        if not self.is_calibrated:
            raise UsageError(
                "its probabilities were not calibrated (that takes validation images of both classes), so they "
                "cannot be adjusted to another prevalence"
            )
        shift = log_odds_shift(share, self.prevalence if self.assumed is None else self.assumed)
        return replace(self, calibration=self.calibration.shifted(shift), assumed=share)

    def calibrated(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Calibrated logits of class 1, of the logits' shape."""
        return self.calibration.apply(logits)

    def probabilities(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Calibrated probabilities of class 1, of the logits' shape."""
        return sigmoid(self.calibrated(logits))

    def decide(self, logits: ArrayLike) -> NDArray[np.int64]:
        """The class predicted at the operating point in use, 0 or 1, for uncalibrated logits of any shape."""
        return (np.asarray(logits) >= self.point.logit_threshold).astype(np.int64)

    def probability_at(self, point: OperatingPoint) -> float:
        """The calibrated probability at and above which an image is classified as positive."""
        return float(self.probabilities(point.logit_threshold))

    def state(self) -> dict[str, Any]:
        """Tensors and plain values for a checkpoint."""
        return {
            "classes": list(self.classes),
            **self.calibration.plain(),
            "points": [point.state() for point in self.points],
            "chosen": self.chosen,
            "images": self.images,
            "prevalence": self.prevalence,
            "novelty": self.ood_detector.state() if self.ood_detector is not None else {},
            "orientation": self.orientation.state() if self.orientation is not None else {},
            "baseline": self.baseline.state() if self.baseline is not None else {},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any], classes: Sequence[str] = ()) -> DecisionRule:
        """Restore a rule from a checkpoint.

        Args:
            state: empty where nothing was fitted: the rule is then the threshold 0.5.
            classes: names of the two classes where nothing was fitted.

        Raises:
            PneumoError: it is damaged.
        """
        if not state:
            first, second = classes if len(classes) == 2 else ("negative", "positive")
            return cls((first, second))
        try:
            first, second = (str(name) for name in state["classes"])
            rule = cls(
                classes=(first, second),
                calibration=Calibration.from_plain(state),
                points=tuple(OperatingPoint.from_plain(point) for point in state["points"]),
                chosen=str(state["chosen"]),
                images=int(state["images"]),
                prevalence=float(state["prevalence"]),
                ood_detector=OodDetector.from_state(state["novelty"]) if state["novelty"] else None,
                # Missing in checkpoints of earlier versions.
                orientation=Orientation.from_state(entry) if (entry := state.get("orientation")) else None,
                baseline=LinearBaseline.from_state(state["baseline"]) if state["baseline"] else None,
            )
            if not 0 <= rule.prevalence <= 1:
                raise ValueError(f"the prevalence is {rule.prevalence}")
        except (KeyError, TypeError, ValueError) as error:
            raise PneumoError(f"the decision rule in the checkpoint is damaged: {error}") from error
        rule.named(rule.chosen)
        return rule


def spread(positions: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """At most a few thousand of the positions, evenly spread: fitting a rule needs no more images.

    Args:
        size: height and width of the images in pixels; fewer large ones are taken, to bound the memory.
    """
    most = max(256, min(_MOST, _BYTES // size**2))
    if len(positions) <= most:
        return positions
    return positions[np.linspace(0, len(positions) - 1, most).astype(np.int64)]


@dataclass(frozen=True)
class Fitting:
    """The data that a decision rule is fitted on.

    Attributes:
        classes: names of class 0 and class 1, or of K classes.
        logits: of the validation images, [N], or of K classes, [N, K].
        labels: of the validation images: class indices [N], or of K labels 1, 0 and -1 for unknown [N, K].
        train_images: training images, uint8 [M, S, S].
        train_labels: their labels, likewise.
        validation_images: validation images, uint8 [N, S, S].
    """

    classes: tuple[str, ...]
    logits: NDArray[np.generic]
    labels: NDArray[np.generic]
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    validation_images: NDArray[np.uint8]


def fit_detectors(
    train: NDArray[np.uint8], validation: NDArray[np.uint8], seed: int
) -> tuple[OodDetector | None, Orientation | None]:
    """Fit the OOD and the orientation detector; neither where the images are too small or too few.

    Args:
        train, validation: images, uint8 [M, S, S] and [N, S, S].
        seed: of random choices while fitting.
    """
    if train.shape[-1] < _SMALLEST or len(train) < 2:
        return None, None
    # The orientation needs the OOD detector, or photographs could be reported as upside down.
    return fit_ood_detector(train, validation, seed=seed), fit_orientation(train, validation)


def fit_decision_rule(
    data: Fitting, *, chosen: str, wanted_sensitivity: float, miss_cost: float, seed: int
) -> DecisionRule:
    """Fit the calibration, operating points, OOD detector, orientation detector and linear baseline of two classes.

    Args:
        chosen: the operating point that is used by default.
        wanted_sensitivity: of the point ``screening``.
        miss_cost: cost of a false negative in false positives, for the point ``cost``.
        seed: of random choices while fitting.
    """
    detector, orientation = fit_detectors(data.train_images, data.validation_images, seed)
    negative, positive = data.classes
    return DecisionRule(
        classes=(negative, positive),
        calibration=fit_calibration(data.logits, data.labels),
        points=choose_operating_points(
            data.logits, data.labels, sensitivity=wanted_sensitivity, miss_cost=miss_cost
        ),
        chosen=chosen,
        images=len(data.labels),
        prevalence=float(np.mean(data.labels == 1)),
        ood_detector=detector,
        orientation=orientation,
        baseline=LinearBaseline.fit(data.train_images, data.train_labels),
    )
