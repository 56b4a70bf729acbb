"""The interface of trained classifiers that predict images.

Implementations: :mod:`pneumo_cli.inference.predictors`, and plugins such as ``pneumo-export``. Models that predict
numbers and masks: :mod:`pneumo_cli.inference.values`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pneumo_cli.compat import FormerNames
from pneumo_cli.data.resizing import gray_in_8_bits
from pneumo_cli.errors import PneumoError
from pneumo_cli.evaluation.multi.points import MultiPoint
from pneumo_cli.evaluation.multi.rule import Rule
from pneumo_cli.evaluation.multi.scores import decide
from pneumo_cli.evaluation.operating_points import OperatingPoint
from pneumo_cli.evaluation.orientation import Presentation, agreed
from pneumo_cli.inference.prediction import BatchPrediction as BatchPrediction
from pneumo_cli.inference.prediction import Prediction as Prediction

Sized: TypeAlias = Mapping[int, NDArray[Any]]
"""The same images at several sizes: S to uint8 [B, S, S]; of a model of 16 bits uint16, of RGB [B, 3, S, S]."""


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
