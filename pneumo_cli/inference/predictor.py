"""The interface of trained classifiers that predict images, and what they predict.

Implementations: :mod:`pneumo_cli.inference.predictors`, and plugins such as ``pneumo-export``. Models that predict
numbers and masks: :mod:`pneumo_cli.inference.values`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.compat import FormerNames
from pneumo_cli.data.records import Task
from pneumo_cli.data.resizing import gray_in_8_bits
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.multi.points import MultiPoint
from pneumo_cli.evaluation.multi.rule import Rule
from pneumo_cli.evaluation.multi.scores import decide
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.evaluation.orientation import Presentation, agreed

if TYPE_CHECKING:
    pass

Sized: TypeAlias = Mapping[int, NDArray[Any]]
"""The same images at several sizes: S to uint8 [B, S, S]; of a model of 16 bits uint16, of RGB [B, 3, S, S]."""


@dataclass(frozen=True)
class Prediction(FormerNames, former={"unlike": "out_of_distribution", "novelty": "ood_score"}):
    """The prediction for one file.

    Attributes:
        file: its path, as it was given or found.
        error: why the file cannot be predicted, or empty. With an error, the other attributes are meaningless.
        logit: of class 1, if there are two classes.
        probability: of class 1, calibrated, 0 to 1, if there are two classes.
        positive: whether class 1 is predicted at the operating point, if there are two classes.
        out_of_distribution: whether the image is unlike the model's training images.
        ood_score: scores above the predictor's threshold are flagged; 0 without an OOD detector.
        members: the calibrated probabilities of class 1 of an ensemble's members; empty for a single model.
        presentation: upright, upside down …; None if unknown, as of a photograph.
        other_part: the body part, other than the chest, that a DICOM file names; else empty.
        overlay: the image with its saliency map, uint8 [H, W, 3]; None if not requested.
        task: what is decided.
        probabilities: of each class, calibrated.
        predicted: names of what is predicted at the operating point: one class, or any number of labels.
        logits: of each of K classes or labels, uncalibrated; empty if there are two classes.
        member_probabilities: as ``probabilities``, of each member of an ensemble of K classes or labels.
        numbers: of a model that predicts numbers, by name.
        masks: of one that predicts masks, by name: the probability of each pixel, float32 [S, S].
        member_numbers: as ``numbers``, of each member of an ensemble.
        shape: height and width of the file's image in pixels, if overlays are requested; else empty.
    """

    file: Path
    error: str = ""
    logit: float = 0.0
    probability: float = 0.0
    positive: bool = False
    out_of_distribution: bool = False
    ood_score: float = 0.0
    members: tuple[float, ...] = ()
    presentation: Presentation | None = None
    other_part: str = ""
    overlay: NDArray[np.uint8] | None = None
    task: Task = "binary"
    probabilities: tuple[float, ...] = ()
    predicted: tuple[str, ...] = ()
    logits: tuple[float, ...] = ()
    member_probabilities: tuple[tuple[float, ...], ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    masks: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    member_numbers: tuple[Mapping[str, float], ...] = ()
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class BatchPrediction:
    """The predictions for a batch.

    Attributes:
        logits: of class 1, [B], or of K classes or labels, [B, K]; finite.
        ood_scores: [B]; higher is less like the training images.
        member_probabilities: calibrated, of the logits' shape for each member of an ensemble; empty for a single
            model.
    """

    logits: NDArray[np.float64]
    ood_scores: NDArray[np.float64]
    member_probabilities: tuple[NDArray[np.float64], ...] = field(default=())


class Predictor(FormerNames, ABC, former={"judge": "predict_batch", "novelty_threshold": "ood_threshold"}):
    """A classifier of gray images. Subclasses define :meth:`logits` and :meth:`maps`.

    Attributes:
        rule: how logits become probabilities and decisions.
        point: the operating point in use.
        sizes: heights (and widths) of its input images, in pixels; several for an ensemble of several sizes.
        facts: its description in JSON values: ``run``, ``model``, ``checkpoint``, ``epoch``, ``dataset``,
            ``synthetic`` (whether its training images were; None: unknown) and ``data_fingerprint``.
        members: of an ensemble; empty for a single model.
        channels, bits: of its input images.
    """

    rule: Rule
    point: OperatingPoint | MultiPoint
    sizes: tuple[int, ...]
    facts: Mapping[str, Any]
    members: tuple[Predictor, ...] = ()
    channels: int = 1
    bits: int = 8

    @property
    def ood_threshold(self) -> float | None:
        """The largest score that is not flagged; None without an OOD detector."""
        return self.rule.ood_detector.threshold if self.rule.ood_detector is not None else None

    @property
    def weights(self) -> str:
        """A digest of its weights, the same for a run and a model exported from it; empty: unknown."""
        return ""

    @property
    def count(self) -> int:
        """The number of models in it."""
        return 1

    @abstractmethod
    def logits(self, images: Sized) -> NDArray[np.float64]:
        """Logits of class 1, [B]; of K classes or labels, [B, K].

        Args:
            images: by size; for a predictor of one size ``images[self.sizes[0]]``.

        Raises:
            PneumoError: a logit is not finite.
        """

    @abstractmethod
    def maps(self, images: Sized, positive: NDArray[np.bool_ | np.int64]) -> NDArray[np.float32]:
        """Saliency maps of the predicted classes: float32 [B, S, S], 0 to 1.

        Args:
            positive: [B], whether class 1 was predicted; of K classes or labels, int64 indices of the classes.

        Raises:
            UsageError: the model has no saliency maps.
        """

    def predict_batch(self, images: Sized) -> BatchPrediction:
        """Logits and OOD scores. Raises as :meth:`logits`, also for logits of another shape."""
        (levels,) = (images[size] for size in self.sizes)
        detector = self.rule.ood_detector
        return BatchPrediction(
            self._checked(self.logits(images), len(levels)),
            detector.scores(gray_in_8_bits(levels)) if detector is not None else np.zeros(len(levels)),
        )

    def _checked(self, logits: NDArray[np.float64], images: int) -> NDArray[np.float64]:
        """The logits of a predictor, which may be a third party's."""
        expected = (images,) if self.rule.task == "binary" else (images, len(self.rule.classes))
        if np.shape(logits) != expected:
            kind, count = type(self), len(self.rule.classes)
            raise PneumoError(
                f"{self.facts.get('run', 'a model')}: the predictor {kind.__module__}.{kind.__qualname__} returned "
                f"logits of the shape {[*np.shape(logits)]} for {images} images of {count} classes, and not "
                f"{[*expected]}"
            )
        return logits

    def decide(self, logits: NDArray[np.float64]) -> NDArray[np.int64]:
        """What is predicted at the point in use.

        Returns:
            int64 [B], the index of a class; of several labels [B, K], 1 where one is predicted, else 0.
        """
        if isinstance(self.point, MultiPoint):
            return decide(logits, self.rule.task, self.point.logit_thresholds)
        return (logits >= self.point.logit_threshold).astype(np.int64)

    def presentations(self, images: Sized) -> list[Presentation] | None:
        """The orientation of each image, of an ensemble by majority vote; None without a detector for it."""
        if self.members:
            votes = (member.presentations(images) for member in self.members)
            return agreed([vote for vote in votes if vote is not None])
        (levels,) = (images[size] for size in self.sizes)
        return self.rule.presentations(gray_in_8_bits(levels))
